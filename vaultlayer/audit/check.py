"""The check of one chained file: a shard of the log, or the registry."""

from __future__ import annotations

import fcntl
import json
import re
import time
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, BinaryIO

from vaultlayer.audit.event import canonical
from vaultlayer.audit.shard import GENESIS
from vaultlayer.audit.tiles import Tree

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

SILENCE = 180.0  # seconds: three heartbeats
_CHUNK = 1 << 20
_END = b'"v":1}'  # of most records; fields that come later in the alphabet may follow
_NEAR = 16  # bytes around where the line before had its ``prev``: most often it is there too
_TAIL = 110  # bytes: of most records ``seq`` and what follows it
_MINUTE = slice(-35, -19)  # of ``"ts":"2026-01-31T09:45:00.123456Z","v":1}``
_TIME = re.compile(rb'.*"ts":"([^"]*)Z"', re.DOTALL)  # no text holds a bare quote


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong: the shard, the line (from 1; 0 for the shard as such) and what it is."""

    shard: str
    line: int
    what: str


class ChainCheck:
    """Reads a file once, in pieces. Lines are hashed as they are, and parsed only to explain.

    ``marks`` are sizes at which the tree's root is wanted. Where the file's process promised
    heartbeats from a time on, longer silence is found too.
    """

    def __init__(
        self, path: Path, marks: Collection[int] = (), heartbeats_from: float | None = None
    ) -> None:
        self.path = path
        self.findings: list[Finding] = []
        self.line = 0  # of the record at hand, from 1
        self.alive = False
        self.tree = Tree()
        self.roots: dict[int, bytes] = {}
        self._marks, self._heartbeats_from = marks, heartbeats_from
        self._seq = 0  # due next
        self._prev = GENESIS.encode()
        self._last = b""

    def run(self) -> None:
        first = b""
        self.roots = self.tree.extend_past([], self._marks)
        self.alive = is_locked(self.path)
        with self.path.open("rb", buffering=0) as file:
            for lines in self._lines(file):
                first = first or lines[0]
                self.roots |= self.tree.extend_past(self._check(lines), self._marks)
                self.tree.drop_full()
        self._check_ends(first)

    def find(self, what: str, line: int | None = None) -> None:
        self.findings.append(Finding(self.path.stem, self.line if line is None else line, what))

    def _check(self, lines: Sequence[bytes]) -> list[bytes]:
        """The lines' leaf hashes; what is wrong with them is found on the way."""
        leaves, last, prev, seq, at = [], self._last, self._prev, self._seq, -1
        for line in lines:
            self.line += 1
            chained, numbered = b'"prev":"%b"' % prev, b'"seq":%d,' % seq
            at = line.find(chained, at - _NEAR, at + _NEAR + len(chained))
            if at < 0:
                at = line.find(chained)
            if at < 0 or (line.find(numbered, -_TAIL) < 0 and numbered not in line):
                self._prev, self._seq = prev, seq
                self._explain(line)
                seq = self._seq
            if line[_MINUTE] != last[_MINUTE] or line[-6:] != _END:
                self._check_time(last, line)
            seq += 1
            prev = sha256(line).hexdigest().encode()
            leaves.append(sha256(b"\0" + line).digest())
            last = line
        self._last, self._prev, self._seq = last, prev, seq
        return leaves

    def _lines(self, file: BinaryIO) -> Iterator[list[bytes]]:
        rest = b""
        while chunk := file.read(_CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            if lines:
                yield lines
        if rest and not self.alive:  # a living process may be writing it just now
            self.find(
                "torn: a crash cut it off; `vaultlayer audit recover` sees to it", self.line + 1
            )

    def _explain(self, line: bytes) -> None:
        record = parse(line)
        seq = record.get("seq") if record else None
        if record is None or type(seq) is not int:
            self.find("is not a record as the log writes them")
            return
        if record.get("prev") != self._prev.decode():
            self.find("doesn't fit the line before it: one of them was changed, or is not in place")
        if seq > self._seq:
            self.find(f"comes too early: records {self._seq} to {seq - 1} are missing before it")
        elif seq < self._seq:
            self.find(f"is there twice or out of order: it is record {seq}, {self._seq} was due")
        self._seq = seq

    def _check_time(self, before: bytes, line: bytes) -> None:
        if self._heartbeats_from is None:
            return
        earlier, later = seconds_of(before), seconds_of(line)
        if earlier is None or later is None:
            return
        gap = later - max(earlier, self._heartbeats_from)
        if gap > SILENCE and b'"event":"recover"' not in line:
            self.find(f"comes after {gap:.0f} s of silence: heartbeats are due each minute")

    def _check_ends(self, first: bytes) -> None:
        if not first:
            if not self.alive:
                self.find("is empty: its records were removed, or it never began")
            return
        opening, closing = parse(first) or {}, parse(self._last)
        if closing is None:
            self.find("is not a record as the log writes them")
        self.check_kind(opening, closing or {})

    def check_kind(self, opening: dict[str, Any], closing: dict[str, Any]) -> None:
        """How a shard begins and ends."""
        if closing and not self.alive and closing.get("event") != "close":
            self.find("is not a close record: the end was cut off, or a crash not yet recovered")
        if self.alive and self._heartbeats_from is not None:
            silent = time.time() - max(seconds_of(self._last) or 0, self._heartbeats_from)
            if silent > SILENCE:
                self.find(f"is the last, {silent:.0f} s ago: heartbeats are due each minute")
        if opening.get("event") != "open" or opening.get("seq") != 0:
            self.find("is not an open record: the head is missing", 1)
        if opening.get("shard") != self.path.stem:
            self.find("belongs to another shard", 1)


class RegistryCheck(ChainCheck):
    """The same for the registry, which has no end."""

    def check_kind(self, opening: dict[str, Any], closing: dict[str, Any]) -> None:
        if opening.get("event") != "registry" or opening.get("seq") != 0:
            self.find("is not the registry's first record: the head is missing", 1)


def parse(line: bytes) -> dict[str, Any] | None:
    """The record in a line, None unless it is the canonical form of one."""
    try:
        record = json.loads(line)
        return record if isinstance(record, dict) and canonical(record) == line else None
    except (ValueError, RecursionError):
        return None


def seconds_of(line: bytes) -> float | None:
    """A record's time in Unix seconds."""
    found = _TIME.match(line)
    try:
        return datetime.fromisoformat(f"{found[1].decode()}+00:00").timestamp() if found else None
    except ValueError:
        return None


def is_locked(path: Path) -> bool:
    """Whether the process that writes this shard is alive; needs no more than read access."""
    with path.open("rb", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
