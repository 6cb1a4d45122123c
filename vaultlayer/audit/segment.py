"""One piece of a journal: a file of definitions and a mapped file of slots."""

from __future__ import annotations

import mmap
import os
from itertools import groupby, islice
from operator import length_hint
from typing import TYPE_CHECKING

from vaultlayer.audit.event import SLOT, canonical
from vaultlayer.audit.log import sync_data, sync_folder, unavailable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

SLOTS = 52_428  # 1 MiB of slots
MAX_DEFINITIONS = 1 << 20  # bytes after which the journal moves on to a new segment


class Segment:
    """``<shard>.<number>.jsonl`` (definitions) and ``<shard>.<number>.slots``.

    A slot is 20 bytes: ``log_ref`` 16 ‖ spec number u32 LE, zero while unused and zero
    again once its record is in the log. Its page belongs to the kernel, so what is in a
    slot outlives the process. ``take`` hands out offsets and is atomic in CPython.
    """

    def __init__(self, folder: Path, shard: str, number: int, *, sync: bool) -> None:
        self.number = number
        self.definitions_path = folder / f"{shard}.{number}.jsonl"
        self.slots_path = folder / f"{shard}.{number}.slots"
        self.defined = 0  # bytes of definitions, and how many were copied in at the start
        self.inherited = 0
        self._sync = sync
        size = SLOTS * SLOT.size
        self._fd = self._slots_fd = -1
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
            self._slots_fd = os.open(self.slots_path, flags, 0o600)
            _allocate(self._slots_fd, size)
            self.map = mmap.mmap(self._slots_fd, size)
            self._fd = os.open(self.definitions_path, flags | os.O_APPEND, 0o600)
            if sync:
                sync_folder(folder)
        except OSError as error:
            self.delete()
            raise unavailable("the audit journal can't be extended", error) from error
        self._offsets = iter(range(0, size, SLOT.size))
        self.take = self._offsets.__next__

    def define(self, definitions: Iterable[Mapping[str, object]]) -> None:
        """Append definitions in one write; they are in the kernel when this returns."""
        data = b"".join([canonical(definition) + b"\n" for definition in definitions])
        try:
            status = os.fstat(self._fd)
            if not status.st_nlink:
                raise unavailable("the audit journal's file was removed while it was in use")
            if status.st_size != self.defined:  # an interrupted or cut-off write
                os.ftruncate(self._fd, self.defined)
            if os.write(self._fd, data) != len(data):
                raise unavailable("the audit journal's disk is full")
            self.defined += len(data)
            if self._sync:
                sync_data(self._fd)
        except OSError as error:
            raise unavailable("the audit journal can't be written", error) from error

    def put_many(self, prefix: bytes, refs: Sequence[bytes]) -> int:
        """Fill up to ``len(refs)`` slots; how many there was room for."""
        taken = list(islice(self._offsets, len(refs)))
        data = prefix.join(refs[: len(taken)]) + prefix if taken else b""
        if len(data) != SLOT.size * len(taken):
            raise ValueError("a ref is 16 bytes")
        if taken and taken[-1] - taken[0] == SLOT.size * (len(taken) - 1):
            self.map[taken[0] : taken[-1] + SLOT.size] = data
        else:  # another thread took some in between
            for offset, ref in zip(taken, refs, strict=False):
                self.map[offset : offset + SLOT.size] = ref + prefix
        return len(taken)

    def position(self) -> int:
        """Bytes of slots handed out so far."""
        return (SLOTS - length_hint(self._offsets)) * SLOT.size

    def clear(self, start: int, slots: bytes, numbers: Collection[int]) -> None:
        """Zero the slots of these spec numbers among ``slots``, read from ``start`` on.

        Others' slots, and those still empty when ``slots`` was read, are left alone.
        """
        used = [number for _, number in SLOT.iter_unpack(slots)]
        place = start
        for mine, run in groupby(used, numbers.__contains__):
            length = SLOT.size * sum(1 for _ in run)
            if mine:
                self.map[place : place + length] = bytes(length)
            place += length

    def sync(self) -> None:
        sync_data(self._slots_fd)

    def retire(self) -> bytes:
        """Unmap, then read: a thread that comes late finds the map closed and goes elsewhere."""
        self.map.close()
        return os.pread(self._slots_fd, SLOTS * SLOT.size, 0)

    def release(self) -> None:
        """Let go of both files without touching them."""
        if hasattr(self, "map"):
            self.map.close()
        for descriptor in (self._fd, self._slots_fd):
            if descriptor >= 0:
                os.close(descriptor)
        self._fd = self._slots_fd = -1

    def delete(self) -> None:
        """Remove both files: everything in them is in the log. Slots go last."""
        self.release()
        self.definitions_path.unlink(missing_ok=True)
        self.slots_path.unlink(missing_ok=True)


def _allocate(descriptor: int, size: int) -> None:
    """Claim the disk space now, so that a full disk fails here and not at a slot."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:  # macOS
        os.pwrite(descriptor, bytes(size), 0)
