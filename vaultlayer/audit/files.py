"""Files and locks that refuse when they can't do their work: what journal and log stand on."""

from __future__ import annotations

import atexit
import errno
import fcntl
import os
import threading
import time
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, Protocol

from vaultlayer.errors import AuditUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Durability = Literal["process", "power"]
DEADLINE = 2.0  # seconds a read waits for its record before it is refused
_BLOCK = 1 << 16
_HINT = "check that the audit directory is there, writable and not full, then try again"

_sync_data = getattr(os, "fdatasync", os.fsync)  # macOS has only fsync


def unavailable(what: str, error: Exception | None = None) -> AuditUnavailable:
    """The one error of this room; says what failed, why (the system's word), and what to do."""
    why = getattr(error, "strerror", None) or getattr(error, "message", "")
    hint = getattr(error, "hint", "") or _HINT
    return AuditUnavailable(f"{what} ({why})" if why else what, hint=hint)


class Guard:
    """A lock that refuses after the deadline instead of waiting for ever."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        if not self._lock.acquire(timeout=DEADLINE):
            raise unavailable(f"the audit trail was busy for {DEADLINE:g} s")

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class File:
    """An open file only we append to; a write is there whole, or not at all.

    One thread at a time. Opening, locking, allocating, cutting raise ``OSError``, all else
    ``AuditUnavailable``.
    """

    def __init__(self, path: Path, flags: int) -> None:
        self.descriptor = -1
        self._path = os.fspath(path)
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o600)
        status = os.fstat(self.descriptor)
        self._identity = status.st_dev, status.st_ino
        self.size = status.st_size
        self._expected = self.size  # where an interrupted write was to end
        self.broken = ""

    def lock(self, *, wait: bool) -> bool:
        """Take the file's lock (``flock``); False where another process has it, or removed it."""
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        status = os.fstat(self.descriptor)
        self.size = self._expected = status.st_size  # it may have grown before the lock was ours
        return status.st_nlink > 0

    def unlock(self) -> None:
        """Give the lock up, also for a copy of the descriptor in a child forked meanwhile."""
        with suppress(OSError):
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)

    def check(self) -> bool:
        """Make sure the file is still in its place and ends where we left it.

        A write that was interrupted (by a signal's exception, a full disk) is settled: cut
        off when only a part of it arrived. True when all of it had arrived after all.
        """
        if self.broken:
            raise unavailable(self.broken)
        try:
            status = os.fstat(self.descriptor)
            if (status.st_dev, status.st_ino) != self._identity:
                self.broken = "a file of the audit trail was closed while it was in use"
            elif not status.st_nlink or not self._in_place():
                self.broken = "a file of the audit trail was removed or moved while it was in use"
            elif not self.size <= status.st_size <= self._expected:
                self.broken = "a file of the audit trail was changed by someone else"
            elif self.size < status.st_size < self._expected:
                os.ftruncate(self.descriptor, self.size)
        except OSError as error:
            raise unavailable("a file of the audit trail can't be used", error) from error
        if self.broken:
            raise unavailable(self.broken)
        arrived = status.st_size == self._expected != self.size
        self._expected = self.size = status.st_size if arrived else self.size
        return arrived

    def _in_place(self) -> bool:
        """Whether its name still leads to it: no one renamed it, nor the folders above it."""
        try:
            status = os.stat(self._path)  # noqa: PTH116 - one call, no object a check
        except FileNotFoundError:
            return False
        return (status.st_dev, status.st_ino) == self._identity

    def write(self, data: bytes) -> None:
        """Append in one system call; in the kernel when this returns. Call ``check`` before."""
        self._expected = self.size + len(data)
        try:
            written = os.write(self.descriptor, data)
        except OSError as error:
            raise unavailable("the audit trail can't be written", error) from error
        if written != len(data):
            self.check()
            raise unavailable("the audit trail can't be written (the disk is full)")
        self.size = self._expected

    def allocate(self, size: int) -> None:
        """Claim the disk space now, so that a full disk fails here and not at a mapped page."""
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self.descriptor, 0, size)
        elif os.pwrite(self.descriptor, bytes(size), 0) < size:  # macOS
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.size = self._expected = size

    def cut(self, size: int) -> None:
        """Take off what follows the first ``size`` bytes."""
        os.ftruncate(self.descriptor, size)
        self.size = self._expected = size

    def read(self, size: int, start: int) -> bytes:
        """Up to ``size`` bytes from byte ``start`` on."""
        try:
            return os.pread(self.descriptor, size, start)
        except OSError as error:
            raise unavailable("the audit trail can't be read", error) from error

    def overwrite(self, data: bytes, start: int) -> None:
        """Replace bytes that are there already."""
        try:
            os.pwrite(self.descriptor, data, start)
        except OSError as error:
            raise unavailable("the audit trail can't be written", error) from error

    def sync(self) -> None:
        """Put data on the disk. A failure is final: the page cache can't be trusted after it."""
        began = time.monotonic()
        try:
            _sync_data(self.descriptor)
        except OSError as error:
            self.broken = "the audit trail could not be synced to disk"
            raise unavailable(self.broken, error) from error
        if time.monotonic() - began > DEADLINE:
            raise unavailable(f"the audit trail took over {DEADLINE:g} s to reach the disk")

    def close(self) -> None:
        if self.descriptor >= 0:
            with suppress(OSError):  # someone else closed it already
                os.close(self.descriptor)
            self.descriptor = -1

    def __del__(self) -> None:
        self.close()


def folder(directory: Path, name: str) -> Path:
    """``directory/name``, made where missing (0700); the parent of ``directory`` must exist."""
    path = directory / name
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise unavailable(f"the audit directory {path} can't be made", error) from error
    return path


def persist(path: Path) -> None:
    """Make what a file or folder holds, and its own name, survive a power cut."""
    for place in (path, path.parent):
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def lines_backwards(path: Path) -> Iterator[bytes]:
    """The lines of a file from the last to the first, without newlines; empty ones left out."""
    with path.open("rb") as file:
        end, rest = file.seek(0, os.SEEK_END), b""
        while end:
            start = max(0, end - _BLOCK)
            file.seek(start)
            first, *lines = (file.read(end - start) + rest).split(b"\n")
            yield from filter(None, reversed(lines))
            end, rest = start, first
        if rest:
            yield rest


class Kept(Protocol):
    """Something that must be closed at exit, and left to the parent in a forked child."""

    def close(self) -> None: ...
    def release(self) -> None: ...


def at_exit_and_fork(kept: Kept) -> None:
    """Close ``kept`` when the interpreter exits; tell its copy in a forked child."""
    reference = weakref.ref(kept)

    def leaving() -> None:
        alive = reference()
        if alive is not None:
            with suppress(AuditUnavailable):  # what can't be logged now is recovered later
                alive.close()

    def forked() -> None:
        alive = reference()
        if alive is not None:
            alive.release()

    atexit.register(leaving)
    os.register_at_fork(after_in_child=forked)
