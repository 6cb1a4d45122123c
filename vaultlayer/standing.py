"""Standing: what is known of a person that changes a decision, such as a consent.

A table of its own, beside the keys and append-only: for each person and purpose the latest row
counts. The purpose "" stands for all of them (a restriction). It is asked for a batch of people
in one statement, together with their keys, and remembered for as long as a key is.

When somebody's standing changes, here or elsewhere, only theirs is let go of. For as long as a
key is remembered, what is then asked of them serves whoever asked, a second long, and nobody
else: a transaction may still see what was, or see what is never committed.
"""

from __future__ import annotations

import time
from math import inf
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from vaultlayer.forks import in_child
from vaultlayer.said import (
    ALL,
    GRANTED,
    OBJECTED,
    REFUSED,
    RESTRICTED,
    WITHDRAWN,
    limited,
    said_but_granted,
    said_of,
)
from vaultlayer.watch import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    from sqlalchemy import Connection

    from vaultlayer.access.words import Purpose
    from vaultlayer.keys.keyring import SubjectKey
    from vaultlayer.said import Row

# So many people of whom something is known are remembered whole; with more, a batch is asked for.
# And so many may change while the rest is remembered.
FEW = 1000
_AGAIN = 1.0  # seconds for which what was asked of somebody who changed lately serves
MOST = 100_000  # people known one by one: with more, knowing begins anew

_NEVER = (0, "")  # nothing was ever said


class Person(NamedTuple):
    """Somebody whose key isn't at hand, or not made yet."""

    subject: bytes
    region: str


class People:
    """Why people may not be touched for one purpose: subject → reason, "" for none.

    ``otherwise`` is what is true of those not in ``known``. None, in both: it isn't known now.
    ``changes``: how many changes had been heard of when it was begun.
    """

    __slots__ = ("changes", "expires", "known", "otherwise")

    def __init__(self, expires: float, otherwise: str | None = None, changes: int = 0) -> None:
        self.known: dict[bytes, str | None] = {b"": ""}  # rows that belong to no person
        self.otherwise = otherwise
        self.expires = expires
        self.changes = changes

    def reason(self, subject: bytes) -> str | None:
        return self.known.get(subject, self.otherwise)

    def but(
        self, others: dict[bytes, str | None], expires: float = inf, changes: int = 0
    ) -> People:
        """The same, with these people otherwise; whoever holds this one goes on with it."""
        people = People(min(self.expires, expires), self.otherwise, changes)
        people.known = {**self.known, **others}
        return people


