"""Finish what a crashed process left: its journal becomes log events, its shard is closed."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaultlayer.audit.event import SLOT, Spec, events_of, ref_texts
from vaultlayer.audit.log import Log, folder, last_line, unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

Logged = dict[tuple[object, ...], list[tuple[int, int, frozenset[str]]]]


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was finished of one shard: slots that were not in the log yet, bytes cut off its end."""

    shard: str
    slots: int
    torn: int


def recover(directory: Path) -> list[Recovered]:
    """Finish the shards of dead processes under ``directory``; those of living ones are left.

    Safe to run at any time and by several processes at once; it may be killed and run
    again. Raises ``AuditUnavailable`` when the directory can't be read or written.
    """
    logs, journals = folder(directory, "log"), folder(directory, "journal")
    try:
        shards = {path.stem for path in logs.glob("*.jsonl")}
        shards |= {
            path.name.split(".slots")[0].rpartition(".")[0] for path in journals.glob("*.slots")
        }
        finished = [_finish(directory, shard) for shard in sorted(shards)]
    except OSError as error:
        raise unavailable("the audit directory can't be recovered", error) from error
    return [one for one in finished if one is not None]


def _finish(directory: Path, shard: str) -> Recovered | None:
    path = directory / "log" / f"{shard}.jsonl"
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:  # its process is alive, or another recovery is at work
        os.close(descriptor)
        return None
    segments = _segments(directory / "journal", shard)
    size = os.fstat(descriptor).st_size
    if not size and not segments:  # its process died before it wrote anything
        path.unlink()
        os.close(descriptor)
        return None
    torn = _cut_torn_tail(descriptor, size)
    last = last_line(descriptor, size - len(torn))
    if not torn and not segments and last and json.loads(last)["event"] == "close":
        os.close(descriptor)
        return None
    log = Log.resume(directory, shard, descriptor)
    note = {"torn": len(torn), "torn_sha256": hashlib.sha256(torn).hexdigest()} if torn else {}
    log.write("recover", **note)
    slots = sum(_recover_segment(log, segment) for segment in segments)
    log.close()
    return Recovered(shard, slots, len(torn))


def _segments(journals: Path, shard: str) -> list[Path]:
    return sorted(journals.glob(f"{shard}.*.slots"))


def _cut_torn_tail(descriptor: int, size: int) -> bytes:
    """Remove and return what follows the last newline."""
    last = (
        last_line(descriptor, size) if size and os.pread(descriptor, 1, size - 1) != b"\n" else b""
    )
    if last:
        os.ftruncate(descriptor, size - len(last))
    return last


def _recover_segment(log: Log, path: Path) -> int:
    number = int(path.suffixes[-2][1:])
    specs = _read_definitions(path.with_suffix(".jsonl"))
    slots = bytearray(path.read_bytes())
    del slots[len(slots) // SLOT.size * SLOT.size :]
    _drop_logged(slots, specs, _logged(log, number))
    place = {"shard": log.shard, "segment": number, "first": 0, "last": len(slots) // SLOT.size - 1}
    events = [{**event, "recovered": True} for event in events_of(bytes(slots), specs, place)]
    if events:
        log.write_all(events)
    path.with_suffix(".jsonl").unlink(missing_ok=True)
    path.unlink()
    return sum(1 for _, spec in SLOT.iter_unpack(slots) if spec)


def _read_definitions(path: Path) -> dict[int, Spec]:
    contexts: dict[int, dict[str, Any]] = {}
    specs: dict[int, Spec] = {}
    for line in _lines(path):
        if "opened" in line:
            contexts[line["opened"]] = line["context"]
        elif "spec" in line:
            specs[line["spec"]] = Spec(
                line["spec"],
                line["of"],
                contexts[line["of"]],
                line["entity"],
                tuple(line["fields"]),
                line["action"],
                line["outcome"],
                line["reason"],
            )
    return specs


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    data = path.read_bytes() if path.exists() else b""
    for line in data.split(b"\n")[:-1]:  # what follows the last newline was never promised
        yield json.loads(line)


def _logged(log: Log, segment: int) -> Logged:
    """What the log already has of this segment: the process died before it cleared the slots."""
    found: Logged = defaultdict(list)
    mark = b'"segment":%d,' % segment
    with log.path.open("rb") as lines:
        for line in lines:
            if mark in line:
                event = json.loads(line)
                place, fields = event["journal"], frozenset(event["fields"])
                for ref in event["refs"]:
                    found[_key(event, ref)].append((place["first"], place["last"], fields))
    return found


def _key(event: dict[str, Any], ref: str) -> tuple[object, ...]:
    names = ("access", "entity", "event", "decision", "reason_code")
    return (*(event.get(name) for name in names), ref)


def _drop_logged(slots: bytearray, specs: dict[int, Spec], logged: Logged) -> None:
    if not logged:
        return
    for index, (ref, number) in enumerate(SLOT.iter_unpack(bytes(slots))):
        spec = specs.get(number)
        if spec is None:
            continue
        for first, last, fields in logged.get(_key(spec.event(), ref_texts([ref])[0]), ()):
            if first <= index <= last and fields.issuperset(spec.fields):
                slots[index * SLOT.size : (index + 1) * SLOT.size] = bytes(SLOT.size)
