"""Read a log and say what was done to it."""

from __future__ import annotations

import fcntl
import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from vaultlayer.audit.event import canonical
from vaultlayer.audit.files import unavailable
from vaultlayer.audit.shard import GENESIS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LIMITS = (
    "Not found without signed checkpoints: a shard removed whole, "
    "or rewritten up to its end with new hashes."
)
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong: the shard, the line (from 1; 0 for the shard as such) and what it is."""

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
    """Check every shard of the log under ``directory``; needs no more than read access.

    Finds, within a shard, any edit, insertion, deletion, repetition and change of order, a
    missing head, and a missing end (each shard ends with a ``close`` record, written by
    ``recover`` where the process could not). The chain has no key, so it can't find what
    ``LIMITS`` names. Raises ``AuditUnavailable`` when there is nothing to read.
    """
    return verify_shards(sorted((Path(directory) / "log").glob("*.jsonl")))


def verify_shards(paths: Iterable[Path]) -> Report:
    """``verify`` for these shard files."""
    shards = records = 0
    findings: list[Finding] = []
    for path in paths:
        try:
            check = _Check(path)
            check.run()
        except OSError as error:
            raise unavailable(f"the audit log {path.name} can't be read", error) from error
        shards, records = shards + 1, records + check.line
        findings += check.findings
    if not shards:
        raise unavailable("there is no audit log to verify")
    return Report(shards, records, findings)


class _Check:
    """The check of one shard. Lines are hashed as they are, and parsed only to explain."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.findings: list[Finding] = []
        self.line = 0  # of the record at hand, from 1
        self.seq = 0  # due next
        self.prev = GENESIS

    def run(self) -> None:
        line = first = b""
        with self.path.open("rb", buffering=0) as file:
            alive = _is_locked(file)
            for line in self._lines(file, alive):
                self.line += 1
                if b'"prev":"%b"' % self.prev.encode() not in line or (
                    b'"seq":%d,' % self.seq not in line
                ):
                    self._explain(line)
                self.seq += 1
                self.prev = sha256(line).hexdigest()
                first = first or line
        self._check_ends(first, line, alive)

    def _lines(self, file: BinaryIO, alive: bool) -> Iterator[bytes]:
        rest = b""
        while chunk := file.read(_CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from lines
        if rest and not alive:  # a living process may be writing it just now
            self.line += 1
            self._find("torn: a crash cut it off; `vaultlayer audit recover` sees to it")
            self.line -= 1

    def _explain(self, line: bytes) -> None:
        record = _parse(line)
        seq = record.get("seq") if record else None
        if record is None or type(seq) is not int:
            self._find("is not a record as the log writes them")
            return
        if record.get("prev") != self.prev:
            self._find(
                "doesn't fit the line before it: one of them was changed, or is not in place"
            )
        if seq > self.seq:
            self._find(f"comes too early: records {self.seq} to {seq - 1} are missing before it")
        elif seq < self.seq:
            self._find(f"is there twice or out of order: it is record {seq}, {self.seq} was due")
        self.seq = seq

    def _check_ends(self, first: bytes, last: bytes, alive: bool) -> None:
        opening, closing = _parse(first) or {}, _parse(last)
        if not first:
            if not alive:
                self._find("is empty: its records were removed, or it never began")
            return
        if closing is None:
            self._find("is not a record as the log writes them")
        elif not alive and closing.get("event") != "close":
            self._find("is not a close record: the end was cut off, or a crash not yet recovered")
        self.line, count = 1, self.line
        if opening.get("event") != "open" or opening.get("seq") != 0:
            self._find("is not an open record: the head is missing")
        if opening.get("shard") != self.path.stem:
            self._find("belongs to another shard")
        self.line = count

    def _find(self, what: str) -> None:
        self.findings.append(Finding(self.path.stem, self.line, what))


def _parse(line: bytes) -> dict[str, Any] | None:
    """The record in a line, None unless it is the canonical form of one."""
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
