"""The life of a key, and what may be done in each part of it. Pure functions, no I/O.

    added → active → decrypt_only → erased

``added``: there, and told to every process, but nothing is wrapped, sealed or indexed with it yet.
``active``: what new things are made with. ``decrypt_only``: what was made with it still opens.
``erased``: destroyed; the record stays, so that nobody makes the key anew.

The same four for KEKs, subject keys and index roots (the states of Tink's keysets). What the code
does with records is decided here, and the exhaustive search of tests/keys/test_state_search.py
drives these very functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

ADDED = "added"
ACTIVE = "active"
DECRYPT_ONLY = "decrypt_only"
ERASED = "erased"
STATES = (ADDED, ACTIVE, DECRYPT_ONLY, ERASED)
OPENING = (ADDED, ACTIVE, DECRYPT_ONLY)  # what was made with the key can still be opened

FIRST = 1  # generation or epoch

_NEXT = {
    ADDED: frozenset({ACTIVE, ERASED}),
    ACTIVE: frozenset({DECRYPT_ONLY, ERASED}),
    DECRYPT_ONLY: frozenset({ERASED}),
    ERASED: frozenset[str](),
}

class Record(Protocol):
    """A row of a key table, as far as its life goes."""

    @property
    def state(self) -> str: ...


R = TypeVar("R", bound=Record)


def may_follow(state: str, after: str) -> bool:
    """Whether a key in the state ``after`` may come into ``state``: only ever forward."""
    return state in _NEXT[after]


def opens(record: Record) -> bool:
    """Whether what was made with this key can still be opened (or found)."""
    return record.state in OPENING


def active(records: Iterable[R]) -> R | None:
    """The one to make new things with."""
    return next((record for record in records if record.state == ACTIVE), None)


def is_erased(records: Iterable[Record]) -> bool:
    """Whether these are a tombstone: a key was destroyed, and none came after it.

    (A generation that was replaced and then destroyed has an active one beside it.)
    """
    seen = {record.state for record in records}
    return ERASED in seen and ACTIVE not in seen


def may_make_first(records: Iterable[Record]) -> bool:
    """Whether a first key may be made: only where there was never one. A tombstone wins."""
    return not list(records)


def epoch_may_end(state: str, *, records_left: int) -> bool:
    """Whether a KEK may be destroyed: it wraps nothing any more, and a later one took over."""
    return state == DECRYPT_ONLY and records_left == 0
