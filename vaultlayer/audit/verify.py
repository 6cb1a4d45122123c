"""Read a log and say what was done to it."""

from __future__ import annotations

import fcntl
import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from vaultlayer.audit.event import canonical
from vaultlayer.audit.log import GENESIS
from vaultlayer.errors import AuditUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 1 << 22


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong: the shard, the line (from 1; 0 for the whole shard) and what it is."""

    shard: str
    line: int
    what: str


@dataclass(frozen=True, slots=True)
class Report:
    """How many shards and records were read, and all that is wrong with them."""

    shards: int
    records: int
    findings: list[Finding]


def verify(directory: Path) -> Report:
    """Check every shard of the log under ``directory``; needs read access only.

    Finds edits, insertions, deletions, reordering and repetition inside a shard, a missing
    head, and a missing tail (a shard ends with its ``close`` record). The chain has no
    key, so it can't find a removed shard, or a shard rewritten from some record to its
    end by someone who can compute SHA-256; that takes signed checkpoints kept elsewhere.
    """
    logs = Path(directory) / "log"
    if not logs.is_dir():
        raise AuditUnavailable("there is no audit log here", "Name the directory that holds log/.")
    findings: list[Finding] = []
    records = 0
    paths = sorted(logs.glob("*.jsonl"))
    for path in paths:
        check = _Shard(path)
        records += check.run()
        findings += check.findings
    return Report(len(paths), records, findings)


class _Shard:
    """The check of one shard. Lines are hashed as they are; JSON is parsed only to explain."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.findings: list[Finding] = []
        self.count = 0

    def find(self, line: int, what: str) -> None:
        self.findings.append(Finding(self.path.stem, line, what))

    def run(self) -> int:
        with self.path.open("rb", buffering=0) as file:
            alive = _is_locked(file)
            previous = b""
            prev, seq = GENESIS, 0
            for line in self._lines(file, alive):
                self.count += 1
                marks = b'"prev":"%b"' % prev.encode(), b'"seq":%d,' % seq
                if marks[0] in line and marks[1] in line:
                    seq += 1
                else:
                    seq = self._explain(line, prev, seq) + 1
                prev = sha256(line).hexdigest()
                if not previous:
                    self._check_first(line)
                previous = line
            self._check_last(previous, alive)
        return self.count

    def _lines(self, file: BinaryIO, alive: bool) -> Iterator[bytes]:
        rest = b""
        while chunk := file.read(_CHUNK):
            lines = (rest + chunk).split(b"\n")
            rest = lines.pop()
            yield from lines
        if rest and not alive:
            self.find(
                self.count + 1,
                "torn: the last line was cut off by a crash; `vaultlayer audit recover` closes it",
            )

    def _explain(self, line: bytes, prev: str, seq: int) -> int:
        record = _parse(line)
        if record is None:
            self.find(self.count, "not a canonical JSON record")
            return seq
        found = record.get("seq")
        if not isinstance(found, int) or isinstance(found, bool):
            self.find(self.count, "has no sequence number")
            return seq
        if found > seq:
            self.find(
                self.count, f"{found - seq} records are missing before this one (seq {found})"
            )
        elif found < seq:
            self.find(self.count, f"repeated or out of order: seq {found} where {seq} belongs")
        if record.get("prev") != prev:
            self.find(
                self.count, "is not chained to the line before it: one of the two was changed"
            )
        return found

    def _check_first(self, line: bytes) -> None:
        record = _parse(line) or {}
        if record.get("event") != "open" or record.get("seq") != 0:
            self.find(1, "the head is missing: a shard begins with its open record")
        if record.get("shard") != self.path.stem:
            self.find(1, "belongs to another shard")

    def _check_last(self, line: bytes, alive: bool) -> None:
        record = _parse(line) if line else {}
        if record is None:
            self.find(self.count, "not a canonical JSON record")
        elif not alive and record.get("event") != "close":
            self.find(self.count, "the end is missing: cut off, or a crash nobody recovered yet")


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
        return record if isinstance(record, dict) and canonical(record) == line else None
    except (ValueError, RecursionError):
        return None


def _is_locked(file: BinaryIO) -> bool:
    """Whether the process that writes this shard is alive."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(file, fcntl.LOCK_UN)
    return False
