"""Finish what a crashed process left: its journal becomes log events, its shard is closed."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from vaultlayer.audit.check import is_locked
from vaultlayer.audit.definitions import Definitions, read_definitions
from vaultlayer.audit.files import folder, lines_backwards, unavailable
from vaultlayer.audit.log import Log
from vaultlayer.audit.registry import read_registry, state_of
from vaultlayer.audit.shard import torn_tail
from vaultlayer.audit.slots import SLOT, events_of, refs_by_spec, texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

_Logged = dict[tuple[object, ...], list[tuple[int, int, frozenset[str]]]]


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was finished of one shard.

    ``notes``: journal slots that were not in the log yet; ``torn``: bytes of a record that
    was cut off by the crash, removed from the shard's end (its notes are among ``notes``).
    """

    shard: str
    notes: int
    torn: int


def recover(directory: Path) -> list[Recovered]:
    """Finish the shards of dead processes under ``directory``; leave those of living ones.

    Each dead shard is continued: a ``recover`` record, an event marked ``recovered`` for
    what only the journal knew, a ``close`` record. May be run at any time, by several
    processes at once, and again after it was killed. Raises ``AuditUnavailable`` when the
    directory can't be read or written.
    """
    if not directory.is_dir():
        return []
    for name in ("log", "journal"):
        folder(directory, name)
    return _each_shard(directory, _finish)


def recoverable(directory: Path) -> list[Recovered]:
    """What ``recover`` would finish now; needs no more than read access."""
    return _each_shard(directory, _unfinished)


def _each_shard(directory: Path, look: Callable[[Path, str], Recovered | None]) -> list[Recovered]:
    state = state_of(read_registry(directory))
    sealed = {name for name, record in state.items() if record["event"] == "sealed"}
    shards = {path.stem for path in (directory / "log").glob("*.jsonl")} - sealed
    shards |= {_shard_and_segment(path)[0] for path in (directory / "journal").glob("*.*")}
    try:
        finished = [look(directory, shard) for shard in sorted(shards)]
    except OSError as error:
        raise unavailable("the audit directory can't be recovered", error) from error
    return [one for one in finished if one is not None]


def _unfinished(directory: Path, shard: str) -> Recovered | None:
    path, torn = directory / "log" / f"{shard}.jsonl", b""
    segments = _segments(directory / "journal", shard)
    if path.exists():
        if is_locked(path):
            return None
        torn, last = torn_tail(path), next(_whole_lines(path), b"")
        if not (segments or last) or (not torn and _is_finished(path, last, segments)):
            return None
    notes = sum(_untold(path, number, paths)[1] for number, paths in segments)
    return Recovered(shard, notes, len(torn))


def _finish(directory: Path, shard: str) -> Recovered | None:
    log = Log.resume(directory, shard)
    if log is None:  # its process is alive, or another recovery is at it
        return None
    try:
        segments = _segments(directory / "journal", shard)
        last = next(lines_backwards(log.path), b"")
        if not last and not segments:  # its process died before its first record
            log.path.unlink(missing_ok=True)
            return None
        if not log.torn and _is_finished(log.path, last, segments):
            for _, paths in segments:  # could not be removed, or a power cut brought them back
                _remove(paths)
            return None
        digest = {"torn_sha256": hashlib.sha256(log.torn).hexdigest()} if log.torn else {}
        log.write("recover", torn=len(log.torn), **digest)
        notes = sum(_recover_segment(log, number, paths) for number, paths in segments)
        log.close()
        return Recovered(shard, notes, len(log.torn))
    finally:
        log.release()


def _whole_lines(path: Path) -> Iterator[bytes]:
    """The lines of a shard from the last to the first, without one that a crash cut off."""
    if path.exists():
        yield from islice(lines_backwards(path), bool(torn_tail(path)), None)


def _shard_and_segment(path: Path) -> tuple[str, int]:
    shard, number, _ = path.name.rsplit(".", 2)
    return shard, int(number)


