"""Kinds that find more than was asked for: bands of ordered values, cells of a map, and pairs."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from vaultlayer.errors import ConfigurationError, UnsupportedQuery
from vaultlayer.search.kinds import Kind, Question, payload, refuse_type
from vaultlayer.search.normalizers import EXACT, named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultlayer.crypto.codecs import Codec

MOST_BUCKETS = 1000
_MOST_CELLS = 400  # of one question
_HOW = "e.g. Buckets(18, 30, 45, 65), Buckets.years(1900, 2030) or Buckets.cells(0.1)"


@dataclass(frozen=True, slots=True)
class Buckets(Kind):
    """``search=Buckets(18, 30, 45, 65)``: serves ``<``, ``<=``, ``>``, ``>=``, ``between``, ``==``.

    The numbers, dates or moments are where bands begin: ages, amounts. ``Buckets.years(1900,
    2030)`` is the year of birth, with ``width=10`` an age band that doesn't move with the day,
    ``Buckets.cells(0.1)`` a grid of a map. Exact where the bounds asked for are those of bands;
    else the rows of the bands are opened to see. The index shows which rows share a band.
    """

    edges: tuple[Any, ...]
    suffix = "_bucket"
    hint = "<, <=, >, >=, between and =="

    def __init__(self, *edges: Any) -> None:
        try:
            sound = bool(edges) and list(edges) == sorted(set(edges))
        except TypeError:
            sound = False
        if not sound or len(edges) > MOST_BUCKETS or len({type(edge) for edge in edges}) != 1:
            raise ConfigurationError(
                f"Buckets() takes rising bounds of one type, at most {MOST_BUCKETS}", hint=_HOW
            )
        object.__setattr__(self, "edges", edges)

    @staticmethod
    def years(first: int, last: int, *, width: int = 1) -> Buckets:
        """Bands of whole years, ``width`` years each; what is before or after is a band too."""
        return Buckets(*[date(year, 1, 1) for year in range(first, last + 2, width)])

    @staticmethod
    def cells(degrees: float) -> Cells:
        """Cells of so many degrees, for ``[latitude, longitude]`` or ``{"lat": …, "lon": …}``.

        ``Place.where.between((south, west), (north, east))`` finds what lies in a box.
        """
        return Cells(degrees)

    @property
    def name(self) -> str:
        return f"buckets/1/{sha256(repr(self.edges).encode()).hexdigest()[:16]}"

    def refuse(self, label: str, codec: Codec) -> None:
        try:
            codec.encode(self.edges[0])
            sound = "bool" not in codec.name
        except ConfigurationError:
            sound = False
        if not sound:
            raise ConfigurationError(
                f"{label} holds {codec.name} values, and the bounds of its Buckets don't fit them",
                hint=_HOW,
            )

    def stored(self, codec: Codec, data: bytes) -> list[bytes]:
        return [b"%d" % bisect_right(self.edges, codec.decode(data))]

    def ask(self, codec: Codec, op: str, values: Sequence[Any]) -> Question | None:
        if op == "in":
            wanted = list(values)
            numbers = sorted({bisect_right(self.edges, value) for value in wanted})
            return Question([[b"%d" % n for n in numbers]], lambda value: value in wanted)
        if op != "range":
            return None
        low, with_low, high, with_high = values
        first = 0 if low is None else bisect_right(self.edges, low)
        end = bisect_right if with_high else bisect_left
        last = len(self.edges) if high is None else end(self.edges, high)
        exact = self._begins(low, with_low) and self._begins(high, not with_high)

        def check(value: Any) -> bool:
            above = low is None or value > low or (with_low and value == low)
            return bool(above and (high is None or value < high or (with_high and value == high)))

        return Question([[b"%d" % n for n in range(first, last + 1)]], None if exact else check)

    def _begins(self, bound: Any, itself: bool) -> bool:
        """Whether a band begins with the bound, or right after it."""
        if bound is None:
            return True
        if not itself and isinstance(bound, int):
            bound = bound + 1
        elif not itself and isinstance(bound, date) and not isinstance(bound, datetime):
            bound = bound + timedelta(1) if bound < date.max else bound
        elif not itself:
            return False
        return bound in self.edges


@dataclass(frozen=True, slots=True)
class Cells(Kind):
    """``Buckets.cells(0.1)``: which cell of a map a place lies in."""

    degrees: float
    suffix = "_cell"
    hint = "between (two corners of a box)"

    def __post_init__(self) -> None:
        if not 0 < self.degrees <= 90:
            raise ConfigurationError("a cell is more than 0 and at most 90 degrees wide", hint=_HOW)

    @property
    def name(self) -> str:
        return f"cells/1/{self.degrees!r}"

    def refuse(self, label: str, codec: Codec) -> None:
        if not {"dict", "list", "json"} & {*codec.name.lower().replace("|", " ").split()}:
            raise ConfigurationError(
                f"{label} holds {codec.name} values, and cells are for places",
                hint='e.g. Mapped[list[float]] for [latitude, longitude], or {"lat": …, "lon": …}',
            )

    def stored(self, codec: Codec, data: bytes) -> list[bytes]:
        place = _place(codec.decode(data))
        return [b"?" if place is None else b"%d,%d" % self._cell(*place)]

    def ask(self, codec: Codec, op: str, values: Sequence[Any]) -> Question | None:
        corners = [_place(values[0]), _place(values[2])] if op == "range" else [None]
        if None in corners:
            return None
        (south, west), (north, east) = corners  # type: ignore[misc]
        if south > north or west > east:
            raise UnsupportedQuery(
                "a box is given by its south-western and its north-eastern corner",
                hint="across the 180th meridian ask for two boxes",
            )
        rows, columns = zip(self._cell(south, west), self._cell(north, east), strict=True)
        cells = [
            b"%d,%d" % (row, column)
            for row in range(rows[0], min(rows[1], rows[0] + _MOST_CELLS) + 1)
            for column in range(columns[0], min(columns[1], columns[0] + _MOST_CELLS) + 1)
        ]
        if len(cells) > _MOST_CELLS:
            raise UnsupportedQuery(
                f"the box has more than {_MOST_CELLS} cells", hint="ask for a smaller one"
            )

        def inside(value: Any) -> bool:
            place = _place(value)
            return place is not None and south <= place[0] <= north and west <= place[1] <= east

        return Question([cells], inside)

    def _cell(self, latitude: float, longitude: float) -> tuple[int, int]:
        return math.floor(latitude / self.degrees), math.floor(longitude / self.degrees)


def _place(value: Any) -> tuple[float, float] | None:
    """Latitude and longitude, or None for what is no place."""
    if isinstance(value, dict):
        value = [value.get("lat"), value.get("lon")]
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    if not all(isinstance(each, int | float) and math.isfinite(each) for each in value):
        return None
    return float(value[0]), float(value[1])


@dataclass(frozen=True, slots=True)
class Compound(Kind):
    """``search=Compound("name:casefold")`` on ``born``: finds who has this name *and* birthday.

    Serves ``==`` of all its fields in one ``where()``, exactly, and none of them alone. Names the
    other attributes, each with its normalizer where that isn't ``exact``; ``normalizer`` is the
    declaring field's own. The index shows which rows are equal in all of them.
    """

    others: tuple[str, ...]
    normalizer: str
    suffix = "_compound"
    hint = "== together with the index's other fields"

    def __init__(self, *others: str, normalizer: str = EXACT) -> None:
        if not others:
            raise ConfigurationError(
                "Compound() names the other fields", hint='e.g. search=Compound("name:casefold")'
            )
        object.__setattr__(self, "others", others)
        object.__setattr__(self, "normalizer", normalizer)
        for spec in (normalizer, *self.normalizers.values()):
            named(spec)

    @property
    def normalizers(self) -> dict[str, str]:
        """Attribute → normalizer, of the other fields."""
        split = [other.partition(":") for other in self.others]
        return {key: spec or EXACT for key, _, spec in split}

    @property
    def name(self) -> str:
        each = [f"{key}={named(spec).label}" for key, spec in self.normalizers.items()]
        return f"compound/1/{named(self.normalizer).label},{','.join(each)}"

    def refuse(self, label: str, codec: Codec) -> None:
        refuse_type(label, self.normalizer, codec)

    def joined(self, values: Sequence[tuple[str, Codec, bytes]]) -> bytes:
        """The one payload of the values, each with its normalizer: own first, then the others'."""
        each = [payload(spec, codec, data) for spec, codec, data in values]
        return b"".join(len(part).to_bytes(4) + part for part in each)

    def ask(self, codec: Codec, op: str, values: Sequence[Any]) -> Question | None:
        return None
