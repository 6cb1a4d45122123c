"""Reading the names of columns and tables: which words they are made of, and what these say."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from vaultlayer.lifecycle.scan.words import (
    ABOUT,
    KINDS,
    PEOPLE,
    REPEATING,
    SOMEBODYS,
    THINGS,
    Kind,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

_BREAK = re.compile(r"[^\w]|_|(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=\D)(?=\d)")
_LONG = 5  # letters: from here on a word is also found inside a compound (Kundentelefon)
_LETTERS = str.maketrans({"ß": "ss", "ø": "o", "æ": "ae", "ł": "l"})


@dataclass(frozen=True, slots=True)
class Hit:
    """What a column's name says. ``word`` is the vocabulary's, never the name's own text."""

    kind: Kind
    word: str
    weak: bool


def parts(name: str) -> tuple[str, ...]:
    """A name's words: ``kd_GebDatum2`` is kd, geb, datum. Accents and numbers go."""
    words = (plain(part) for part in _BREAK.split(name))
    return tuple(word for word in words if word and not word.isdecimal())


def plain(text: str) -> str:
    """In lower case and without accents; kana keep their marks."""
    lowered = unicodedata.normalize("NFKC", text).casefold().translate(_LETTERS)
    if not lowered.isascii() and not re.search(r"[^\u0000-\u024f]", lowered):
        decomposed = unicodedata.normalize("NFKD", lowered)
        return "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return lowered


@lru_cache(maxsize=10_000)
def look(name: str) -> Hit | None:
    """What a column's name says, by its longest known word; None when it says nothing."""
    words = parts(name)
    found = [
        Hit(kind, word, weak)
        for kind in KINDS
        for weak, vocabulary in ((False, kind.words), (True, kind.weak))
        for word in vocabulary
        if _within(word, words, compound=not weak)
    ]
    return max(found, key=lambda hit: (len(hit.word), not hit.weak), default=None)


def is_about(name: str, hit: Hit) -> bool:
    """Whether a column tells something about personal data: its id, type, state, time."""
    words = parts(name)
    if words[:1] in (("is",), ("has",)):
        return True
    return len(words) > 1 and words[-1] in ABOUT and words[-1] not in hit.word.split()


def of_a_thing(name: str) -> bool:
    """Whether a column's name is that of a thing's attribute: product_name."""
    words = parts(name)
    return len(words) > 1 and any(word in THINGS for word in words[:-1])


def of_somebody(name: str) -> bool:
    """Whether a column's name says whose it is: billing_city."""
    return _any(SOMEBODYS, parts(name)[:-1])


def is_about_people(table: str) -> bool:
    """Whether a table's name is that of people: customers, kd_stamm."""
    words = parts(table)
    return _any(PEOPLE, words) and not (words and words[-1] in THINGS)


def is_about_things(table: str) -> bool:
    words = parts(table)
    return bool(words) and words[-1] in THINGS


def is_repeating(table: str) -> bool:
    """Whether a table's name is that of a log, a history, a copy."""
    return any(word in REPEATING for word in parts(table))


def _any(vocabulary: Iterable[str], words: tuple[str, ...]) -> bool:
    return any(_within(word, words) for word in vocabulary)


def _within(word: str, words: tuple[str, ...], *, compound: bool = True) -> bool:
    """Whether the name has the word: part by part, run together, or inside a compound."""
    if not word.isascii():
        return any(word == each or (len(word) > 1 and word in each) for each in words)
    wanted = tuple(word.split())
    together = "".join(wanted)
    if any(each == together for each in words):
        return True
    if len(wanted) > 1:
        size = len(wanted)
        starts = range(len(words) - size + 1)
        return any(words[start : start + size] == wanted for start in starts)
    return compound and len(together) >= _LONG and any(
        len(each) > len(together) and (each.endswith(together) or each.startswith(together))
        for each in words
    )
