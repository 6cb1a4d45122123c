"""The audit log: one file a process start, each line chained to the one before it."""

from __future__ import annotations

import json
import os
import secrets
import time
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from vaultlayer.audit.event import VERSION, canonical, check_plain, timestamp
from vaultlayer.audit.files import (
    Durability,
    File,
    Guard,
    at_exit_and_fork,
    folder,
    lines_backwards,
    sync_folder,
    unavailable,
)
from vaultlayer.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, MutableMapping

GENESIS = "0" * 64  # prev of a shard's first record


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
        self.lines += line, b"\n"
        self.prev = sha256(line).hexdigest()
        self.seq += 1


class _Logger(structlog.BoundLoggerBase):
    """A structlog logger with processors of its own: no ``structlog.configure``,
    ``capture_logs`` or context variable of the application can drop or edit a record."""

    def record(self, event: Mapping[str, Any]) -> None:
        self._proxy_to_logger("record", **event)


class Log:
    """The shard ``<directory>/log/<shard>.jsonl``, from its ``open`` record to its ``close``.

    While it is open it holds the file's lock (``flock``): that is how ``recover`` and
    ``verify`` tell a living process from a dead one. Any thread may write. A forked child
    goes on in a shard of its own, started by its first write.
    """

    shard: str
    _guard: Guard
    torn = b""
    _file: File | None = None

    def __init__(self, directory: Path, *, durability: Durability = "process") -> None:
        self.directory = Path(directory)
        self._power = durability == "power"
        self._closed = False
        self.release()
        self.ready()
        at_exit_and_fork(self)

    @classmethod
    def resume(cls, directory: Path, shard: str) -> Log | None:
        """The log of a dead process, to be gone on with; None when the process is alive.

        What follows the last newline, a record the crash cut off, is taken off into
        ``.torn``. Nothing is written yet.
        """
        log = cls.__new__(cls)
        log.directory, log._power, log._closed = Path(directory), True, False
        log.release()
        log.shard = shard
        file = File(log.path, os.O_APPEND)
        if not file.lock(wait=False):
            return None
        log._file, log.torn = file, _cut_torn_tail(file, log.path)
        log._seq, log._prev = _head(log.path)
        return log

    @property
    def path(self) -> Path:
        return self.directory / "log" / f"{self.shard}.jsonl"

    def ready(self) -> str:
        """The shard's name; starts the shard where there is none yet (in a forked child)."""
        with self._guard:
            self._start()
            return self.shard

    def check(self) -> None:
        """Raise ``AuditUnavailable`` when the log is known not to take any more records."""
        if self._closed or (self._file and self._file.broken):
            raise unavailable(self._file.broken if self._file else "the audit log is closed")

    def write(self, event: str, **fields: object) -> None:
        """Record one event; ``AuditUnavailable`` when it can't be kept."""
        check_plain(fields)
        self.write_all([{"event": event, **fields}])

    def write_all(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Record several events in one write: all of them, or none and ``AuditUnavailable``."""
        with self._guard:
            self._start()
            self._append(events)

    def close(self) -> None:
        """End the shard with its ``close`` record; further writes are refused."""
        with self._guard:
            self._closed = True
            if self._file is None:
                return
            try:
                self._append([{"event": "close"}])
            finally:
                self._file.close()
                self._file = None

    def release(self) -> None:
        """Let go of the file as it is. In a forked child: it is the parent's alone."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self.shard = ""
        self._seq, self._prev = 0, GENESIS
        self._next = self._seq, self._prev
        self._guard = Guard()

    def _start(self) -> None:
        if self._closed:
            raise unavailable("the audit log is closed")
        if self._file is not None:
            if not self._seq:
                self._append([_open_event()])
            return
        logs = folder(self.directory, "log")
        try:
            while self._file is None:
                start = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
                self.shard = f"{start}-{secrets.token_hex(4)}"
                self._file = _create_locked(self.path)
            if self._power:
                sync_folder(logs)
        except OSError as error:
            raise unavailable("the audit log's file can't be made", error) from error
        self._append([_open_event()])

    def _append(self, events: Iterable[Mapping[str, Any]]) -> None:
        file = self._file
        assert file is not None  # noqa: S101
        if file.check():
            self._seq, self._prev = self._next
        lines = _Lines(self.shard, self._seq, self._prev)
        logger = _Logger(lines, [lines.stamp, lines.render], {})
        for event in events:
            logger.record(event)
        self._next = lines.seq, lines.prev
        file.write(b"".join(lines.lines))
        self._seq, self._prev = self._next
        if self._power:
            file.sync()


def _open_event() -> dict[str, Any]:
    return {"event": "open", "library": f"vaultlayer {__version__}"}


def _create_locked(path: Path) -> File | None:
    """A new, locked file; None when a recovery took the still empty file for an orphan."""
    file = File(path, os.O_EXCL | os.O_APPEND)
    return file if file.lock(wait=True) else None


def _cut_torn_tail(file: File, path: Path) -> bytes:
    if not file.size or file.read(1, file.size - 1) == b"\n":
        return b""
    torn = next(lines_backwards(path))
    file.cut(file.size - len(torn))
    return torn


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