def _segments(journals: Path, shard: str) -> list[tuple[int, list[Path]]]:
    """The shard's segments in order, each with its files, the slots last."""
    found: dict[int, list[Path]] = defaultdict(list)
    for path in sorted(journals.glob(f"{shard}.*")):
        found[_shard_and_segment(path)[1]].append(path)
    return sorted(found.items())


def _whole(segments: list[tuple[int, list[Path]]]) -> list[tuple[int, list[Path]]]:
    """Those with definitions: where a power cut brings slots back alone, they had been removed."""
    return [(number, paths) for number, paths in segments if _files(paths)[0].exists()]


def _is_finished(path: Path, last: bytes, segments: list[tuple[int, list[Path]]]) -> bool:
    """Whether a shard whose last line is this has ended, and tells all its journal has."""
    return _is_close(last) and not any(_untold(path, *one)[0] for one in _whole(segments))


def _is_close(line: bytes) -> bool:
    try:
        return bool(json.loads(line)["event"] == "close")
    except (ValueError, TypeError, KeyError):
        return False


def _recover_segment(log: Log, number: int, paths: list[Path]) -> int:
    events, notes = _untold(log.path, number, paths)
    if events:
        log.write_all(events)
    _remove(paths)
    return notes


def _untold(log: Path, number: int, paths: list[Path]) -> tuple[list[dict[str, Any]], int]:
    """The events of a segment that the log lacks, and of how many notes they are."""
    definitions, slots_path = _files(paths)
    known = read_definitions(definitions)
    slots = bytearray(slots_path.read_bytes() if slots_path.exists() else b"")
    del slots[len(slots) // SLOT.size * SLOT.size :]
    _drop_logged(slots, known, _logged(log, number))
    place = {"shard": log.stem, "segment": number, "first": 0, "last": len(slots) // SLOT.size - 1}
    refs = refs_by_spec(bytes(slots))
    events = [{**event, "recovered": True} for event in events_of(refs, known.get, place)]
    return events, sum(len(some) for spec, some in refs.items() if spec)


def _files(paths: list[Path]) -> tuple[Path, Path]:
    """A segment's definitions and slots."""
    return paths[0].with_suffix(".jsonl"), paths[0].with_suffix(".slots")


def _remove(paths: list[Path]) -> None:
    """Remove a segment's files, the slots first."""
    definitions, slots_path = _files(paths)
    slots_path.unlink(missing_ok=True)
    definitions.unlink(missing_ok=True)


def _logged(path: Path, segment: int) -> _Logged:
    """What the log has of this segment already: the process died before it cleared its slots.

    Segments are logged in order, so the search, from the end, stops at an earlier one.
    """
    found: _Logged = defaultdict(list)
    for line in _whole_lines(path):
        if b'"journal":' not in line:
            continue
        event = json.loads(line)
        place = event["journal"]
        if place["segment"] < segment:
            break
        if place["segment"] == segment:
            span = place["first"], place["last"], frozenset(event.get("fields", ()))
            for ref in event["refs"]:
                found[_key(event, ref)].append(span)
    return found


def _key(event: Mapping[str, Any], ref: str) -> tuple[object, ...]:
    names = ("access", "entity", "event", "decision", "outcome", "reason_code")
    return (*(event.get(name) for name in names), ref)


def _drop_logged(slots: bytearray, known: Definitions, logged: _Logged) -> None:
    if not logged:
        return
    for index, (ref, number) in enumerate(SLOT.iter_unpack(bytes(slots))):
        spec = known.get(number)
        if spec is None:
            continue
        spans = logged.get(_key(spec.event(), texts([ref])[0]), ())
        if any(a <= index <= b and fields.issuperset(spec.kind.fields) for a, b, fields in spans):
            slots[index * SLOT.size : (index + 1) * SLOT.size] = bytes(SLOT.size)
