"""Normalizers: which spellings of a value an index takes for the same one.

Each has a version, which is part of what its terms are made with: terms of another version are
never found, so a version that changed is refused until the index was made anew
(search/declarations.py).
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from vaultlayer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

ENTRY_POINT_GROUP = "vaultlayer.normalizers"
EXACT = "exact"


@dataclass(frozen=True, slots=True)
class Normalizer:
    """A named way to write values down.

    ``normalize(value, argument)`` gives a text, the same for each spelling of one value, or None
    for a value it can't take; ``argument`` is what stands behind the colon of its name
    (``"first:3"``), or "". Raise ``version`` whenever an outcome changes. An application adds its
    own by an entry point of the group ``vaultlayer.normalizers``.
    """

    version: int
    normalize: Callable[[Any, str], str | None]


def casefolded(text: str) -> str:
    """NFKC, without case, each run of white space as one space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _email(value: Any, _: str) -> str | None:
    return unicodedata.normalize("NFKC", value).strip().casefold()


def _casefold(value: Any, _: str) -> str | None:
    return casefolded(value)


def _digits(value: Any, _: str) -> str | None:
    if value.isascii():
        return "".join(filter(str.isdecimal, value)) or None
    digits = [unicodedata.digit(each, None) for each in value]
    return "".join(str(digit) for digit in digits if digit is not None) or None


def _first(value: Any, argument: str) -> str | None:
    return casefolded(value)[: int(argument)] or None


def _date(value: Any, argument: str) -> str | None:
    parts = {"year": "%Y", "month": "%m", "month-day": "%m-%d", "year-month": "%Y-%m"}
    return value.strftime(parts[argument]) if isinstance(value, date) else None


_BUILT_IN = {
    EXACT: Normalizer(1, lambda value, _: value),
    "casefold": Normalizer(1, _casefold),
    "email": Normalizer(1, _email),
    "digits": Normalizer(1, _digits),
    "first": Normalizer(1, _first),
    "date": Normalizer(1, _date),
}
_ARGUMENTS: dict[str, Callable[[str], bool]] = {
    "first": lambda text: text.isdecimal() and 0 < int(text) <= 100,
    "date": lambda text: text in ("year", "month", "month-day", "year-month"),
}
_EXTRAS = {"phone": "phone"}


@dataclass(frozen=True, slots=True)
class Named:
    """A normalizer with its argument. ``label`` is "name[:argument]/version"."""

    spec: str
    argument: str
    label: str
    normalizer: Normalizer

    @property
    def for_dates(self) -> bool:
        return self.spec.startswith("date:")

    def text(self, value: Any) -> str | None:
        """The value's one spelling; None for a value that the normalizer can't take."""
        return self.normalizer.normalize(value, self.argument)


@cache
def named(spec: str) -> Named:
    """The normalizer of a declaration such as ``"email"`` or ``"first:3"``."""
    name, _, argument = spec.partition(":")
    found = _BUILT_IN.get(name) or _installed(name)
    takes = _ARGUMENTS.get(name)
    if name in _BUILT_IN and not (takes(argument) if takes else not argument):
        raise ConfigurationError(
            f"{spec!r} is no way to use the normalizer {name!r}",
            hint='e.g. "first:3", "date:year", "date:month-day"; the others take no argument',
        )
    return Named(spec, argument, f"{spec}/{found.version}", found)


def _installed(name: str) -> Normalizer:
    points = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if name not in points:
        raise ConfigurationError(
            f"there is no normalizer {name!r}",
            hint=f"known ones: {', '.join(sorted({*_BUILT_IN, *points}))}",
        )
    try:
        found = points[name].load()
    except ImportError as error:
        raise ConfigurationError(
            f"the normalizer {name!r} can't be loaded ({type(error).__name__})",
            hint=f"pip install 'sqlalchemy-vaultlayer[{_EXTRAS[name]}]'"
            if name in _EXTRAS
            else "install what it needs",
        ) from None
    if not isinstance(found, Normalizer):
        raise ConfigurationError(
            f"the entry point {name!r} gives no vaultlayer.search.normalizers.Normalizer",
            hint="it names an instance of that class, with a version and a function",
        )
    return found
