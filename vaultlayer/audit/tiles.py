"""A Merkle tree on disk, as tiles of 256 hashes (c2sp.org/tlog-tiles).

``<folder>/tile/<L>/<N>[.p/<W>]`` holds hashes of level L, ``<folder>/checkpoint`` the signed
head. The tree is kept in memory by its right edge alone: at most 255 hashes a level.
"""

from __future__ import annotations

import os
import shutil
from itertools import islice
from typing import TYPE_CHECKING

from vaultlayer.audit.files import persist
from vaultlayer.audit.merkle import EMPTY_ROOT, range_root, root_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

WIDTH = 256
_HASH = 32


class Tree:
    """A growing tree. ``extend`` changes memory only, ``store`` brings the tiles to the disk."""

    def __init__(self) -> None:
        self.size = 0
        self._edge: list[list[bytes]] = [[]]  # per level: what is in its last, unfinished tile
        self._full: list[tuple[int, int, bytes]] = []  # level, place and content, not stored yet

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Append leaf hashes (32 bytes each)."""
        pending, edge = iter(leaves), self._edge[0]
        while some := list(islice(pending, WIDTH - len(edge))):
            edge += some
            self.size += len(some)
            if len(edge) == WIDTH:
                self._finish_tile()

    def extend_past(self, leaves: list[bytes], sizes: Iterable[int]) -> dict[int, bytes]:
        """``extend``, and the root at those of ``sizes`` that are passed on the way."""
        begin, roots = self.size, {}
        for size in sorted(sizes):
            if self.size < size <= begin + len(leaves) or size == begin:
                self.extend(leaves[self.size - begin : size - begin])
                roots[size] = self.root()
        self.extend(leaves[self.size - begin :])
        return roots

    def root(self) -> bytes:
        """The tree's root; SHA-256 of nothing for the empty tree."""
        carried: list[bytes] = []
        for edge in self._edge:
            if edge or carried:
                carried = [root_of(edge + carried)]
        return carried[0] if carried else EMPTY_ROOT

    def store(self, folder: Path) -> None:
        """Write the tiles that are new for this size, durable when this returns (``OSError``)."""
        self.store_full(folder)
        for level, edge in enumerate(self._edge):
            if edge:
                place = self.size >> 8 * (level + 1)
                publish(tile_path(folder, level, place, len(edge)), b"".join(edge))

    def store_full(self, folder: Path) -> None:
        """``store`` for the full tiles only, which never change again."""
        for level, place, content in self._full:
            path = tile_path(folder, level, place)
            publish(path, content)
            shutil.rmtree(path.with_name(f"{path.name}.p"), ignore_errors=True)
        self._full.clear()

    def drop_full(self) -> None:
        """Forget full tiles: the caller wants the root only."""
        self._full.clear()

    def expected(self, *, partial: bool = True) -> Iterator[tuple[int, int, int, bytes]]:
        """Every tile ``store`` would write now: level, place, width, content."""
        for level, place, content in self._full:
            yield level, place, WIDTH, content
        for level, edge in enumerate(self._edge):
            if edge and partial:
                yield level, self.size >> 8 * (level + 1), len(edge), b"".join(edge)

    def _finish_tile(self) -> None:
        for level, edge in enumerate(self._edge):
            if len(edge) < WIDTH:
                return
            place = (self.size >> 8 * (level + 1)) - 1
            self._full.append((level, place, b"".join(edge)))
            if level + 1 == len(self._edge):
                self._edge.append([])
            self._edge[level + 1].append(root_of(edge))
            edge.clear()


class Tiles:
    """Hashes of a stored tree of a certain size, read when they are asked for."""

    def __init__(self, folder: Path, size: int) -> None:
        self._folder, self._size = folder, size
        self._read: dict[tuple[int, int], bytes] = {}

    def subtree(self, height: int, place: int) -> bytes:
        """The hash of the perfect subtree of 2**``height`` leaves, number ``place`` (OSError)."""
        level, rest = divmod(height, 8)
        tile, offset = divmod(place << rest, WIDTH)
        content = self._tile(level, tile)
        start, end = offset * _HASH, (offset + (1 << rest)) * _HASH
        hashes = [content[at : at + _HASH] for at in range(start, end, _HASH)]
        return root_of(hashes)

    def root(self) -> bytes:
        return self.root_at(self._size)

    def root_at(self, size: int) -> bytes:
        """The root the tree had when it had ``size`` entries."""
        return range_root(0, size, self.subtree)

    def leaves(self) -> Iterator[list[bytes]]:
        """All leaf hashes, tile by tile; none is kept in memory (OSError)."""
        for place in range(-(-self._size // WIDTH)):
            tile = self._load(0, place)
            yield [tile[at : at + _HASH] for at in range(0, len(tile), _HASH)]

    def _tile(self, level: int, place: int) -> bytes:
        known = self._read.get((level, place))
        if known is None:
            known = self._read[level, place] = self._load(level, place)
        return known

    def _load(self, level: int, place: int) -> bytes:
        width = min(WIDTH, (self._size >> 8 * level) - place * WIDTH)
        whole = tile_path(self._folder, level, place)
        path = whole if width == WIDTH else tile_path(self._folder, level, place, width)
        try:
            content = path.read_bytes()
        except FileNotFoundError:  # a partial tile goes when the full one is there
            content = whole.read_bytes()
        if len(content) < width * _HASH:
            raise OSError(f"the tile {path.name} is cut off")
        return content[: width * _HASH]


def tile_path(folder: Path, level: int | str, place: int, width: int = WIDTH) -> Path:
    """``tile/<L>/<N>[.p/<W>]``; N is 1234067 -> ``x001/x234/067``."""
    digits = f"{place % 1000:03}"
    while place := place // 1000:
        digits = f"x{place % 1000:03}/{digits}"
    path = folder / "tile" / str(level) / digits
    return path if width == WIDTH else path.with_name(f"{path.name}.p") / str(width)


def publish(path: Path, content: bytes) -> None:
    """Put a file in its place whole or not at all; durable when this returns (``OSError``)."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        if os.write(descriptor, content) != len(content):
            raise OSError(28, os.strerror(28))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.rename(path)
    persist(path.parent)
