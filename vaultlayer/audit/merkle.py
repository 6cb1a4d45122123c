"""The Merkle tree of RFC 6962 section 2.1 with SHA-256: hashes, roots and proofs, no I/O.

A hash is 32 bytes. A proof is made of hashes of perfect subtrees, never of entries.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Subtree = Callable[[int, int], bytes]  # the height (0: leaves) and place of a perfect subtree

EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """The hash of one entry: SHA-256(0x00 ‖ entry)."""
    return sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two siblings: SHA-256(0x01 ‖ left ‖ right)."""
    return sha256(b"\1" + left + right).digest()


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The root over siblings of one height; all but the last must be of perfect subtrees.

    Pairs are hashed level by level and an odd last one is handed up as it is: the same tree as
    RFC 6962's, which splits at the largest power of two.
    """
    row = list(hashes)
    while len(row) > 1:
        last = [row.pop()] if len(row) % 2 else []
        row = [*map(node_hash, row[::2], row[1::2]), *last]
    return row[0] if row else EMPTY_ROOT


def inclusion_proof(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """RFC 6962 section 2.1.1: that ``index`` is in a tree of ``size``; the leaf's sibling first."""
    proof, first = [], 0
    while size > 1:
        split = _split(size)
        if index < split:
            proof.append(range_root(first + split, first + size, subtree))
            size = split
        else:
            proof.append(range_root(first, first + split, subtree))
            first, index, size = first + split, index - split, size - split
    return proof[::-1]


def consistency_proof(old: int, size: int, subtree: Subtree) -> list[bytes]:
    """RFC 6962 section 2.1.2: that the tree of ``size`` begins with the tree of ``old``."""
    proof, first, whole = [], 0, True
    if not 0 < old < size:
        return []
    while old != size:
        split = _split(size)
        if old <= split:
            proof.append(range_root(first + split, first + size, subtree))
            size = split
        else:
            proof.append(range_root(first, first + split, subtree))
            first, old, size, whole = first + split, old - split, size - split, False
    if not whole:
        proof.append(range_root(first, first + size, subtree))
    return proof[::-1]


def check_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes | None:
    """The root that the proof leads to (RFC 9162 section 2.1.3.2); None if it can't be one."""
    if not 0 <= index < size:
        return None
    place, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return None
        if place & 1 or place == last:
            found = node_hash(sibling, found)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        place, last = place >> 1, last >> 1
    return found if last == 0 else None


def check_consistency(
    old: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]
) -> bool:
    """Whether ``root`` extends ``old_root`` by this proof (RFC 9162 section 2.1.4.2)."""
    if old == 0 or old == size:
        return not proof and (old_root == root if old else old_root == EMPTY_ROOT)
    if not 0 < old < size or not proof:
        return False
    hashes = list(proof) if old & (old - 1) else [old_root, *proof]
    place, last = old - 1, size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    before = after = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            after = node_hash(after, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and before == old_root and after == root


def range_root(first: int, end: int, subtree: Subtree) -> bytes:
    """The root of entries ``first`` up to ``end``, where a subtree of some tree begins."""
    found = EMPTY_ROOT
    for place, height in reversed(list(_perfect(first, end))):
        hashed = subtree(height, place >> height)
        found = hashed if found is EMPTY_ROOT else node_hash(hashed, found)
    return found


def _perfect(first: int, end: int) -> Iterator[tuple[int, int]]:
    while first < end:
        height = (end - first).bit_length() - 1
        yield first, height
        first += 1 << height


def _split(size: int) -> int:
    """The largest power of two below ``size``."""
    return 1 << (size - 1).bit_length() - 1
