"""The journal: what is written down before a value is released."""

from __future__ import annotations

import struct
import time
from itertools import count
from typing import TYPE_CHECKING, Any

from vaultlayer.audit.definitions import Access, Kind, Spec, definition
from vaultlayer.audit.event import access_context, timestamp
from vaultlayer.audit.files import Durability, Guard, at_exit_and_fork, folder, unavailable
from vaultlayer.audit.segment import Segment
from vaultlayer.audit.slots import events_of, refs_by_spec
from vaultlayer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from vaultlayer.audit.log import Log

_CLOSED = "the audit journal is closed"


class Journal:
    """The journal of one process, under ``<directory>/journal/``.

    ``append(prefix, ref)`` notes that ``ref`` (16 bytes: a ``log_ref``, or zeros) is about
    to be touched as ``spec`` said. When it returns, the note outlives the process
    (``durability="process"``) or the machine (``"power"``), and the value may be released;
    else it raises ``AuditUnavailable``. Any thread may use it. A forked child goes on in a
    journal of its own, its open accesses included.

    ``append`` is bound to the current segment: fetch it anew for each batch of reads. One
    kept longer stays correct and gets slower.
    """

    append: Callable[[bytes, bytes], None]

    def __init__(self, directory: Path, *, durability: Durability = "process", log: Log) -> None:
        self._folder = folder(directory, "journal")
        self._power = durability == "power"
        self._log = log
        self._accesses: dict[int, Access] = {}
        self._specs: dict[int, Spec] = {}
        self._numbers = count(1)
        self._closed = False
        self._segment: Segment | None = None
        self._full: list[Segment] = []  # left behind by the current one, not in the log yet
        self.release()
        self._roll(None)
        at_exit_and_fork(self)

    def open_access(self, context: Mapping[str, object]) -> int:
        """Begin an access and return its number; for ``context`` see ``event.access_context``."""
        self._log.check()
        number = next(self._numbers)
        told = access_context(context)
        told["access"] = f"{self._shard}.{number}"
        told["opened"] = timestamp(time.time())
        segment = self._segment
        start = segment.position() if segment else 0
        self._accesses[number] = Access(number, told, segment, start)
        return number

    def spec(
        self,
        access: int,
        entity: str,
        fields: Sequence[str],
        action: str,
        outcome: str,
        reason: str = "",
    ) -> bytes:
        """Define a kind of note and return its 4-byte prefix; in the kernel on return.

        :param action: ``read``, ``write``, ``search``, ...; the event's name.
        :param outcome: ``allow``, ``mask`` or ``deny``.
        :param reason: a stable code. The same arguments give the same prefix.
        """
        kind = entity, tuple(fields), action, outcome, reason
        opened = self._accesses.get(access)
        if opened is None or opened.closed_in is not None:
            raise ConfigurationError(
                "this access is not open", hint="read within the block of vault.access()"
            )
        spec = opened.specs.get(kind) or self._define(opened, kind)
        return spec.number.to_bytes(4, "little")

    def append_many(self, prefix: bytes, refs: Sequence[bytes]) -> None:
        """``append`` for each of ``refs``, at once; all are noted when it returns."""
        while refs:
            segment = self._segment
            try:
                done = segment.put_many(prefix, refs) if segment else 0
                if done and segment and self._power:
                    segment.sync()
            except ValueError:  # retired while we were at it
                continue
            except (IndexError, TypeError):
                raise _misuse() from None
            refs = refs[done:]
            if refs:
                self._roll(segment)

    def close_access(self, access: int) -> None:
        """Turn the access's notes into log events; a second call does nothing.

        When the log can't take them (``AuditUnavailable``) they stay in the journal, to be
        logged with their segment or by ``recover``.
        """
        opened = self._accesses.get(access)
        if opened is None or opened.closed_in is not None:
            return
        opened.closed_in = self._segment.number if self._segment else 0
        if not opened.specs:
            self._accesses.pop(access, None)
            return
        with self._settling:
            self._log_full()
            if self._segment is not None:
                self._log_access(opened, self._segment)

    def close(self) -> None:
        """Log all notes and delete the journal's files; what comes later is refused."""
        with self._settling:
            with self._changing:
                self._closed = True
                if self._segment is not None:
                    self._full.append(self._segment)
                self._segment = None
                self.append = self._append_first
            for segment in self._full:
                segment.map.close()
            self._log_full()

    def release(self) -> None:
        """Let go of all files as they are. In a forked child: its own are made at first use."""
        for segment in [*self._full, *filter(None, [self._segment])]:
            segment.release()
        self._segment, self._full, self._shard = None, [], ""
        self._changing, self._settling = Guard(), Guard()
        self.append = self._append_first

    def _define(self, access: Access, kind: Kind) -> Spec:
        while (segment := self._segment) is None or not segment.usable:
            self._roll(segment)
        with self._changing:
            known = access.specs.get(kind)
            if known is not None:  # another thread was first
                return known
            if self._segment is None:
                raise unavailable(_CLOSED)
            spec = Spec.of(next(self._numbers), access, kind)
            self._segment.define([definition(spec, first=not access.specs)])
            self._specs[spec.number] = access.specs[kind] = spec
        return spec

    def _use(self, segment: Segment) -> None:
        """Make ``segment`` the current one, and ``append`` as fast as it can be."""
        take, slots, pack = segment.take, segment.map, struct.Struct("16s4s").pack_into

        def append(prefix: bytes, ref: bytes) -> None:
            try:
                pack(slots, take(), ref, prefix)
            except (StopIteration, ValueError, TypeError, struct.error) as error:
                self._append_elsewhere(segment, prefix, ref, error)

        def append_synced(prefix: bytes, ref: bytes) -> None:
            try:
                pack(slots, take(), ref, prefix)
                segment.sync()
            except (StopIteration, ValueError, TypeError, struct.error) as error:
                self._append_elsewhere(segment, prefix, ref, error)

        self._segment = segment
        self.append = append_synced if self._power else append

    def _append_elsewhere(self, spent: Segment, prefix: bytes, ref: bytes, why: Exception) -> None:
        if not (isinstance(why, StopIteration) or spent.map.closed):
            raise _misuse() from None
        self._roll(spent)  # it is full, or was retired meanwhile
        self.append(prefix, ref)

    def _append_first(self, prefix: bytes, ref: bytes) -> None:
        self._roll(None)
        self.append(prefix, ref)

    def _roll(self, spent: Segment | None) -> None:
        """Go on in a new segment, unless another thread has seen to it; log the spent one."""
        if self._full:  # the log lags: no third segment before the first is logged
            self._retire()
        with self._changing:
            if self._closed:
                raise unavailable(_CLOSED)
            if self._segment is not spent:
                return
            self._shard = self._log.ready()
            number = spent.number + 1 if spent else 0
            definitions = self._definitions()
            segment = Segment(self._folder, self._shard, number, definitions, power=self._power)
            self._use(segment)
            if spent:
                self._full.append(spent)
        self._retire()

    def _definitions(self) -> Iterator[dict[str, Any]]:
        """What a new segment's file begins with: the specs of all open accesses."""
        for access in list(self._accesses.values()):
            if access.closed_in is None:
                yield from access.definitions()

    def _retire(self) -> None:
        with self._settling:
            self._log_full()

    def _log_full(self) -> None:
        while self._full:
            segment = self._full[0]
            refs = refs_by_spec(segment.retire())
            events = events_of(refs, self._specs, segment.place(0, segment.position()))
            if events:
                self._log.write_all(events)
            self._full.pop(0)
            self._forget(segment.number)
            segment.delete()

    def _log_access(self, access: Access, segment: Segment) -> None:
        start = access.start if access.segment is segment else 0
        slots = segment.read(start)
        specs = {spec.number: spec for spec in list(access.specs.values())}
        found = refs_by_spec(slots)
        mine = {number: refs for number, refs in found.items() if number in specs}
        events = events_of(mine, specs, segment.place(start, start + len(slots)))
        if events:
            self._log.write_all(events)
            segment.clear(start, slots, found, specs)

    def _forget(self, logged: int) -> None:
        """Drop accesses closed before the segment just logged; it had their last notes."""
        for access in list(self._accesses.values()):
            if access.closed_in is not None and access.closed_in < logged:
                self._accesses.pop(access.number, None)
                for spec in list(access.specs.values()):
                    self._specs.pop(spec.number, None)


def _misuse() -> Exception:
    return ConfigurationError("a note is a 4-byte prefix of spec() and a 16-byte ref")
