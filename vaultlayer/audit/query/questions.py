"""The questions an auditor asks of the log. Each answer is made of plain dicts and lists.

Times are microseconds since 1970 (UTC) in the arguments, RFC 3339 in the answers. ``refs`` are
``log_ref``s, 16 bytes each; whose they are only the vault knows.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from vaultlayer.audit.event import pseudonym, timestamp
from vaultlayer.audit.query.rows import DENY, HOUR
from vaultlayer.audit.slots import texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from vaultlayer.audit.query.index import Index

OPENED = ("read", "export", "disclose")
READS = (*OPENED, "search")

_PLACES = """
SELECT shard.name, event.place, event.length FROM event JOIN shard ON shard.id = event.shard
"""
_FOUND = """
WITH found AS (SELECT event.* FROM ref JOIN event ON event.id = ref.event
    JOIN name ON name.id = event.name
    WHERE ref.ref IN ({}) AND name.name IN ({}) AND event.ts >= ?)
"""
_TOLD = (
    "ts", "opened", "event", "actor", "purpose", "basis", "reason", "entity", "fields", "decision",
    "outcome", "reason_code", "count", "request", "trace", "access", "recovered", "shard", "seq",
)  # fmt: skip
_OF_MANY = frozenset({"count"})  # said of all people of a record, not of one


def who_read(
    index: Index,
    refs: Sequence[bytes],
    *,
    since: int = 0,
    limit: int = 1000,
    kinds: Sequence[str] = READS,
) -> dict[str, Any]:
    """Who read (or tried to read) one person's fields; the newest ``limit`` records, newest first.

    ``readers`` sums up all of them, by actor.
    """
    found = _FOUND.format(marks(refs), marks(kinds))
    given = (*refs, *kinds, since)
    ask = index.database.execute
    (total,) = ask(f"{found} SELECT count(*) FROM found", given).fetchone()
    places = ask(
        f"{found} SELECT shard.name, place, length FROM found "
        "JOIN shard ON shard.id = found.shard ORDER BY ts DESC, found.id DESC LIMIT ?",
        (*given, limit),
    ).fetchall()
    readers = ask(
        f"{found} SELECT iss, sub, decision, count(*), min(ts), max(ts) FROM found "
        "JOIN actor ON actor.id = found.actor GROUP BY actor.id, decision ORDER BY max(ts) DESC",
        given,
    )
    mine = set(texts(refs))
    records = [r for r in records_at(index, places) if mine.intersection(r.get("refs") or ())]
    return {
        "total": total,
        "readers": _by_actor(readers),
        "events": [_told(record, leave=_OF_MANY) for record in records],
    }


def what_did(index: Index, sub: str, *, since: int = 0, limit: int = 1000) -> dict[str, Any]:
    """What one principal did: sums by kind and decision, by hour, and the newest records."""
    actors = actors_called(index, sub)
    among = marks(actors)
    sums = index.database.execute(
        f"{_SUMS} WHERE hour.actor IN ({among}) AND hour.hour >= ? "
        "GROUP BY name.name, decision.name, reason.name ORDER BY sum(hour.events) DESC",
        (*actors, since // HOUR),
    ).fetchall()
    hours = index.database.execute(
        f"SELECT hour, decision = {DENY}, sum(events), sum(touched) FROM hour "
        f"WHERE actor IN ({among}) AND hour >= ? GROUP BY hour, decision = {DENY} ORDER BY hour",
        (*actors, since // HOUR),
    ).fetchall()
    places = index.database.execute(
        f"{_PLACES} WHERE event.actor IN ({among}) AND event.ts >= ? "
        "ORDER BY event.ts DESC LIMIT ?",
        (*actors, since, limit),
    ).fetchall()
    return {
        "principal": pseudonym(sub),
        "sums": [_sum(row) for row in sums],
        "hours": _hours(hours),
        "events": [_told(record) for record in records_at(index, places)],
    }


def denials(index: Index, *, since: int = 0, limit: int = 1000) -> dict[str, Any]:
    """What was refused: sums by reason and by principal, by hour, and the newest records."""
    given = (since // HOUR,)
    refused = f"hour.decision = {DENY} AND hour.hour >= ?"
    sums = index.database.execute(
        f"{_SUMS} WHERE {refused} GROUP BY name.name, decision.name, reason.name "
        "ORDER BY sum(hour.events) DESC",
        given,
    ).fetchall()
    actors = index.database.execute(
        "SELECT actor.iss, actor.sub, sum(hour.events), sum(hour.touched) FROM hour "
        f"JOIN actor ON actor.id = hour.actor WHERE {refused} "
        "GROUP BY actor.id ORDER BY sum(hour.touched) DESC",
        given,
    ).fetchall()
    hours = index.database.execute(
        f"SELECT hour, 1, sum(events), sum(touched) FROM hour WHERE {refused} "
        "GROUP BY hour ORDER BY hour",
        given,
    ).fetchall()
    places = index.database.execute(
        f"{_PLACES} WHERE event.decision = {DENY} AND event.ts >= ? ORDER BY event.ts DESC LIMIT ?",
        (since, limit),
    ).fetchall()
    return {
        "sums": [_sum(row) for row in sums],
        "principals": [
            {"iss": iss, "sub": sub, "events": events, "values": values}
            for iss, sub, events, values in actors
        ],
        "hours": _hours(hours),
        "events": [_told(record) for record in records_at(index, places)],
    }


_SUMS = """
SELECT name.name, decision.name, reason.name, sum(hour.events), sum(hour.people),
    sum(hour.touched) FROM hour JOIN name ON name.id = hour.name
    LEFT JOIN name AS decision ON decision.id = hour.decision
    LEFT JOIN name AS reason ON reason.id = hour.reason
