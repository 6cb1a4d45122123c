"""Masks: what a person sees who may know that there is a value, but not the value.

A mask shows at most what its name says, and less when the value is too short or of the wrong
kind for that: then it shows ``***``. It never raises and never returns the value itself.

A mask of one's own is a function from the value to a text, found by the entry point group
``vaultlayer.masks``; what it raises, or returns that is no text, shows as ``***``.
"""

from __future__ import annotations

import hmac
import re
from base64 import b32encode
from collections.abc import Callable
from datetime import date, datetime
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING

from vaultlayer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

Mask = Callable[[object], str]

ENTRY_POINTS = "vaultlayer.masks"
HIDDEN = "***"
HASH = "hash"
_POSTCODE = re.compile(r"[0-9]{4,6}|[A-Z]{1,2}[0-9][A-Z0-9]?|[0-9][A-Z]{2}")
_CITY_KEYS = ("city", "town", "locality", "addressLocality")
# Four shown of seven known digits would leave a thousand guesses: show no more than half.
_LAST4_NEEDS = 8
_INITIAL_NEEDS = 3
_MOST_NAMES = 5


def redact(value: object) -> str:
    """``***``, whatever the value."""
    del value
    return HIDDEN


def last4(value: object) -> str:
    """``***4711``: the last four letters or digits of a text or whole number of eight or more."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return HIDDEN
    shown = "".join(char for char in str(value) if char.isalnum())
    return HIDDEN + shown[-4:] if len(shown) >= _LAST4_NEEDS else HIDDEN


def email(value: object) -> str:
    """``a***@e***.com``: first letter of the mailbox, first letter and ending of the domain.

    A mailbox or domain of one or two letters shows none of them.
    """
    if not isinstance(value, str) or not value.isprintable() or " " in value:
        return HIDDEN
    mailbox, at, host = value.partition("@")
    domain, dot, ending = host.rpartition(".")
    if not (mailbox and at and domain and dot) or "@" in host or not _is_ending(ending):
        return HIDDEN
    return f"{_first(mailbox)}{HIDDEN}@{_first(domain)}{HIDDEN}.{ending}"


def initials(value: object) -> str:
    """``A. L.``: the first letter of each of at most five names, in scripts that have capitals.

    A name in a script without capitals is hidden: its first sign is often the family name.
    """
    if not isinstance(value, str):
        return HIDDEN
    names = [name.rstrip(".") for name in value.split()]
    if not 1 <= len(names) <= _MOST_NAMES or all(len(name) < 2 for name in names):
        return HIDDEN
    if not all(name and name[0].lower() != name[0].upper() for name in names):
        return HIDDEN
    return " ".join(f"{name[0].upper()[0]}." for name in names)


def year(value: object) -> str:
    """``1815``: the year of a date, a datetime, or the text of one in ISO 8601."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return HIDDEN
    return f"{value.year:04d}" if isinstance(value, date) else HIDDEN


def city(value: object) -> str:
    """``Berlin``: the town of an address, without street, number and postcode.

    Of an address in parts, what stands under city, town or locality. Of a text, the part
    between commas that holds the postcode, unless it is the first: that is where streets are.
    """
    if isinstance(value, dict):
        found = next((value[key] for key in _CITY_KEYS if key in value), None)
        return found if isinstance(found, str) and _is_place(found.split()) else HIDDEN
    if not isinstance(value, str):
        return HIDDEN
    parts = [part.split() for part in re.split(r"[,;\n]", value)[1:]]
    coded = [part for part in parts if any(map(_POSTCODE.fullmatch, part))]
    if len(coded) != 1:
        return HIDDEN
    words = [word for word in coded[0] if not _POSTCODE.fullmatch(word)]
    return " ".join(words) if _is_place(words) else HIDDEN


def pseudonym(key: bytes, value: object) -> str:
    """``#k4xw2…``: the same 20 characters for equal values under one key, telling nothing else.

    HMAC-SHA-256, cut to 100 bits, in lower-case base32.
    """
    if not isinstance(value, str | bytes | int):
        value = repr(value)
    data = value if isinstance(value, bytes) else f"{type(value).__name__}:{value}".encode()
    return "#" + b32encode(hmac.digest(key, data, "sha256")).decode().lower()[:20]


MASKS: Mapping[str, Mask] = MappingProxyType(
    {
        "redact": redact, "last4": last4, "email": email, "initials": initials, "year": year,
        "city": city,
    }
)  # fmt: skip


def mask_names() -> frozenset[str]:
    """The masks there are: the built-in ones, ``hash``, and those of entry points."""
    return frozenset({*MASKS, HASH, *_own()})


def masking(name: str, key: Callable[[], bytes]) -> Mask:
    """The mask of that name; an unknown one is a ConfigurationError.

    :param key: gives the 32 bytes that ``hash`` is made with; called for that mask alone.
    """
    if name in MASKS:
        return MASKS[name]
    if name == HASH:
        secret = key()
        return lambda value: pseudonym(secret, value)
    if name in _own():
        return _guarded(_own()[name].load())
    raise ConfigurationError("unknown mask", hint=f"use one of {', '.join(sorted(mask_names()))}")


def mask(name: str, value: object) -> str:
    """The value as a built-in mask shows it."""
    try:
        show = MASKS[name]
    except (KeyError, TypeError):
        del value
        raise ConfigurationError(
            "unknown mask", hint=f"use one of {', '.join(sorted(MASKS))}"
        ) from None
    return show(value)


@cache
def _own() -> Mapping[str, EntryPoint]:
    return {found.name: found for found in entry_points(group=ENTRY_POINTS)}


def _guarded(show: Mask) -> Mask:
    """A mask that somebody else wrote: its failure must neither show the value nor name it."""

    def guarded(value: object) -> str:
        try:
            shown = show(value)
        except Exception:
            return HIDDEN
        return shown if isinstance(shown, str) and shown != value else HIDDEN

    return guarded


def _is_place(words: list[str]) -> bool:
    """Whether these are letters only, as names of towns are: Bad Soden-Salmünster, 's-Hage."""
    text = "".join(words).translate({ord(sign): None for sign in "-'.()/"})
    return 0 < len(text) <= 60 and text.isalpha()


def _first(text: str) -> str:
    return text[0] if len(text) >= _INITIAL_NEEDS else ""


def _is_ending(text: str) -> bool:
    return 2 <= len(text) <= 24 and text.isascii() and text.isalpha()
