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
from vaultlayer.audit.files import DEADLINE, File, folder, persist, unavailable
from vaultlayer.audit.heads import Head, conflict, place_of
from vaultlayer.audit.merkle import leaf_hash
from vaultlayer.audit.note import Checkpoint
from vaultlayer.audit.shard import GENESIS, cut_torn_tail
from vaultlayer.audit.tiles import Tree, publish
from vaultlayer.audit.witness import cosigned

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from vaultlayer.audit.heads import Heads
    from vaultlayer.audit.note import Signer
    from vaultlayer.audit.witness import Witness

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
class Signing:
    """With what the logs of a directory are signed, where their heads go, and who cosigns them."""

    signer: Signer
    heads: Heads
    witnesses: Sequence[Witness] = ()


@dataclass(frozen=True, slots=True)
class Publisher:
    """The signing of one directory's logs, and the origin they share."""

    directory: Path
    signing: Signing
    origin: str

    def head(self, name: str, tree: Tree) -> Head:
        """The signed head of a shard's tree; of the registry's where ``name`` is empty."""
        origin, root = f"{self.origin}/{name}" if name else self.origin, tree.root()
        note = self.signing.signer.sign(Checkpoint(origin, tree.size, root).text)
        return Head(origin, self.origin, place_of(self.directory), tree.size, root, note)


class Registry:
    """The registry while this process has its lock; see ``opened``."""

    def __init__(self, directory: Path, file: File, signing: Signing) -> None:
        self.unwitnessed: list[str] = []  # which witnesses didn't sign the last head, and why
        self.records: list[dict[str, Any]] = []
        self._file, self._prev = file, GENESIS
        self._leaves: list[bytes] = []
        for line in file.read(file.size, 0).split(b"\n")[:-1]:
            self._take(line)
        if not self.records:
            origin = f"{signing.signer.public.name}/{os.urandom(8).hex()}"
            self._write([{"event": "registry", "origin": origin}])
        self.origin = str(self.records[0].get("origin"))
        self.publisher = Publisher(directory, signing, self.origin)

    def check(self, head: Head | None) -> None:
        """``Conflict`` unless this is the log of that head, gone on with or as it was."""
        if head is not None and _root(self._leaves[: head.size]) != (head.size, head.root):
            raise conflict(head.origin)

    def append(
        self,
        records: Sequence[Mapping[str, Any]],
        head: Head | None,
        drop: Sequence[str] = (),
        *,
        forced: bool = False,
    ) -> Head:
        """Add records: on the disk, then signed, the head swapped, cosigned, published.

        ``drop`` names the origins whose heads go with it: those of shards that are sealed.
        ``forced``: what is lost was accepted, so the head need not be one of this log.
        """
        if not forced:
            self.check(head)
        self._write(records)
        self._file.sync()
        tree = Tree()
        tree.extend(self._leaves)
        new, place = self.publisher.head("", tree), self.publisher.directory / "registry"
        tree.store(place)
        self.publisher.signing.heads.swap(head, new, drop)
        note, self.unwitnessed = cosigned(new.note, self.publisher.signing.witnesses, place)
        publish(place / "checkpoint", note.encode())
        return new

    def state(self) -> dict[str, dict[str, Any]]:
        """How each shard stands; see ``state_of``."""
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
def opened(directory: Path, signing: Signing) -> Iterator[Registry]:
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
            persist(path.parent)
        yield Registry(directory, file, signing)
    except OSError as error:
        raise unavailable("the audit log's registry can't be written", error) from error
    finally:
        if file is not None:
            file.unlock()
            file.close()


def state_of(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The last record about each shard that says how it stands, by its name."""
    kinds = ("shard", "sealed", "pruned", "loss")
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


def _wait_for_lock(file: File) -> None:
    """Wait, but not for ever."""
    end = time.monotonic() + DEADLINE
    while not file.lock(wait=False):
        if time.monotonic() > end:
            raise unavailable(f"the audit log's registry was busy for {DEADLINE:g} s")
        time.sleep(0.005)
