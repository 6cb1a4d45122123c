"""From records to the rows of the index."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlite3

HOUR = 3600 * 10**6  # microseconds
ALLOW, MASK, DENY = 1, 2, 3
NAMES = ((ALLOW, "allow"), (MASK, "mask"), (DENY, "deny"))
_MOST_KNOWN = 10_000  # names kept at hand: with a token a request, memory stays as it is

_EVENT = "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_REF = "INSERT INTO ref VALUES (?, ?)"
_HOUR = """
INSERT INTO hour VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET events = events + excluded.events, people = people + excluded.people,
    touched = touched + excluded.touched, most = max(most, excluded.most)
"""


class Rows:
    """Collects the rows of one shard, and stores them a batch at a time."""

    def __init__(self, database: sqlite3.Connection, shard: int) -> None:
        self._database, self._shard = database, shard
        (self._next,) = database.execute("SELECT coalesce(max(id), 0) + 1 FROM event").fetchone()
        self._names: dict[tuple[str, str], int] = {}
        self._actors: dict[tuple[str, str], int] = {}
        self._second, self._seconds = "", 0
        self._clear()

    def _clear(self) -> None:
        self._events: list[tuple[Any, ...]] = []
        self._refs: list[tuple[bytes, int]] = []
        self._hours: dict[tuple[int, ...], list[int]] = {}

    def add(self, line: bytes, place: int) -> None:
        """Take a record that begins at byte ``place``; one that names nobody is passed over."""
        try:
            record = json.loads(line)
            actor, refs = record.get("actor"), record.get("refs") or ()
            if actor is None and not refs:
                return
            ts = self._microseconds(record["ts"])
            who = self._actor(actor or {})
            token = self._name((actor or {}).get("token"), "token")
            name, decision = self._name(record["event"]), self._name(record.get("decision"))
            decoded = [urlsafe_b64decode(ref + "==") for ref in refs]
            count = int(record.get("count", 0))
        except (ValueError, TypeError, KeyError, AttributeError):
            return  # not a record as the log writes them: verify says so
        number = self._next
        self._next += 1
        told = number, self._shard, place, len(line) - 1, ts, who, token, name, decision
        self._events.append(told)
        self._refs += [(ref, number) for ref in decoded]
        reason = self._name(record.get("reason_code")) or 0
        hour = self._shard, who, ts // HOUR, name or 0, decision or 0, reason
        sums = self._hours.get(hour)
        if sums is None:
            sums = self._hours[hour] = [0, 0, 0, 0]
        people = len(decoded)
        sums[0] += 1
        sums[1] += people
        sums[2] += count
        sums[3] = max(sums[3], people)

    def store(self) -> None:
        self._database.executemany(_EVENT, self._events)
        self._database.executemany(_REF, self._refs)
        self._database.executemany(_HOUR, [(*key, *sums) for key, sums in self._hours.items()])
        self._clear()

    def _microseconds(self, ts: str) -> int:
        second = ts[:19]
        if second != self._second:
            self._seconds = int(datetime.fromisoformat(second + "+00:00").timestamp())
            self._second = second
        return self._seconds * 10**6 + int(ts[20:26])

    def _name(self, name: str | None, table: str = "name") -> int | None:
        if name is None:
            return None
        known = self._names.get((table, name))
        if known is None:
            if len(self._names) > _MOST_KNOWN:
                self._names.clear()
            self._database.execute(f"INSERT OR IGNORE INTO {table} (name) VALUES (?)", (name,))
            found = self._database.execute(f"SELECT id FROM {table} WHERE name = ?", (name,))
            known = self._names[table, name] = found.fetchone()[0]
        return known

    def _actor(self, actor: dict[str, Any]) -> int:
        who = str(actor.get("iss", "")), str(actor.get("sub", ""))
        known = self._actors.get(who)
        if known is None:
            if len(self._actors) > _MOST_KNOWN:
                self._actors.clear()
            self._database.execute("INSERT OR IGNORE INTO actor (iss, sub) VALUES (?, ?)", who)
            found = self._database.execute("SELECT id FROM actor WHERE iss = ? AND sub = ?", who)
            known = self._actors[who] = found.fetchone()[0]
        return known
