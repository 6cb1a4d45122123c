"""What the journal noted, told in the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultlayer.audit.slots import events_of, refs_by_spec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaultlayer.audit.definitions import Access, Spec
    from vaultlayer.audit.log import Log
    from vaultlayer.audit.segment import Segment


def tell_segment(log: Log, segment: Segment, specs: Mapping[int, Spec]) -> None:
    """Log all notes of a segment and retire it."""
    _reach(log, segment)
    refs = refs_by_spec(segment.retire())
    events = events_of(refs, specs, segment.place(0, segment.position()))
    if events:
        log.write_all(events)


def tell_access(log: Log, access: Access, segment: Segment) -> None:
    """Log the notes of an access in the current segment, and clear their slots."""
    _reach(log, segment)
    start = access.start if access.segment is segment else 0
    slots = segment.read(start)
    specs = {spec.number: spec for spec in list(access.specs.values())}
    found = refs_by_spec(slots)
    mine = {number: refs for number, refs in found.items() if number in specs}
    events = events_of(mine, specs, segment.place(start, start + len(slots)))
    if events:
        log.write_all(events)
        segment.clear(start, slots, found, specs)


def _reach(log: Log, segment: Segment) -> None:
    """Have the log write the shard the segment belongs to: all before it is logged."""
    if log.shard and segment.shard != log.shard:
        log.turn()
