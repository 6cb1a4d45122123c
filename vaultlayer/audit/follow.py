"""A shard's tree, grown from the lines of its file, and the sealing of shards that ended."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from typing import TYPE_CHECKING

from vaultlayer.audit.files import File, lines_backwards, persist
from vaultlayer.audit.heads import Conflict, conflict, place_of
from vaultlayer.audit.merkle import leaf_hash
from vaultlayer.audit.registry import origin_of, read_registry, registry_path, state_of
from vaultlayer.audit.shard import GENESIS
from vaultlayer.audit.tiles import Tree, publish

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from vaultlayer.audit.heads import Head, Heads
    from vaultlayer.audit.registry import Publisher, Registry

_CHUNK = 1 << 20
_BARE = {"open", "recover", "close", "heartbeat", "policy", "sink_failed", "sink_recovered"}


class Follower:
    """The tree over a shard's file (or the registry's), as far as it was read."""

    def __init__(self, path: Path, *, keep: bool = False) -> None:
        self.path, self.name = path, path.stem
        self.tree = Tree()
        self.head: Head | None = None  # the one that is stored
        self.published = 0  # records, by this object
        self.prev = GENESIS
        self.is_chained = True  # each line so far names the hash of the one before it
        self._keep = keep  # full tiles, to be stored
        self._tried: Head | None = None
        self._offset = 0

    def advance(self, end: int, marks: Collection[int] = ()) -> dict[int, bytes]:
        """Read on up to byte ``end``; the tree's root at sizes ``marks`` it passed."""
        roots, rest = self.tree.extend_past([], marks), b""
        with self.path.open("rb", buffering=0) as file:
            file.seek(self._offset)
            try:
                while self._offset < end and (chunk := file.read(min(_CHUNK, end - self._offset))):
                    self._offset += len(chunk)
                    *lines, rest = (rest + chunk).split(b"\n")
                    roots |= self._take(lines, marks)
            finally:
                self._offset -= len(rest)
        return roots

    def publish(self, publisher: Publisher) -> None:
        """Sign the shard as far as it was read: tiles, head, swap, checkpoint, in this order."""
        folder = tree_folder(publisher.directory, self.name)
        self._tried = publisher.head(self.name, self.tree)
        self.tree.store(folder)
        publisher.signing.heads.swap(self.head, self._tried)
        self.head = self._tried
        publish(folder / "checkpoint", self.head.note.encode())
        self.published = self.tree.size

    def settle(self, stored: Head | None) -> None:
        """After trouble: the stored head is the one before it, or the one that was to come."""
        if stored not in (self.head, self._tried):
            raise conflict(stored.origin if stored else self.name)
        self.head = stored

    def _take(self, lines: Sequence[bytes], marks: Collection[int]) -> dict[int, bytes]:
        for line in lines:
            self.is_chained &= self.prev.encode() in line
            self.prev = sha256(line).hexdigest()
        roots = self.tree.extend_past([leaf_hash(line) for line in lines], marks)
        if not self._keep:
            self.tree.drop_full()
        return roots


def shard_path(directory: Path, name: str) -> Path:
    return directory / "log" / f"{name}.jsonl"


def tree_folder(directory: Path, name: str) -> Path:
    return directory / "tree" / name


def stored_heads(heads: Heads, directory: Path, log: str) -> dict[str, Head]:
    """The stored heads of this log, by origin; ``Conflict`` when another log was here before."""
    found = heads.at(place_of(directory), log)
    for head in found:
        if head.log != log:
            raise conflict(head.log)
    return {head.origin: head for head in found}


def check_heads(directory: Path, heads: Heads) -> None:
    """``Conflict`` unless every stored head is of a log that is here, gone on with or as it was.

    Shards of living processes are left to them: they hold their files open and check them.
    """
    stored = heads.at(place_of(directory), origin_of(directory))
    log = origin_of(directory)  # again: another process may have begun it just now
    for head in stored:
        if head.log != log:
            raise conflict(head.log)
        is_registry = head.origin == log
        name = head.origin.removeprefix(f"{log}/")
        path = registry_path(directory) if is_registry else shard_path(directory, name)
        if not path.exists():
            raise conflict(head.origin)
        if is_registry or is_dead(path):
            roots = Follower(path).advance(path.stat().st_size, [head.size])
            if roots.get(head.size) != head.root:
                raise conflict(head.origin)
    for name, record in state_of(read_registry(directory)).items():
        if record["event"] == "shard" and not shard_path(directory, name).exists():
            raise conflict(f"{log}/{name}")


def seal_dead(
    registry: Registry, heads: Heads, known: Follower | None = None, own: str = ""
) -> None:
    """Sign to their ends all shards that have ended and weren't sealed, and register that.

    ``known`` was read in part already, by the process that wrote it; ``own`` is its first shard.
    """
    state, publisher = registry.state(), registry.publisher
    ended = []
    for path in sorted((publisher.directory / "log").glob("*.jsonl")):
        if state.get(path.stem, {}).get("event") in ("sealed", "pruned") or not _has_ended(path):
            continue
        if path.stem not in {own, *state} and tells_something(path):
            continue  # planted, it may be: ``verify`` says so
        persist(path)
        if known is not None and known.path == path:
            known.advance(path.stat().st_size)
            known.publish(publisher)
            ended.append(known)
            continue
        try:
            ended.append(_signed_to_its_end(path, publisher, heads))
        except Conflict:  # its process, about to end, may have signed it in between: once at most
            ended.append(_signed_to_its_end(path, publisher, heads))
    if ended:
        sealed = [
            {**stand(one, "sealed"), **({} if one.name in {own, *state} else {"found": True})}
            for one in ended
        ]
        drop = [one.head.origin for one in ended if one.head]
        stored = stored_heads(heads, publisher.directory, registry.origin)
        registry.append(sealed, stored.get(registry.origin), drop)


def _signed_to_its_end(path: Path, publisher: Publisher, heads: Heads) -> Follower:
    follower = Follower(path, keep=True)
    stored = stored_heads(heads, publisher.directory, publisher.origin)
    follower.head = stored.get(f"{publisher.origin}/{path.stem}")
    marks = [follower.head.size] if follower.head else []
    roots = follower.advance(path.stat().st_size, marks)
    if follower.head and roots.get(follower.head.size) != follower.head.root:
        raise conflict(follower.head.origin)
    follower.publish(publisher)
    return follower


def tells_something(path: Path) -> bool:
    """Whether a shard has records of what somebody did, and not only of its beginning and end.

    A process registers its shard before it notes anything, so one that tells something and is
    not in the registry was begun by nobody known here.
    """
    with path.open("rb") as lines:
        return any(_event(line) not in _BARE for line in lines)


def _event(line: bytes) -> object:
    try:
        return json.loads(line)["event"]
    except (ValueError, TypeError, KeyError):
        return None


def stand(follower: Follower, event: str) -> dict[str, object]:
    """What the registry says of a shard: ``sealed`` at its end, else ``head``: how far it came."""
    size, root = follower.tree.size, follower.tree.root().hex()
    return {"event": event, "shard": follower.name, "size": size, "root": root}


def _has_ended(path: Path) -> bool:
    """Whether the last record is ``close``, and no process writes the shard any more."""
    return is_dead(path) and b'"event":"close"' in next(lines_backwards(path), b"")


def is_dead(path: Path) -> bool:
    """Whether no process writes the shard any more."""
    file = File(path, os.O_APPEND)
    try:
        return file.lock(wait=False)
    finally:
        file.unlock()
        file.close()
