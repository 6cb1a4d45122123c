"""Which index fits a column, by how often its values occur; and what each kind tells an onlooker.

The rules are those of CipherSweet's and the AWS Database Encryption SDK's planners: nothing with
fewer than 16 values, a group of a prefix holds several people on average, and the most frequent
value gives itself away where everybody knows which it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultlayer.search.fitness import FEWEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SEVERAL = 4  # people that share a prefix on average
_LONG = 60  # characters on average: a text rather than a name
_FREQUENT = 0.05  # of the rows with one value: whoever knows the language knows which it is

# What someone who has the database, and no key, sees of each kind.
LEAKS: Mapping[str, str] = {
    "Equality": "which rows hold equal values, and how many",
    "Prefix": "which rows begin alike, for each length, and how many",
    "Words": "which rows share a word, how often each word occurs, how many a row has",
    "Substring": "which rows share n letters: of short texts nearly the text",
    "Buckets": "which rows share a band or cell, and how many; not which comes before which",
    "Compound": "which rows are equal in all of its fields",
}


@dataclass(frozen=True, slots=True)
class Counted:
    """How a column's values are spread; ``prefixes``: length → different beginnings."""

    rows: int
    distinct: int
    most: int  # rows with the most frequent value
    length: float = 0.0  # characters on average; 0: no texts
    prefixes: Mapping[int, int] | None = None

    @classmethod
    def of(cls, values: Iterable[object]) -> Counted:
        """Counted in memory, such as from ``access.reveal(rows, Customer.name)``."""
        counts: dict[object, int] = {}
        texts: list[str] = []
        for value in values:
            if value is not None:
                counts[value] = counts.get(value, 0) + 1
                if isinstance(value, str):
                    texts.append(value.casefold())
        lengths = range(2, 7) if texts else ()
        return cls(
            sum(counts.values()),
            len(counts),
            max(counts.values(), default=0),
            sum(map(len, texts)) / len(texts) if texts else 0.0,
            {n: len({text[:n] for text in texts}) for n in lengths},
        )


@dataclass(frozen=True, slots=True)
class Advice:
    """What to declare, why, and what it tells; ``declare`` is "" where no index should be."""

    declare: str
    why: str
    leaks: str

    @property
    def kind(self) -> str:
        return self.declare.partition("(")[0].partition(".")[0]


def advise(counted: Counted) -> list[Advice]:
    """The indexes that fit, the most useful first; one without ``declare`` where none does."""
    if counted.rows == 0:
        return [Advice("", "there are no values to count yet", "")]
    if counted.distinct < FEWEST:
        why = f"{counted.distinct} different values: counting rows would tell which is which"
        return [Advice("", f"{why}; use Compound, or filter loaded rows", "")]
    share = counted.most / counted.rows
    if counted.length > _LONG:
        return [_advice("Words()", f"texts of {counted.length:.0f} characters on average")]
    if counted.distinct >= 0.99 * counted.rows:
        found = [_advice('Equality("…")', "nearly every value is another: hardly a leak")]
    elif share > _FREQUENT:
        why = f"the most frequent value is in {share:.0%} of the rows and gives itself away"
        return [Advice("", f"{why}; use Compound with a field that tells people apart", "")]
    else:
        why = f"{counted.distinct:,} values, the most frequent in {share:.1%} of the rows"
        found = [_advice('Equality("…")', why)]
    length = prefix_length(counted)
    if length:
        assert counted.prefixes is not None  # noqa: S101
        people = counted.rows / counted.prefixes[length]
        found.append(_advice(f"Prefix({length})", f"{people:.0f} rows share one on average"))
    if not counted.length:
        found.append(_advice("Buckets(…)", "for <, > and between"))
    return found


def prefix_length(counted: Counted) -> int | None:
    """The longest prefix that several people share on average; None where none is."""
    fit = [
        length
        for length, different in (counted.prefixes or {}).items()
        if different >= FEWEST and counted.rows / different >= SEVERAL
    ]
    return max(fit, default=None)


def _advice(declare: str, why: str) -> Advice:
    return Advice(declare, why, LEAKS[declare.partition("(")[0]])
