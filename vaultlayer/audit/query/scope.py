"""The breach question: whose which fields did a principal, or a stolen token, open?"""

from __future__ import annotations

import uuid
from base64 import urlsafe_b64decode
from typing import TYPE_CHECKING, Any

from vaultlayer.audit.event import pseudonym
from vaultlayer.audit.query.questions import OPENED, actors_called, marks, records_at
from vaultlayer.audit.query.rows import DENY
from vaultlayer.audit.slots import texts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from vaultlayer.audit.query.index import Index


def scope(
    index: Index,
    *,
    sub: str = "",
    token: str = "",
    since: int = 0,
    whose: Callable[[Collection[bytes]], Mapping[bytes, bytes]] | None = None,
) -> dict[str, Any]:
    """What was opened by a principal, or with the token of a digest, from ``since`` on.

    :param whose: finds the subjects (16 bytes of the UUID) of some ``log_ref``s; without it, and
        for people erased since, the answer has the ``log_ref`` alone.
    """
    if token:
        condition = "event.token = (SELECT id FROM token WHERE name = ?)"
        given: tuple[Any, ...] = (token,)
    else:
        given = tuple(actors_called(index, sub))
        condition = f"event.actor IN ({marks(given)})"
    places = index.database.execute(
        "SELECT shard.name, event.place, event.length FROM event "
        "JOIN shard ON shard.id = event.shard JOIN name ON name.id = event.name "
        f"WHERE {condition} AND event.ts >= ? AND name.name IN ({marks(OPENED)}) "
        f"AND event.decision <> {DENY} ORDER BY shard.name, event.place",
        (*given, since, *OPENED),
    ).fetchall()
    opened = _Opened()
    for record in records_at(index, places):
        opened.add(record)
    found = whose(opened.people.keys()) if whose else {}
    return {
        "principal": pseudonym(sub) if sub else None,
        "token": token or None,
        "events": len(places),
        "values": opened.values,
        "first": opened.first,
        "last": opened.last,
        "masked": opened.masked,
        "fields": opened.by_field(),
        "people": opened.by_person(found),
        "without_subject": len(opened.people.keys() - found.keys()),
    }


class _Opened:
    """Who was opened, and which of their fields: a number a person, a bit a field."""

    def __init__(self) -> None:
        self.people: dict[bytes, int] = {}
        self.values = self.masked = 0
        self.first: str | None = None
        self.last: str | None = None
        self._bits: dict[str, int] = {}

    def add(self, record: Mapping[str, Any]) -> None:
        entity, bits = record.get("entity"), 0
        for field in record.get("fields") or ():
            label = f"{entity}.{field}"
            bits |= 1 << self._bits.setdefault(label, len(self._bits))
        for ref in record.get("refs") or ():
            key = urlsafe_b64decode(ref + "==")
            self.people[key] = self.people.get(key, 0) | bits
        self.values += record.get("count", 0)
        self.masked += record.get("count", 0) if record.get("decision") == "mask" else 0
        moment = record["ts"]
        self.first = min(self.first or moment, moment)
        self.last = max(self.last or moment, moment)

    def by_field(self) -> list[dict[str, Any]]:
        counts = [
            {"field": label, "people": sum(bits >> bit & 1 for bits in self.people.values())}
            for label, bit in self._bits.items()
        ]
        return sorted(counts, key=lambda one: (-int(one["people"]), one["field"]))

    def by_person(self, whose: Mapping[bytes, bytes]) -> list[dict[str, Any]]:
        return [
            {
                "subject": str(uuid.UUID(bytes=whose[ref])) if ref in whose else None,
                "log_ref": texts([ref])[0],
                "fields": sorted(label for label, bit in self._bits.items() if bits >> bit & 1),
            }
            for ref, bits in self.people.items()
        ]
