"""The journal: what is written down before a value is released."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from vaultlayer.audit.definitions import Access, Kind
from vaultlayer.audit.event import access_context, timestamp
from vaultlayer.audit.files import Durability, Guard, at_exit_and_fork, folder, unavailable
from vaultlayer.audit.numbers import Numbers
from vaultlayer.audit.segment import Segment, misuse
from vaultlayer.audit.tell import tell_access, tell_segment
from vaultlayer.errors import AuditUnavailable, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
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

    ``put(ref + prefix)`` is the same for the hot path: it belongs to the current segment,
    checks no lengths, and raises ``ValueError`` when that segment can't take the note; then
    ``append`` can.
    """

    put: Callable[[bytes], object]
    _changing: Guard
    _settling: Guard

    def __init__(self, directory: Path, *, durability: Durability = "process", log: Log) -> None:
        self._folder = folder(directory, "journal")
        self._power = durability == "power"
        self._log = log
        self.numbers = Numbers()
        self._closed = False
        self._segment: Segment | None = None
        self._full: list[Segment] = []  # left behind by the current one, not in the log yet
        self.release()
        self._roll(None)
        log.sinks.on_required_failure(self.watch)
        at_exit_and_fork(self)

    def open_access(self, context: Mapping[str, object]) -> int:
        """Begin an access and return its number; for ``context`` see ``event.access_context``."""
        self._log.check()
        number = self.numbers.next_access()
        told = access_context(context)
        told["access"] = f"{self._shard}.{number}"
        told["opened"] = timestamp(time.time())
        self._log.announce(told)
        self.numbers.begin(number, told, self._segment)
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
        """Define a kind of note and return its 8-byte prefix; in the kernel on return.

        :param action: ``read``, ``write``, ``search``, ...; the event's name.
        :param outcome: ``allow``, ``mask`` or ``deny``.
        :param reason: a stable code. The same arguments give the same prefix.
        """
        kind = Kind(entity, tuple(fields), action, outcome, reason)
        opened = self.numbers.known.get(access)
        if opened is None or opened.closed_in is not None:
            raise ConfigurationError(
                "this access is not open", hint="read within the block of vault.access()"
            )
        return opened.prefixes.get(kind) or self._define(opened, kind)

    def context(self, access: int) -> Mapping[str, Any]:
        """What the events of an open access say of it: who, for what, since when."""
        return self.numbers.accesses[access]

    def lag(self) -> float:
        """Seconds since the oldest open access with notes began: its notes aren't in the log."""
        opened = min((access.context["opened"] for access in self.numbers.noting()), default="")
        began = datetime.fromisoformat(opened).timestamp() if opened else 0.0
        return max(0.0, time.time() - began) if opened else 0.0

    def append(self, prefix: bytes, ref: bytes) -> None:
        """Note one touch."""
        _check(prefix, (ref,))
        while True:
            segment = self._segment
            try:
                self.put(ref + prefix)
                return
            except ValueError:  # full, or retired meanwhile
                self._roll(segment)

    def append_many(self, prefix: bytes, refs: Sequence[bytes]) -> None:
        """``append`` for each of ``refs``, at once; all are noted when it returns."""
        _check(prefix, refs)
        while refs:
            segment = self._segment
            try:
                done = segment.put_many(prefix, refs) if segment else 0
                if done and segment and self._power:
                    segment.sync()
            except ValueError:  # another thread took the room, or retired it
                continue
            refs = refs[done:]
            if refs:
                self._roll(segment)

    def close_access(self, access: int) -> None:
        """Turn the access's notes into log events; a second call does nothing.

        When the log can't take them (``AuditUnavailable``) they stay in the journal, to be
        logged with their segment or by ``recover``.
        """
        opened = self.numbers.known.get(access)
        if opened is None or opened.closed_in is not None:
            return
        opened.closed_in = self._segment.number if self._segment else 0
        if not opened.prefixes:
            self.numbers.drop(opened)
            return
        with self._settling:
            self._log_full()
            if self._segment is not None:
                tell_access(self._log, opened, self._segment, self.numbers)
        self._log.sinks.settle()

    def close(self) -> None:
        """Log all notes and delete the journal's files; what comes later is refused."""
        with self._settling:
            with self._changing:
                self._closed = True
                self._full += filter(None, [self._segment])
                self._segment, self.put = None, _no_segment
            for segment in self._full:
                segment.map.close()
            self._log_full()

    def watch(self) -> None:
        """Refuse from now on when someone took the files away: storing to memory doesn't fail."""
        segment = self._segment
        if segment is not None and not segment.map.closed:
            try:
                self._log.check()
                with self._changing:
                    segment.check()
            except AuditUnavailable:
                segment.map.close()
                raise

    def rotate(self) -> None:
        """Go on in a new shard of the log: what was noted for the old one is logged there."""
        with self._settling:
            with self._changing:
                if self._segment is None:
                    return
                self._begin_segment(self._log.begin_next())
            self._log_full()
            self._log.turn()

    def release(self) -> None:
        """Let go of all files as they are. In a forked child: its own are made at first use."""
        for segment in [*self._full, *filter(None, [self._segment])]:
            segment.release()
        self._segment, self._full, self._shard = None, [], ""
        self._changing, self._settling, self.put = Guard(), Guard(), _no_segment

    def _define(self, access: Access, kind: Kind) -> bytes:
        while (segment := self._segment) is None or not segment.usable:
            self._roll(segment)
        with self._changing:
            if (known := access.prefixes.get(kind)) is not None:  # another thread was first
                return known
            if self._segment is None:
                raise unavailable(_CLOSED)
            return self.numbers.define(access, kind, self._segment)

    def _use(self, segment: Segment) -> None:
        """Make ``segment`` the current one."""

        def put_synced(slot: bytes) -> None:
            segment.put(slot)
            segment.sync()

        self._segment = segment
        self.put = put_synced if self._power else segment.put

    def _roll(self, spent: Segment | None) -> None:
        """Go on in a new segment, unless another thread has seen to it; log the spent one."""
        if self._full:  # the log lags: no third segment before the first is logged
            self._retire()
        with self._changing:
            if self._closed:
                raise unavailable(_CLOSED)
            if self._segment is not spent:
                return
            self._begin_segment(self._log.ready())
        self._retire()

    def _begin_segment(self, shard: str) -> None:
        spent, self._shard = self._segment, shard
        number = spent.number + 1 if spent else 0
        lines, kinds = self.numbers.redefine()
        segment = Segment(self._folder, shard, number, lines, power=self._power)
        segment.kinds.update(kinds)
        self._use(segment)
        if spent:
            self._full.append(spent)

    def _retire(self) -> None:
        with self._settling:
            self._log_full()

    def _log_full(self) -> None:
        while self._full:
            segment = self._full[0]
            tell_segment(self._log, segment, self.numbers)
            self._full.pop(0)
            self.numbers.forget(segment.number)
            segment.delete()


def _no_segment(_: bytes) -> None:
    raise ValueError("no segment")


def _check(prefix: bytes, refs: Sequence[bytes]) -> None:
    """Slots have no separators: one of another length would garble all that follow."""
    if len(prefix) != 8 or {*map(type, refs)} - {bytes} or {*map(len, refs)} - {16}:
        raise misuse()
