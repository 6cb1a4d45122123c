"""What the journal noted, told in the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultlayer.audit.slots import events_of, refs_by_spec, runs_of

if TYPE_CHECKING:
    from vaultlayer.audit.definitions import Access, Definitions
    from vaultlayer.audit.log import Log
    from vaultlayer.audit.segment import Segment


def tell_segment(log: Log, segment: Segment, definitions: Definitions) -> None:
    """Log all notes of a segment and retire it."""
    _reach(log, segment)
    refs = refs_by_spec(segment.retire())
    events = events_of(refs, definitions.get, segment.place(0, segment.position()))
    if events:
        log.write_all(events)


def tell_access(log: Log, access: Access, segment: Segment, definitions: Definitions) -> None:
    """Log the notes of an access in the current segment, and clear their slots."""
    _reach(log, segment)
    start = access.start if access.segment is segment else 0
    slots = segment.read(start)
    runs = runs_of(slots, access.mark)
    refs = refs_by_spec(b"".join([slots[begin:end] for begin, end in runs]))
    events = events_of(refs, definitions.get, segment.place(start, start + len(slots)))
    if events:
        log.write_all(events)
        segment.clear([(start + begin, start + end) for begin, end in runs])


def _reach(log: Log, segment: Segment) -> None:
    """Have the log write the shard the segment belongs to: all before it is logged."""
    if log.shard and segment.shard != log.shard:
        log.turn()
