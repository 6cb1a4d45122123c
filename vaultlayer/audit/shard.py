"""One file of the log: records of one process, each chained to the one before it."""

from __future__ import annotations

import json
import os
import secrets
import time
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import structlog

from vaultlayer.audit.event import VERSION, canonical, timestamp
from vaultlayer.audit.files import File, lines_backwards, persist, unavailable
from vaultlayer.errors import ConfigurationError
from vaultlayer.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
    from pathlib import Path

GENESIS = "0" * 64  # prev of a shard's first record
MAX_LINE = 0xFFFF  # bytes: what an entry bundle of tlog-tiles has room for


class _Lines:
    """The innermost logger of one write: it numbers, chains, and owns the bytes."""

    def __init__(self, shard: str, seq: int, prev: str) -> None:
        self.shard, self.seq, self.prev = shard, seq, prev
        self.ts = timestamp(time.time())
        self.lines: list[bytes] = []

    def stamp(self, _: object, __: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        event.update(v=VERSION, seq=self.seq, ts=self.ts, shard=self.shard, prev=self.prev)
        return event

    def render(self, _: object, __: str, event: Mapping[str, Any]) -> bytes:
        return canonical(event)

    def record(self, line: bytes) -> None:
        if len(line) > MAX_LINE:
            raise ConfigurationError(
                "an audit event is longer than 65,535 bytes", hint="record less of it"
            )
        self.lines += line, b"\n"
        self.prev = sha256(line).hexdigest()
        self.seq += 1


class _Logger(structlog.BoundLoggerBase):
    """A structlog logger with processors of its own: no ``structlog.configure``,
    ``capture_logs`` or context variable of the application can drop or edit a record."""

    def record(self, event: Mapping[str, Any]) -> None:
        self._proxy_to_logger("record", **event)


class Shard:
    """``<logs>/<name>.jsonl``, locked (``flock``) by the process that writes it.

    One thread at a time. ``seq`` and ``prev`` are those of the record that comes next.
    """

    def __init__(self, path: Path, file: File, *, power: bool) -> None:
        self.path, self.name, self.file = path, path.stem, file
        self.began = time.monotonic()
        self.seq, self.prev = 0, GENESIS
        self._next = self.seq, self.prev
        self._power = power
        self.written: Callable[[Sequence[bytes]], None] = _nobody  # told of each line, at once

    @classmethod
    def create(cls, logs: Path, *, power: bool) -> Shard:
        """A new one; its ``open`` record is yet to be written."""
        try:
            file = None
            while file is None:
                start = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
                path = logs / f"{start}-{secrets.token_hex(4)}.jsonl"
                file = _create_locked(path)
            if power:
                persist(logs)
        except OSError as error:
            raise unavailable("the audit log's file can't be made", error) from error
        return cls(path, file, power=power)

    @classmethod
    def resume(cls, path: Path) -> tuple[Shard, bytes] | None:
        """That of a dead process, to be gone on with; None when the process is alive.

        What follows the last newline, a record the crash cut off, is taken off; it comes second.
        """
        file = File(path, os.O_APPEND)
        if not file.lock(wait=False):
            return None
        torn = cut_torn_tail(file, path)
        shard = cls(path, file, power=True)
        shard.seq, shard.prev = _head(path)
        return shard, torn

    def begin(self) -> None:
        """Write the ``open`` record, unless it is there."""
        self._settle()
        if not self.seq:
            self.append([])

    def append(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Record several events in one write: all of them, or none and ``AuditUnavailable``.

        The first ones come after the ``open`` record.
        """
        self._settle()
        if not self.seq:
            events = [{"event": "open", "library": f"vaultlayer {__version__}"}, *events]
        lines = _Lines(self.name, self.seq, self.prev)
        logger = _Logger(lines, [lines.stamp, lines.render], {})
        for event in events:
            logger.record(event)
        self._next = lines.seq, lines.prev
        self.file.write(b"".join(lines.lines))
        self.seq, self.prev = self._next
        if self._power:
            self.file.sync()
        self.written(lines.lines[::2])

    def end(self) -> None:
        """Write the ``close`` record and let go of the file, whatever comes of it."""
        try:
            self.append([{"event": "close"}])
        finally:
            self.file.close()

    def _settle(self) -> None:
        if self.file.check():
            self.seq, self.prev = self._next


def _nobody(_: Sequence[bytes]) -> None:
    pass


def _create_locked(path: Path) -> File | None:
    """A new, locked file; None when a recovery took the still empty file for an orphan."""
    file = File(path, os.O_EXCL | os.O_APPEND)
    return file if file.lock(wait=True) else None


def cut_torn_tail(file: File, path: Path) -> bytes:
    """Take off, and return, what follows the last newline."""
    torn = torn_tail(path)
    if torn:
        file.cut(file.size - len(torn))
    return torn


def torn_tail(path: Path) -> bytes:
    """What follows the last newline of a file: a record that a crash cut off."""
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return b""
        file.seek(-1, os.SEEK_END)
        if file.read(1) == b"\n":
            return b""
    return next(lines_backwards(path), b"")


def _head(path: Path) -> tuple[int, str]:
    """Next sequence number and prev of a shard, from its last line."""
    last = next(lines_backwards(path), b"")
    if not last:
        return 0, GENESIS
    try:
        seq = json.loads(last)["seq"]
    except (ValueError, TypeError, KeyError):  # damaged; a record's number is also its place
        with path.open("rb") as lines:
            seq = sum(1 for _ in lines) - 1
    return seq + 1, sha256(last).hexdigest()
