"""The audit log: one file a process start, each line chained to the one before it."""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import json
import os
import secrets
import threading
import time
import weakref
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import structlog

from vaultlayer.version import __version__
from vaultlayer.audit.event import VERSION, canonical, check_plain, timestamp
from vaultlayer.errors import AuditUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, MutableMapping

Durability = Literal["process", "power"]
GENESIS = "0" * 64  # prev of a shard's first record
DEADLINE = 2.0  # seconds a read waits for its record before it is refused
_HINT = "Check that the audit directory exists, is writable and has room; nothing was released."

sync_data = getattr(os, "fdatasync", os.fsync)


def unavailable(what: str, error: OSError | None = None) -> AuditUnavailable:
    """One wording for every way the record could not be kept."""
    cause = f": {error.strerror}" if error is not None and error.strerror else ""
    return AuditUnavailable(what + cause, _HINT)


class Guard:
    """A lock that refuses after the deadline instead of waiting for ever."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        if not self._lock.acquire(timeout=DEADLINE):
            raise unavailable(f"the audit trail was busy for {DEADLINE:g} s")

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def folder(directory: Path, name: str) -> Path:
    """``directory/name``, made where missing (0700); the parent of ``directory`` must exist."""
    path = directory / name
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise unavailable("the audit directory can't be made", error) from error
    return path


class _Lines:
    """The innermost structlog logger of one write: it numbers, chains and keeps the bytes."""

    def __init__(self, shard: str, seq: int, prev: str) -> None:
        self.shard, self.seq, self.prev = shard, seq, prev
        self.ts = timestamp(time.time())
        self.data: list[bytes] = []

    def stamp(self, _: object, __: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        event.update(v=VERSION, seq=self.seq, ts=self.ts, shard=self.shard, prev=self.prev)
        return event

    def render(self, _: object, __: str, event: MutableMapping[str, Any]) -> bytes:
        return canonical(event)

    def record(self, line: bytes) -> None:
        self.data.append(line)
        self.prev = hashlib.sha256(line).hexdigest()
        self.seq += 1


class _Logger(structlog.BoundLoggerBase):
    """A structlog logger with its own processors: the application's configuration,
    ``capture_logs`` and context variables can neither drop nor edit what passes here."""

    def record(self, fields: dict[str, Any]) -> None:
        self._proxy_to_logger("record", **fields)


class Log:
    """An append-only shard ``<directory>/log/<shard>.jsonl`` of chained JSON lines.

    While it is open it holds the file's lock (``flock``): that is how ``recover`` and
    ``verify`` tell a living process from a crashed one. Safe to use from any thread; a
    forked child goes on in a shard of its own.
    """

    def __init__(self, directory: Path, *, durability: Durability = "process") -> None:
        self.directory = Path(directory)
        self._durability = durability
        self._reset()
        self._start()
        _at_exit_and_fork(self)

    @classmethod
    def resume(cls, directory: Path, shard: str, descriptor: int) -> Log:
        """Go on with a dead process's shard, already open and locked as ``descriptor``."""
        log = cls.__new__(cls)
        log.directory, log._durability = Path(directory), "power"
        log._reset()
        log.shard, log._fd = shard, descriptor
        log._take_up()
        return log

    def _reset(self) -> None:
        self.shard = ""
        self._fd = -1
        self._size = 0
        self._seq, self._prev = 0, GENESIS
        self._sent: tuple[int, int, str] | None = None
        self._broken = ""
        self._lock = Guard()

    @property
    def path(self) -> Path:
        return self.directory / "log" / f"{self.shard}.jsonl"

    def ready(self) -> str:
        """The shard's name, after starting a new shard if this process is a fresh fork."""
        with self._lock:
            if not self.shard:
                self._start()
            return self.shard

    def write(self, event: str, **fields: object) -> None:
        """Record one event. Raises ``AuditUnavailable`` when it is not in the log."""
        check_plain(fields)
        self.write_all([{"event": event, **fields}])

    def write_all(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Record events, all or none, in one write."""
        with self._lock:
            if not self.shard:
                self._start()
            self._append(events)

    def close(self) -> None:
        """Write the ``close`` record and release the file; further writes are refused."""
        with self._lock:
            if self._broken or not self.shard:
                self._broken = self._broken or "the audit log is closed"
            else:
                try:
                    self._append([{"event": "close"}])
                finally:
                    self._broken = "the audit log is closed"
            self._release()

    def _start(self) -> None:
        if self._broken:
            raise unavailable(self._broken)
        logs = folder(self.directory, "log")
        while self._fd < 0:
            start = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
            self.shard = f"{start}-{secrets.token_hex(4)}"
            self._fd = _create_locked(logs / f"{self.shard}.jsonl")
        if self._durability == "power":
            sync_folder(logs)
        self._append([{"event": "open", "library": f"vaultlayer {__version__}"}])

    def _take_up(self) -> None:
        self._size = os.fstat(self._fd).st_size
        last = last_line(self._fd, self._size)
        if last:
            self._seq = json.loads(last)["seq"] + 1
            self._prev = hashlib.sha256(last).hexdigest()
        else:
            self._append([{"event": "open", "library": f"vaultlayer {__version__}"}])

    def _append(self, events: Iterable[Mapping[str, Any]]) -> None:
        if self._broken:
            raise unavailable(self._broken)
        try:
            self._check_file()
            lines = _Lines(self.shard, self._seq, self._prev)
            logger = _Logger(lines, [lines.stamp, lines.render], {})
            for event in events:
                logger.record({**event})
            data = b"".join([line + b"\n" for line in lines.data])
            self._sent = (self._size + len(data), lines.seq, lines.prev)
            if os.write(self._fd, data) != len(data):
                self._check_file()
                raise unavailable("the audit log's disk is full")
            self._size, self._seq, self._prev = self._sent
            self._sent = None
        except OSError as error:
            raise unavailable("the audit log can't be written", error) from error
        if self._durability == "power":
            self._sync()

    def _check_file(self) -> None:
        """The file must be there and end where we left it.

        A write that was interrupted (a signal's exception, a full disk) is finished here:
        taken over when all its bytes arrived, cut off when only some did.
        """
        status = os.fstat(self._fd)
        if not status.st_nlink:
            self._broken = "the audit log's file was removed while it was in use"
        elif status.st_size != self._size:
            if self._sent is None or status.st_size > self._sent[0]:
                self._broken = "the audit log's file was changed by someone else"
            elif status.st_size == self._sent[0]:
                self._size, self._seq, self._prev = self._sent
            else:
                os.ftruncate(self._fd, self._size)
        self._sent = None
        if self._broken:
            raise unavailable(self._broken)

    def _sync(self) -> None:
        try:
            sync_data(self._fd)
        except OSError as error:  # the page cache can't be trusted after a failed sync
            self._broken = "the audit log could not be synced to disk"
            raise unavailable(self._broken, error) from error

    def _release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _forked(self) -> None:
        """In a forked child: leave the parent's shard; the first write starts our own."""
        self._release()
        self._reset()


def _create_locked(path: Path) -> int:
    """A new locked file; -1 if a recovery took the still empty file for an orphan."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)
    except OSError as error:
        raise unavailable("the audit log's file can't be made", error) from error
    return -1


def sync_folder(path: Path) -> None:
    """Make new names in a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def last_line(descriptor: int, size: int) -> bytes:
    """The last whole line of a file that ends in a newline; empty for an empty file."""
    reach = 1 << 16
    while True:
        start = max(0, size - reach)
        tail = os.pread(descriptor, size - start, start)
        lines = tail.rstrip(b"\n").split(b"\n")
        if len(lines) > 1 or start == 0:
            return lines[-1]
        reach *= 16


def _at_exit_and_fork(log: Log) -> None:
    reference = weakref.ref(log)

    def forked() -> None:
        alive = reference()
        if alive is not None:
            alive._forked()

    def leaving() -> None:
        alive = reference()
        if alive is not None:
            with suppress(AuditUnavailable):  # what is not in the log is still in the journal
                alive.close()

    os.register_at_fork(after_in_child=forked)
    atexit.register(leaving)
