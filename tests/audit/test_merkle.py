"""The Merkle tree against RFC 6962 word for word, and against published roots."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultlayer.audit.merkle import (
    EMPTY_ROOT,
    check_consistency,
    check_inclusion,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of,
)
from vaultlayer.audit.tiles import Tiles, Tree, tile_path

# The eight entries and roots that Certificate Transparency's own tests use.
ENTRIES = [bytes.fromhex(text) for text in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def mth(entries):
    """RFC 6962 section 2.1, as it is written."""
    if not entries:
        return sha256(b"").digest()
    if len(entries) == 1:
        return sha256(b"\0" + entries[0]).digest()
    k = 1
    while k * 2 < len(entries):
        k *= 2
    return sha256(b"\1" + mth(entries[:k]) + mth(entries[k:])).digest()


def path(m, entries):
    """RFC 6962 section 2.1.1."""
    if len(entries) <= 1:
        return []
    k = 1
    while k * 2 < len(entries):
        k *= 2
    if m < k:
        return [*path(m, entries[:k]), mth(entries[k:])]
    return [*path(m - k, entries[k:]), mth(entries[:k])]


def subproof(m, entries, whole):
    """RFC 6962 section 2.1.2."""
    if m == len(entries):
        return [] if whole else [mth(entries)]
    k = 1
    while k * 2 < len(entries):
        k *= 2
    if m <= k:
        return [*subproof(m, entries[:k], whole), mth(entries[k:])]
    return [*subproof(m - k, entries[k:], False), mth(entries[:k])]


def entries_of(size):
    return [str(number).encode() for number in range(size)]


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """A stored tree of 70,000 entries, the size that tlog-tiles gives as its example."""
    folder = tmp_path_factory.mktemp("tree")
    entries, tree = entries_of(70_000), Tree()
    for start in range(0, 70_000, 999):
        tree.extend(map(leaf_hash, entries[start : start + 999]))
    tree.store(folder)
    return folder, entries, tree


def test_the_published_roots():
    """Certificate Transparency's eight trees."""
    tree = Tree()
    for entry, root in zip(ENTRIES, ROOTS, strict=True):
        tree.extend([leaf_hash(entry)])
        assert tree.root().hex() == root
    assert Tree().root() == EMPTY_ROOT == sha256(b"").digest()


@given(st.integers(0, 700), st.data())
def test_roots_and_proofs_are_those_of_the_rfc(size, data):
    """For any size, whatever pieces the entries came in."""
    entries, tree = entries_of(size), Tree()
    leaves = [leaf_hash(entry) for entry in entries]
    cuts = sorted(data.draw(st.sets(st.integers(0, size), max_size=4)))
    for start, end in zip([0, *cuts], [*cuts, size], strict=True):
        tree.extend(leaves[start:end])
    root = mth(entries)
    assert tree.root() == root == root_of(leaves)
    if not size:
        return

    def subtree(height, place):
        return mth(entries[place << height : (place + 1) << height])

    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    proof = inclusion_proof(index, size, subtree)
    assert proof == path(index, entries)
    assert check_inclusion(leaves[index], index, size, proof) == root
    proof = consistency_proof(old, size, subtree)
    assert proof == subproof(old, entries, True)
    assert check_consistency(old, mth(entries[:old]), size, root, proof)


@given(st.integers(2, 300), st.data())
def test_a_proof_of_something_else_is_refused(size, data):
    """Another entry, place, size, root or hash: not proved."""
    entries = entries_of(size)
    leaves, root = [leaf_hash(entry) for entry in entries], mth(entries)
    index = data.draw(st.integers(0, size - 1))
    proof = path(index, entries)
    other = data.draw(st.integers(0, size - 1).filter(lambda place: place != index))
    assert check_inclusion(leaves[other], index, size, proof) != root
    assert check_inclusion(leaves[index], other, size, proof) != root
    assert check_inclusion(leaves[index], index, size, proof[:-1]) != root
    assert check_inclusion(leaves[index], index, size, [*proof, root]) is None
    assert check_inclusion(leaves[index], size, size, proof) is None
    old = data.draw(st.integers(1, size - 1))
    proof, before = subproof(old, entries, True), mth(entries[:old])
    assert not check_consistency(old, mth(entries[: old - 1]), size, root, proof)
    assert not check_consistency(old, before, size, before, proof)
    assert not check_consistency(old, before, size, root, [*proof, root])
    assert not check_consistency(old, before, size, root, proof[:-1])
    assert not check_consistency(size + 1, before, size, root, proof)


def test_the_tiles_are_those_of_the_example(big):
    """273 full and one partial of 112; one full and one of 17; one of 1."""
    folder, _, tree = big
    found = {
        str(path.relative_to(folder / "tile")): path.stat().st_size // 32
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert found.pop("0/273.p/112") == 112
    assert found.pop("1/001.p/17") == 17
    assert found.pop("2/000.p/1") == 1
    assert found.pop("1/000") == 256
    assert found == {f"0/{number:03}": 256 for number in range(273)}
    assert Tiles(folder, 70_000).root() == tree.root()


def test_proofs_from_tiles_are_those_from_entries(big):
    """Any record, any former size."""
    folder, entries, tree = big
    tiles = Tiles(folder, 70_000)
    for index in (0, 255, 256, 65_535, 65_536, 69_999):
        proof = inclusion_proof(index, 70_000, tiles.subtree)
        assert check_inclusion(leaf_hash(entries[index]), index, 70_000, proof) == tree.root()
    for old in (1, 256, 257, 65_536, 66_001, 69_999, 70_000):
        proof = consistency_proof(old, 70_000, tiles.subtree)
        before = tiles.root_at(old)
        assert before == mth(entries[:old])
        assert check_consistency(old, before, 70_000, tree.root(), proof)


def test_a_tile_that_is_cut_off_or_missing_is_an_error_not_a_root(big, tmp_path):
    """The root is computed from whole tiles or not at all."""
    folder, _, _ = big
    path = tile_path(folder, 0, 7)
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(OSError, match="cut off"):
        Tiles(folder, 70_000).subtree(0, 7 * 256 + 255)
    path.write_bytes(content)
    with pytest.raises(FileNotFoundError):
        Tiles(tmp_path, 10).root()


@pytest.mark.parametrize(
    ("place", "name"), [(0, "000"), (999, "999"), (1000, "x001/000"), (1234067, "x001/x234/067")]
)
def test_tile_paths(tmp_path, place, name):
    """As tlog-tiles writes a tile's number."""
    assert tile_path(tmp_path, 0, place) == tmp_path / "tile/0" / name
    assert tile_path(tmp_path, "entries", place, 5) == tmp_path / f"tile/entries/{name}.p/5"
