"""The journal: what is written down before a value is released."""

from __future__ import annotations

import atexit
import os
import struct
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from vaultlayer.audit.event import OUTCOMES, SLOT, Spec, access_context, clip, events_of, timestamp
from vaultlayer.audit.log import DEADLINE, Durability, Guard, Log, folder, unavailable
from vaultlayer.audit.segment import MAX_DEFINITIONS, Segment
from vaultlayer.errors import AuditUnavailable, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

_PACK = struct.Struct("16s4s").pack_into


@dataclass(slots=True)
class _Access:
    number: int
    context: dict[str, Any]
    segment: Segment | None  # where it opened, and from which byte on its slots can be
    start: int
    specs: dict[tuple[object, ...], tuple[bytes, Spec]] = field(default_factory=dict)
    closed_in: int | None = None


class Journal:
    """The journal of one process, under ``<directory>/journal/``.

    ``append(prefix, ref)`` records that the record or person ``ref`` is about to be
    touched as ``spec`` said; when it returns the record outlives the process
    (``durability="process"``) or the machine (``"power"``), and the value may be
    released. If it can't be kept, ``append`` raises ``AuditUnavailable``.

    Any thread may use it. A forked child goes on in a journal of its own, open accesses
    included. Fetch ``journal.append`` anew for each batch: it changes with the segment
    (an old one stays correct, but slower).
    """

    append: Callable[[bytes, bytes], None]

    def __init__(self, directory: Path, *, durability: Durability = "process", log: Log) -> None:
        self._folder = folder(directory, "journal")
        self._durability = durability
        self._log = log
        self._accesses: dict[int, _Access] = {}
        self._specs: dict[int, Spec] = {}
        self._numbers = count(1)
        self._closed = False
        self._detach()
        self._roll(None)
        _at_exit_and_fork(self)

    def open_access(self, context: Mapping[str, object]) -> int:
        """Begin an access; its number. ``context``: see ``event.access_context``."""
        segment = self._segment
        number = next(self._numbers)
        cleaned = access_context(context)
        cleaned["opened"] = timestamp(time.time())
        cleaned["access"] = f"{self._shard}.{number}"
        start = segment.position() if segment else 0
        self._accesses[number] = _Access(number, cleaned, segment, start)
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
        """Define what slots with the returned 4-byte prefix mean; in the kernel on return.

        ``outcome`` is ``allow``, ``mask`` or ``deny``; ``reason`` a stable code. Asking
        again with the same arguments gives the same prefix.
        """
        opened = self._accesses.get(access)
        if opened is None or opened.closed_in is not None:
            raise ConfigurationError("this access is not open", "Read within the access's block.")
        key = (entity, tuple(fields), action, outcome, reason)
        known = opened.specs.get(key)
        if known is not None:
            return known[0]
        if outcome not in OUTCOMES:
            raise ConfigurationError("an outcome is allow, mask or deny")
        names = tuple(clip(name) for name in fields)
        prefix, full = self._define(opened, key, names)
        if full is not None:
            self._roll(full)
        return prefix

    def _define(
        self, access: _Access, key: tuple[Any, ...], names: tuple[str, ...]
    ) -> tuple[bytes, Segment | None]:
        entity, _, action, outcome, reason = key
        if self._segment is None:
            self._roll(None)
        with self._state:
            segment = self._current()
            number = next(self._numbers)
            spec = Spec(
                number, access.number, access.context,
                clip(entity), names, clip(action), outcome, clip(reason),
            )  # fmt: skip
            lines = [_spec_line(spec)]
            if not access.specs:
                lines.insert(0, _access_line(access))
            segment.define(lines)
            prefix = number.to_bytes(4, "little")
            self._specs[number] = spec
            access.specs[key] = prefix, spec
            return (
                prefix,
                segment if segment.defined > segment.inherited + MAX_DEFINITIONS else None,
            )

    def append_many(self, prefix: bytes, refs: Sequence[bytes]) -> None:
        """``append`` for each of ``refs``, at once; all are recorded when it returns."""
        rest = refs
        while rest:
            segment = self._segment
            try:
                done = segment.put_many(prefix, rest) if segment else 0
            except ValueError:
                if segment is self._segment:
                    raise
                continue
            if done and segment and self._durability == "power":
                self._sync(segment)
            rest = rest[done:]
            if rest:
                self._roll(segment)

    def close_access(self, access: int) -> None:
        """Turn the access's slots into log events. A second call does nothing.

        When the log fails (``AuditUnavailable``) the slots stay in the journal and are
        logged with their segment, or by ``recover``.
        """
        opened = self._accesses.get(access)
        if opened is None or opened.closed_in is not None:
            return
        if not opened.specs:
            del self._accesses[access]
            return
        with self._settling:
            self._settle_waiting()
            segment = self._segment
            opened.closed_in = segment.number if segment else 0
            if segment is None or self._closed:
                return
            start = opened.start if opened.segment is segment else 0
            end = segment.position()
            slots = segment.map[start:end]
            specs = {spec.number: spec for _, spec in opened.specs.values()}
            events = events_of(slots, specs, self._place(segment, start, end))
            if events:
                self._log.write_all(events)
                segment.clear(start, slots, specs)

    def close(self) -> None:
        """Log everything, delete the journal's files, refuse what comes later."""
        with self._settling:
            if self._closed:
                return
            with self._state:
                self._closed = True
                if self._segment is not None:
                    self._waiting.append(self._segment)
            self._settle_waiting()

    def _use(self, segment: Segment) -> None:
        """Make ``segment`` the current one."""
        take, slots = segment.take, segment.map

        def append(prefix: bytes, ref: bytes) -> None:
            try:
                _PACK(slots, take(), ref, prefix)
            except (StopIteration, ValueError):  # full, or already retired
                self._roll(segment)
                self.append(prefix, ref)
            except (TypeError, struct.error):
                raise unavailable(
                    "a journal slot takes a 4-byte prefix and a 16-byte ref"
                ) from None

        def append_synced(prefix: bytes, ref: bytes) -> None:
            append(prefix, ref)
            self._sync(segment)

        self._segment = segment
        self.append = append_synced if self._durability == "power" else append

    def _roll(self, full: Segment | None) -> None:
        """Move on to a new segment, unless another thread already has; log the full one."""
        if self._waiting:
            self._retire()
        with self._state:
            if self._closed:
                raise unavailable("the audit journal is closed")
            if self._segment is not full:
                return
            self._shard = self._log.ready()
            number = full.number + 1 if full else 0
            fresh = Segment(self._folder, self._shard, number, sync=self._durability == "power")
            fresh.define(self._definitions())
            fresh.inherited = fresh.defined
            if full is not None:
                self._waiting.append(full)
            self._use(fresh)
        self._retire()

    def _definitions(self) -> Iterator[dict[str, Any]]:
        """What a new segment begins with: itself and all that is still open."""
        yield {"journal": self._shard, "v": 1}
        for access in list(self._accesses.values()):
            if access.specs and access.closed_in is None:
                yield _access_line(access)
                yield from (_spec_line(spec) for _, spec in access.specs.values())

    def _forget(self, logged: int) -> None:
        """Drop accesses closed before the segment ``logged``: a late thread had that one."""
        for access in list(self._accesses.values()):
            if access.closed_in is not None and access.closed_in < logged:
                for _, spec in access.specs.values():
                    self._specs.pop(spec.number, None)
                self._accesses.pop(access.number, None)

    def _retire(self) -> None:
        with self._settling:
            self._settle_waiting()

    def _settle_waiting(self) -> None:
        """Log and delete the full segments."""
        while self._waiting:
            segment = self._waiting[0]
            slots = segment.retire()
            events = events_of(slots, self._specs, self._place(segment, 0, len(slots)))
            if events:
                self._log.write_all(events)
            segment.delete()
            self._waiting.pop(0)
            self._forget(segment.number)

    def _place(self, segment: Segment, start: int, end: int) -> dict[str, object]:
        first, last = start // SLOT.size, end // SLOT.size - 1
        return {"shard": self._shard, "segment": segment.number, "first": first, "last": last}

    def _sync(self, segment: Segment) -> None:
        began = time.monotonic()
        try:
            segment.sync()
        except OSError as error:
            raise unavailable("the audit journal could not be synced", error) from error
        if time.monotonic() - began > DEADLINE:
            raise unavailable(f"the audit journal took over {DEADLINE:g} s to sync")

    def _current(self) -> Segment:
        if self._closed or self._segment is None:
            raise unavailable("the audit journal is closed")
        return self._segment

    def _detach(self) -> None:
        self._segment: Segment | None = None
        self._waiting: list[Segment] = []
        self._shard = ""
        self._state, self._settling = Guard(), Guard()
        self.append = self._append_first

    def _append_first(self, prefix: bytes, ref: bytes) -> None:
        self._roll(None)
        self.append(prefix, ref)

    def _forked(self) -> None:
        """In a forked child: the parent's files are the parent's; ours are made at first use."""
        inherited = [*self._waiting, self._segment]
        self._detach()
        for segment in inherited:
            if segment is not None:
                segment.release()


def _access_line(access: _Access) -> dict[str, Any]:
    return {"opened": access.number, "context": access.context}


def _spec_line(spec: Spec) -> dict[str, Any]:
    return {
        "spec": spec.number,
        "of": spec.access,
        "entity": spec.entity,
        "fields": list(spec.fields),
        "action": spec.action,
        "outcome": spec.outcome,
        "reason": spec.reason,
    }


def _at_exit_and_fork(journal: Journal) -> None:
    reference = weakref.ref(journal)

    def forked() -> None:
        alive = reference()
        if alive is not None:
            alive._forked()

    def leaving() -> None:
        alive = reference()
        if alive is not None:
            with suppress(AuditUnavailable):  # what can't be logged now is recovered later
                alive.close()

    os.register_at_fork(after_in_child=forked)
    atexit.register(leaving)
