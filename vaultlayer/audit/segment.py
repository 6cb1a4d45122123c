"""One piece of a journal: a file of definitions and a mapped file of slots."""

from __future__ import annotations

import mmap
import os
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING

from vaultlayer.audit.event import canonical
from vaultlayer.audit.files import File, persist, unavailable
from vaultlayer.audit.slots import SLOT
from vaultlayer.errors import AuditUnavailable, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from vaultlayer.audit.definitions import Kind

SLOTS = 43_690  # 1 MiB of slots
MAX_DEFINITIONS = 1 << 20  # bytes after which the journal moves on to a new segment


class Segment:
    """``<shard>.<number>.jsonl`` (definitions) and ``<shard>.<number>.slots``.

    The slots are mapped: their pages belong to the kernel, so what is in a slot outlives
    the process. ``put`` fills the next slot (``log_ref`` 16 ‖ number 8 bytes) or several; it
    is the mapping's own ``write``, one C call, hence atomic among threads. It raises
    ``ValueError`` when there is no room for all of it, or the segment is retired.
    """

    def __init__(
        self,
        folder: Path,
        shard: str,
        number: int,
        definitions: Iterable[Mapping[str, object]],
        *,
        power: bool,
    ) -> None:
        self.number, self.shard = number, shard
        self._size = SLOTS * SLOT.size
        self._power = power
        self._end = self._size  # once retired: what was in use
        self._paths = [folder / f"{shard}.{number}.{suffix}" for suffix in ("slots", "jsonl")]
        try:
            with ExitStack() as undo:
                for path in self._paths:
                    undo.callback(path.unlink, missing_ok=True)
                self._slots = undo.enter_context(closing(File(self._paths[0], os.O_EXCL)))
                texts = File(self._paths[1], os.O_EXCL | os.O_APPEND)
                self._definitions = undo.enter_context(closing(texts))
                self._slots.allocate(self._size)
                self.map = mmap.mmap(self._slots.descriptor, self._size)
                self.define(definitions)
                if power:
                    persist(folder)
                undo.pop_all()
        except (OSError, AuditUnavailable) as error:
            raise unavailable("the audit journal can't be extended", error) from error
        self.kinds: set[Kind] = set()  # those defined in it
        self._full_at = self._definitions.size + MAX_DEFINITIONS
        self.put = self.map.write

    def define(self, definitions: Iterable[Mapping[str, object]]) -> None:
        """Append definitions in one write; they are in the kernel when this returns."""
        data = b"".join([canonical(definition) + b"\n" for definition in definitions])
        self.check()
        self._definitions.write(data)
        if self._power:
            self._definitions.sync()

    def check(self) -> None:
        """``AuditUnavailable`` when its files were removed, moved or changed by someone else."""
        self._slots.check()
        self._definitions.check()

    @property
    def usable(self) -> bool:
        """Whether slots and definitions can still be put into it."""
        broken = self.map.closed or self._definitions.broken or self._slots.broken
        return not broken and self._definitions.size < self._full_at

    def put_many(self, prefix: bytes, refs: Sequence[bytes]) -> int:
        """Fill as many slots as there is room for, at most ``len(refs)``; how many.

        Raises ``ValueError`` when another thread took the room, or the segment is retired.
        """
        some = refs[: (self._size - self.map.tell()) // SLOT.size]
        if some:
            self.put(prefix.join(some) + prefix)
        return len(some)

    def position(self) -> int:
        """Bytes of slots in use so far."""
        try:
            return self.map.tell()
        except ValueError:
            return self._end

    def place(self, start: int, end: int) -> dict[str, object]:
        """How an event names the slots from byte ``start`` up to ``end``."""
        first, last = start // SLOT.size, end // SLOT.size - 1
        return {"shard": self.shard, "segment": self.number, "first": first, "last": last}

    def read(self, start: int) -> bytes:
        """The slots from byte ``start`` up to the position, mapped or not."""
        size = self.position() - start
        slots = self._slots.read(size, start)
        if len(slots) != size:
            raise unavailable("the audit journal was cut off by someone else")
        return slots

    def clear(self, runs: Iterable[tuple[int, int]]) -> None:
        """Zero these ranges of bytes: their slots are told in the log."""
        for start, end in runs:
            self._slots.overwrite(bytes(end - start), start)

    def sync(self) -> None:
        """Put the slots on the disk; after a failure the segment takes no more.

        Raises ``ValueError`` when the segment is retired: then note it elsewhere.
        """
        try:
            self._slots.sync()
        except AuditUnavailable:
            if self.map.closed:
                raise ValueError("the segment is retired") from None
            if self._slots.broken:
                self.map.close()
            raise

    def retire(self) -> bytes:
        """Unmap, then read: a thread that comes late finds no map and goes elsewhere."""
        self.map.close()
        slots = self.read(0)
        self._end = -(-len(slots.rstrip(b"\0")) // SLOT.size) * SLOT.size
        return slots[: self._end]

    def release(self) -> None:
        """Let go of both files without touching them."""
        for held in (self.map, self._slots, self._definitions):
            held.close()

    def delete(self) -> None:
        """Remove both files, the slots first: what they held is in the log.

        Where they can't be removed both stay: by the definitions ``recover`` knows that it was.
        """
        self.release()
        with suppress(OSError):
            for path in self._paths:
                path.unlink()


def misuse() -> ConfigurationError:
    """What is said of a note that no slot can hold."""
    return ConfigurationError("a note is an 8-byte prefix of spec() and a 16-byte ref")