"""


def records_at(index: Index, places: Sequence[tuple[str, int, int]]) -> Iterator[dict[str, Any]]:
    """The records at these places, in their order. What was changed since is left to verify."""
    for line in index.lines(places):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record


def _told(record: Mapping[str, Any], leave: frozenset[str] = frozenset()) -> dict[str, Any]:
    told = {name: record[name] for name in _TOLD if name in record and name not in leave}
    if "refs" in record and not leave:
        told["people"] = len(record["refs"])
    return told


def actors_called(index: Index, sub: str) -> list[int]:
    found = index.database.execute("SELECT id FROM actor WHERE sub = ?", (pseudonym(sub),))
    return [number for (number,) in found]


def _by_actor(rows: Iterable[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """One entry a principal; rows are iss, sub, decision, records, first and last time."""
    readers: dict[tuple[str, str], dict[str, Any]] = {}
    for iss, sub, decision, records, first, last in rows:
        one = readers.setdefault(
            (iss, sub),
            {"iss": iss, "sub": sub, "opened": 0, "refused": 0, "first": first, "last": last},
        )
        one["refused" if decision == DENY else "opened"] += records
        one["first"], one["last"] = min(one["first"], first), max(one["last"], last)
    return [
        {**one, "first": text(one["first"]), "last": text(one["last"])} for one in readers.values()
    ]


def _sum(row: tuple[Any, ...]) -> dict[str, Any]:
    event, decision, reason, events, people, values = row
    return {
        "event": event,
        "decision": decision,
        "reason_code": reason,
        "events": events,
        "people": people,
        "values": values,
    }


def _hours(rows: Iterable[tuple[int, int, int, int]]) -> list[dict[str, Any]]:
    """One entry an hour with anything in it: values opened (or written) and refused."""
    hours: dict[int, dict[str, Any]] = {}
    for hour, refused, _, values in rows:
        one = hours.setdefault(hour, {"hour": text(hour * HOUR), "values": 0, "refused": 0})
        one["refused" if refused else "values"] += values
    return list(hours.values())


def text(ts: int) -> str:
    return timestamp(ts / 10**6)


def marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
