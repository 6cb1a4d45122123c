"""Masks: what a person sees who may know that there is a value, but not the value.

A mask shows at most what its name says, and less when the value is too short or of the wrong
kind for that: then it shows ``***``. It never raises and never returns the value itself.
"""

from __future__ import annotations

from datetime import date, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

from vaultlayer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HIDDEN = "***"
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


MASKS: Mapping[str, Callable[[object], str]] = MappingProxyType(
    {"redact": redact, "last4": last4, "email": email, "initials": initials, "year": year}
)


def mask(name: str, value: object) -> str:
    """The value as the mask of that name shows it; an unknown name is a ConfigurationError."""
    try:
        show = MASKS[name]
    except (KeyError, TypeError):
        del value
        raise ConfigurationError(
            "unknown mask", hint=f"use one of {', '.join(sorted(MASKS))}"
        ) from None
    return show(value)


def _first(text: str) -> str:
    return text[0] if len(text) >= _INITIAL_NEEDS else ""


def _is_ending(text: str) -> bool:
    return 2 <= len(text) <= 24 and text.isascii() and text.isalpha()