class Standing:
    """One process's view of the table. ``changed`` is called when what it said may have changed."""

    def __init__(
        self,
        *,
        ttl: float,
        changed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ttl = ttl
        self._changed = changed
        self._clock = clock
        self._lock = Lock()
        self._people: dict[str, People] = {}
        self.changes = 0  # how many were heard of: no view begun before one outlasts it
        self._forgotten = 0  # the last change that was anybody's
        self._changing: dict[bytes, float] = {}  # who changed, and until when that is doubtful
        self._newest: dict[tuple[bytes, str], tuple[int, str]] = {}  # written by this process
        in_child(self._forked)

    def remembered(self, purpose: str) -> People:
        """What is known without asking; somebody who knows nothing, where it has grown old."""
        people = self._people.get(purpose)
        if people is None or people.expires <= self._clock() or len(people.known) > MOST:
            return People(0.0)
        if people.changes == self.changes:
            return people
        with self._lock:
            if people.changes < self._forgotten:
                return People(0.0)
            known = people.but(dict.fromkeys(self._changing), changes=self.changes)
            self._people[purpose] = known
            return known

    def meet(
        self, connection: Connection, purpose: Purpose, keys: Iterable[SubjectKey | Person]
    ) -> People:
        """What is known of the people these keys belong to; one statement for 1,000 unknown."""
        people = self.remembered(purpose.name)
        if not people.expires:
            people = self._begin(connection, purpose)
        known, otherwise = people.known, people.otherwise
        asked = {key.subject for key in keys}
        unknown = [each for each in asked if known.get(each, otherwise) is None]
        if not unknown:
            return people
        told = self._asked(connection, purpose, unknown)
        with self._lock:
            doubtful = {each: told.pop(each) for each in self._changing.keys() & told.keys()}
            known.update(told)
        return people.but(doubtful, self._clock() + _AGAIN) if doubtful else people

    def ask(self, connection: Connection, purpose: Purpose, subjects: list[bytes]) -> People:
        """How these people stand at this moment, whatever was known; nothing is remembered."""
        people = People(0.0)
        people.known.update(self._asked(connection, purpose, subjects))
        return people

    def note(self, subject: bytes, purpose: str, number: int, state: str) -> None:
        """A change that this process has committed: it counts at once, whatever an older view
        of the database still shows."""
        with self._lock:
            self._newest.pop((subject, purpose), None)
            self._newest[subject, purpose] = number, state
            if len(self._newest) > FEW:
                del self._newest[next(iter(self._newest))]
        self.forget(subject.hex())

    def forget(self, subjects: str = EVERYTHING) -> None:
        """Something changed, here or elsewhere: ask anew of these people (ids in hexadecimal,
        separated by spaces), or of everybody."""
        now = self._clock()
        with self._lock:
            self.changes += 1
            changed = dict.fromkeys(_ids(subjects), now + self._ttl)
            self._changing = {
                each: until for each, until in self._changing.items() if until > now
            } | changed
            if not changed or len(self._changing) > FEW:
                self._people.clear()
                self._changing.clear()
                self._forgotten = self.changes
        self._changed()

    def _forked(self) -> None:
        """In a forked child: whoever held the lock is not there."""
        self._lock = Lock()

    def _begin(self, connection: Connection, purpose: Purpose) -> People:
        """A fresh view. Where only few people are an exception, they are all of it."""
        people = People(self._clock() + self._ttl, changes=self.changes)
        rows: Any = None
        if not purpose.consent:
            rows = limited(connection, purpose.name, FEW + 1)
        with self._lock:
            if rows is not None and len(rows) <= FEW:
                people.otherwise = ""
                people.known.update(self._reasons(purpose, rows))
            people.known.update(dict.fromkeys(self._changing))
            if people.changes >= self._forgotten:
                self._people[purpose.name] = people
        return people

    def _asked(
        self, connection: Connection, purpose: Purpose, subjects: list[bytes]
    ) -> dict[bytes, str | None]:
        """How these people stand; one statement for 1,000."""
        rows, all_granted = self._rows_of(connection, purpose, subjects)
        with self._lock:
            known: dict[bytes, str | None] = dict.fromkeys(
                subjects, "" if all_granted else _reason(purpose, "", "")
            )
            known.update(self._reasons(purpose, rows, known))
            return known

    def _rows_of(
        self, connection: Connection, purpose: Purpose, subjects: list[bytes]
    ) -> tuple[list[Row], bool]:
        """What these people said, and whether those without a row agreed."""
        noted = {subject for subject, _ in list(self._newest)}
        if purpose.consent and noted.isdisjoint(subjects):  # else it is told by the numbers
            return said_but_granted(connection, purpose.name, subjects)
        return said_of(connection, purpose.name, subjects), False

    def _reasons(
        self, purpose: Purpose, rows: Iterable[Row], asked: Container[bytes] | None = None
    ) -> dict[bytes, str]:
        """What these rows, and what this process wrote, say of those asked about, or of all."""
        wishes: dict[bytes, tuple[int, str]] = {}
        limits: dict[bytes, tuple[int, str]] = {}
        for subject, name, number, state in rows:
            (wishes if name else limits)[subject] = number, state
        for (subject, name), newest in self._newest.items():
            if name in (ALL, purpose.name) and (asked is None or subject in asked):
                known = wishes if name else limits
                known[subject] = max(newest, known.get(subject, _NEVER))
        reasons = {}
        for subject in {*wishes, *limits}:
            wish, limit = wishes.get(subject, _NEVER)[1], limits.get(subject, _NEVER)[1]
            reasons[subject] = _reason(purpose, wish, limit)
        return reasons


def _ids(subjects: str) -> list[bytes]:
    """The ids that a message names; none, which is everybody, where it isn't understood."""
    try:
        return [bytes.fromhex(each) for each in subjects.split()]
    except ValueError:
        return []


def _reason(purpose: Purpose, wish: str, limit: str) -> str:
    """Why a person with these states may not be touched for the purpose; "" if they may."""
    if limit == RESTRICTED and not purpose.despite_restriction:
        return "restricted"
    if wish == OBJECTED:
        return "objected"
    if purpose.consent and wish != GRANTED:
        return {REFUSED: "consent_refused", WITHDRAWN: "consent_withdrawn"}.get(
            wish, "consent_missing"
        )
    return ""
