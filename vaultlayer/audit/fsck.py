"""Is everything in an audit directory as its formats say, and what can be rebuilt?

``verify`` asks whether the log was tampered with; this looks at the files around it too: tiles,
leftovers of crashes, journals of dead processes. Tiles are rebuilt from the lines, where those
lead to the signed root.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from vaultlayer.audit.check import is_locked
from vaultlayer.audit.files import unavailable
from vaultlayer.audit.follow import shard_path
from vaultlayer.audit.merkle import leaf_hash
from vaultlayer.audit.prove import REGISTRY, log_folder, signed_head
from vaultlayer.audit.registry import read_registry, registry_path, state_of
from vaultlayer.audit.tiles import Tiles, Tree, publish, tile_path
from vaultlayer.errors import AuditUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from vaultlayer.audit.note import Checkpoint

    Leaves = Callable[[int], Iterator[list[bytes]]]  # the hashes of so many records, in pieces

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a file, by its path in the audit directory; ``repaired`` or not."""

    path: str
    what: str
    repaired: bool = False


def fsck(directory: Path, *, repair: bool = False) -> list[Problem]:
    """Look at every file; with ``repair`` rebuild tiles and remove what crashes left behind."""
    try:
        return [
            *_trees(directory, repair=repair),
            *_leftovers(directory, repair=repair),
            *_journals(directory),
        ]
    except OSError as error:
        raise unavailable("the audit directory can't be checked", error) from error


def _trees(directory: Path, *, repair: bool) -> Iterator[Problem]:
    state = state_of(read_registry(directory))
    logs = [(name, shard_path(directory, name)) for name in sorted(state)]
    for name, lines in [(REGISTRY, registry_path(directory)), *logs]:
        folder = log_folder(directory, name)
        if not (folder / "checkpoint").exists():
            continue  # nothing was signed yet; ``verify`` says where something should be
        where = str((folder / "checkpoint").relative_to(directory))
        try:
            _, head = signed_head(folder)
        except AuditUnavailable as error:
            yield Problem(where, error.message)
            continue
        if lines.exists():
            leaves, where = partial(_leaves, lines), str(lines.relative_to(directory))
            broken = "isn't what was signed: see verify"
        else:
            leaves = partial(_kept, folder)
            broken = "its tiles don't lead to its root, and the records are gone"
        found = _tiles(directory, folder, leaves, head, repair=repair)
        yield from [Problem(where, broken)] if found is None else found
        if lines.exists() and state.get(name, {}).get("event") == "pruned":
            yield from _pruned(directory, lines, repair=repair)


def _tiles(
    directory: Path, folder: Path, leaves: Leaves, head: Checkpoint, *, repair: bool
) -> list[Problem] | None:
    """Compare each tile with the one that the leaves make; None: they don't lead to the head."""
    tree, wrong = Tree(), set()
    for path, whole, content in _made(tree, leaves, folder, head.size):
        if not _holds(path, content) and not _holds(whole, content):
            wrong.add(path)
    if (tree.size, tree.root()) != (head.size, head.root):
        return None
    if repair and wrong:
        for path, _, content in _made(Tree(), leaves, folder, head.size):
            if path in wrong:
                publish(path, content)
    what = "is missing or not of these records"
    return [Problem(str(path.relative_to(directory)), what, repair) for path in sorted(wrong)]


def _made(
    tree: Tree, leaves: Leaves, folder: Path, size: int
) -> Iterator[tuple[Path, Path, bytes]]:
    """Grow the tree; each tile's path, its path once it is full, and its content."""
    for some in leaves(size):
        tree.extend(some)
        for level, place, width, content in tree.expected(partial=tree.size == size):
            path = tile_path(folder, level, place, width)
            yield path, tile_path(folder, level, place), content
        tree.drop_full()


def _leaves(path: Path, size: int) -> Iterator[list[bytes]]:
    """The leaf hashes of a file's first ``size`` lines, some at a time."""
    rest, left = b"", size
    with path.open("rb", buffering=0) as file:
        while left and (chunk := file.read(_CHUNK)):
            *lines, rest = (rest + chunk).split(b"\n")
            yield [leaf_hash(line) for line in lines[:left]]
            left -= len(lines[:left])


def _kept(folder: Path, size: int) -> Iterator[list[bytes]]:
    """The leaf hashes of a shard without its records, up to a tile that isn't whole."""
    with suppress(OSError):
        yield from Tiles(folder, size).leaves()


def _pruned(directory: Path, lines: Path, *, repair: bool) -> Iterator[Problem]:
    if repair:
        lines.unlink()
    yield Problem(str(lines.relative_to(directory)), "was pruned, and is still there", repair)


def _leftovers(directory: Path, *, repair: bool) -> Iterator[Problem]:
    """Files that were to be put in their place when a process died."""
    for folder in (directory / REGISTRY, directory / "tree"):
        for path in sorted(folder.rglob(".*.new")):
            if repair:
                path.unlink(missing_ok=True)
            yield Problem(str(path.relative_to(directory)), "was left by a crash", repair)


def _journals(directory: Path) -> Iterator[Problem]:
    shards = {path.name.rsplit(".", 2)[0] for path in (directory / "journal").glob("*.*")}
    for name in sorted(shards):
        path = shard_path(directory, name)
        if not path.exists() or not is_locked(path):
            yield Problem(f"journal/{name}", "isn't in the log: run `vaultlayer audit recover`")


def _holds(path: Path, content: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(content)) == content
    except FileNotFoundError:
        return False
