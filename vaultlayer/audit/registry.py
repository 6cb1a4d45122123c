"""The registry: the small log that lists a directory's shards, shared by its processes.

``<directory>/registry/registry.jsonl``, chained like a shard, with a tree and a checkpoint of
its own. What it says of a shard: that it began, that it ended with this size and root, that its
records were pruned. Its origin names the directory's log.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from vaultlayer.audit.event import canonical, timestamp
from vaultlayer.audit.files import DEADLINE, File, folder, sync_folder, unavailable
from vaultlayer.audit.heads import Head, conflict, place_of
from vaultlayer.audit.merkle import leaf_hash
from vaultlayer.audit.note import Checkpoint
from vaultlayer.audit.shard import GENESIS, cut_torn_tail
from vaultlayer.audit.tiles import Tree, publish

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from vaultlayer.audit.heads import Heads
    from vaultlayer.audit.note import Signer

VERSION = 1


def registry_path(directory: Path) -> Path:
    return directory / "registry" / "registry.jsonl"


def origin_of(directory: Path) -> str:
    """The origin of the directory's log, as its registry says; empty where there is none."""
    try:
        with registry_path(directory).open("rb") as file:
            return str(json.loads(file.readline())["origin"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def read_registry(directory: Path) -> list[dict[str, Any]]:
    """Its records, oldest first; a line that is no record is left out: ``verify`` tells."""
    try:
        lines = registry_path(directory).read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unavailable("the audit log's registry can't be read", error) from error
    return [record for record in map(_record, lines) if record]


@dataclass(frozen=True, slots=True)
class Publisher:
    """Who signs the logs of a directory, where to, and under what origin."""

    directory: Path
    signer: Signer
    heads: Heads
    origin: str

    def head(self, name: str, tree: Tree) -> Head:
        """The signed head of a shard's tree; of the registry's where ``name`` is empty."""
        origin, root = f"{self.origin}/{name}" if name else self.origin, tree.root()
        note = self.signer.sign(Checkpoint(origin, tree.size, root).text)
        return Head(origin, self.origin, place_of(self.directory), tree.size, root, note)


class Registry:
    """The registry while this process has its lock; see ``opened``."""

    def __init__(self, directory: Path, file: File, signer: Signer, heads: Heads) -> None:
        self.records: list[dict[str, Any]] = []
        self._file, self._prev = file, GENESIS
        self._leaves: list[bytes] = []
        for line in file.read(file.size, 0).split(b"\n")[:-1]:
            self._take(line)
        if not self.records:
            self._write([{"event": "registry", "origin": f"{signer.public.name}/{_node()}"}])
        self.origin = str(self.records[0].get("origin"))
        self.publisher = Publisher(directory, signer, heads, self.origin)

    def check(self, head: Head | None) -> None:
        """``Conflict`` unless this is the log of that head, gone on with or as it was."""
        if head is not None and _root(self._leaves[: head.size]) != (head.size, head.root):
            raise conflict(head.origin)

    def append(
        self, records: Sequence[Mapping[str, Any]], head: Head | None, drop: Sequence[str] = ()
    ) -> Head:
        """Add records: on the disk, then signed, then the head swapped, then published.

        ``drop`` names the origins whose heads go with it: those of shards that are sealed.
        """
        self.check(head)
        self._write(records)
        self._file.sync()
        tree = Tree()
        tree.extend(self._leaves)
        new, place = self.publisher.head("", tree), self.publisher.directory / "registry"
        tree.store(place)
        self.publisher.heads.swap(head, new, drop)
        publish(place / "checkpoint", new.note.encode())
        return new

    def state(self) -> dict[str, dict[str, Any]]:
        """The last ``shard``, ``sealed`` or ``pruned`` record of each shard."""
        return state_of(self.records)

    def _write(self, records: Sequence[Mapping[str, Any]]) -> None:
        lines = [self._take(self._line(record)) for record in records]
        if lines:
            self._file.check()
            self._file.write(b"".join([line + b"\n" for line in lines]))

    def _line(self, record: Mapping[str, Any]) -> bytes:
        seq, ts = len(self.records), timestamp(time.time())
        return canonical({**record, "v": VERSION, "seq": seq, "ts": ts, "prev": self._prev})

    def _take(self, line: bytes) -> bytes:
        self._leaves.append(leaf_hash(line))
        self._prev = sha256(line).hexdigest()
        self.records.append(_record(line))
        return line


@contextmanager
def opened(directory: Path, signer: Signer, heads: Heads) -> Iterator[Registry]:
    """The registry, locked against other processes; begun where there is none."""
    path = registry_path(directory)
    file = None
    try:
        folder(directory, "registry")
        is_new = not path.exists()
        file = File(path, os.O_APPEND)
        _wait_for_lock(file)
        cut_torn_tail(file, path)
        if is_new:
            sync_folder(path.parent)
        yield Registry(directory, file, signer, heads)
    except OSError as error:
        raise unavailable("the audit log's registry can't be written", error) from error
    finally:
        if file is not None:
            file.close()


def state_of(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The last ``shard``, ``sealed`` or ``pruned`` record of each shard, by its name."""
    kinds = ("shard", "sealed", "pruned")
    return {str(r.get("shard")): dict(r) for r in records if r.get("event") in kinds}


def _root(leaves: Sequence[bytes]) -> tuple[int, bytes]:
    tree = Tree()
    tree.extend(leaves)
    return tree.size, tree.root()


def _record(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _node() -> str:
    return os.urandom(8).hex()


def _wait_for_lock(file: File) -> None:
    """Wait, but not for ever."""
    end = time.monotonic() + DEADLINE
    while not file.lock(wait=False):
        if time.monotonic() > end:
            raise unavailable(f"the audit log's registry was busy for {DEADLINE:g} s")
        time.sleep(0.005)
