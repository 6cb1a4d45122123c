"""What sampled values look like. Nothing of a value leaves this module but how many there were."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

from vaultlayer.crypto.envelope import is_envelope
from vaultlayer.lifecycle.scan.check_digits import (
    NATIONAL,
    is_card,
    is_iban,
    national_number,
)
from vaultlayer.lifecycle.scan.given_names import GIVEN

if TYPE_CHECKING:
    from collections.abc import Iterable

_EMAIL = re.compile(r"[^\s@<>\"',;:]{1,64}@(?:[\w-]+\.)+[a-z]{2,24}", re.IGNORECASE)
_MENTIONS = re.compile(
    r"[\w.+-]{1,64}@(?:[\w-]+\.)+[a-z]{2,24}|(?<![\w.])\+\d{1,3}[ ()\d./-]{7,16}\d", re.IGNORECASE
)
_PHONE = re.compile(r"(\+|00)?[\d ()./-]{7,24}( ?(x|ext\.?) ?\d{1,6})?", re.IGNORECASE)
_SEPARATED = re.compile(r"[ ()./-]")
_MAC = re.compile(r"[0-9a-f]{2}([:-][0-9a-f]{2}){5}", re.IGNORECASE)
_AGENT = re.compile(r"(Mozilla|Opera|okhttp|Dalvik|curl)/\d.*")
_POINT = re.compile(
    r"(SRID=\d+;)?POINT ?Z? ?\(.*\)|\(?-?\d{1,2}\.\d{3,}\s*[,;]\s*-?\d{1,3}\.\d{3,}\)?"
    r"|01010000(00|20)[0-9A-F]{32,}"  # PostGIS: extended well-known binary, a point
)
_NUMBER = re.compile(r"[-+]?\d{1,3}([.,]\d+)?")
_DATE = re.compile(
    r"(?:(\d{4})-\d{2}-\d{2}(?:[ T].*)?|\d{1,2}[./-]\d{1,2}[./-](\d{4})|(\d{4})\d{4}"
    r"|(\d{4})[/年]\d{1,2}[/月]\d{1,2}日?)"
)
_STREET = re.compile(
    r"\b(street|st|avenue|ave|road|rd|boulevard|blvd|drive|dr|lane|ln|way|square|court|rue|quai|"
    r"place|platz|weg|gasse|allee|via|viale|piazza|calle|plaza|rua|avenida|ulica|ul|straat|laan)\b"
    r"|stra(ß|ss)e\b|str\.|weg \d|丁目|番地|[都道府県].+[市区町村]",
    re.IGNORECASE,
)
_PICTURES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"RIFF", b"BM", b"II*\x00", b"MM\x00*")
_LETTERS = re.compile(r"[^\W\d_](?:[^\W\d_]|[.'-])*")
_OLDEST = 120


@dataclass(frozen=True, slots=True)
class Look:
    """What a column's sampled values look like. ``shares``: pattern → share of those filled."""

    values: int = 0
    shares: dict[str, float] = field(default_factory=dict)
    country: str = ""

    def share(self, pattern: str) -> float:
        return self.shares.get(pattern, 0.0)


def look_at(values: Iterable[object]) -> Look:
    """What these values, text or bytes, look like; equal ones count once."""
    filled = {value for value in values if value not in (None, "", b"")}
    counts: Counter[str] = Counter()
    countries: Counter[str] = Counter()
    for value in filled:
        if isinstance(value, bytes):
            counts.update(_of_bytes(value))
        elif text := str(value).strip():
            counts.update(_of_text(text))
            countries.update(national_number(re.sub(r"[ .\-/]", "", text).upper()))
    country = max(countries, key=lambda name: countries[name], default="")
    if country:
        counts["document"] = countries[country]
        counts["telling document"] = countries[country] if NATIONAL[country][2] else 0
    return Look(len(filled), {name: n / len(filled) for name, n in counts.items()}, country)


def _of_bytes(value: bytes) -> set[str]:
    if is_envelope(value + bytes(48)):  # only the first bytes are sampled
        return {"sealed"}
    return {"picture"} if value.startswith(_PICTURES) else set()


def _of_text(text: str) -> set[str]:
    found = {name for name, (pattern, _) in _FORMS.items() if pattern.fullmatch(text)}
    found = {name for name in found if _FORMS[name][1](text)}
    together = re.sub(r"[ -]", "", text)
    if is_card(together):
        found.add("card")
    if is_iban(together.upper()):
        found.add("bank")
    if _is_ip(text):
        found.add("ip")
    if _STREET.search(text) and not text.startswith(("http", "/")):
        found.add("street")
    if _is_name(text):
        found.add("name")
    if _MENTIONS.search(text) and "email" not in found and "telling phone" not in found:
        found.add("mentions")
    if any(letter.isalpha() for letter in text):
        found.add("letters")
    if text.startswith(("http://", "https://")):
        found.add("url")
    return found


def _is_phone(text: str) -> bool:
    return 7 <= sum(letter.isdecimal() for letter in text) <= 17 and not _is_ip(text)


def _is_telling_phone(text: str) -> bool:
    """Written as only telephone numbers are: with + or (…) and separators, never bare digits."""
    return _is_phone(text) and (
        text.startswith("+") or (text.startswith("(") and bool(_SEPARATED.search(text)))
    )


def _is_birth(text: str) -> bool:
    found = _DATE.fullmatch(text)
    year = int(next(filter(None, found.groups()))) if found else 0
    return 0 <= date.today().year - year <= _OLDEST


def _is_ip(text: str) -> bool:
    address = text.partition("/")[0]
    if address.count(".") != 3 and address.count(":") < 2:
        return False
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def _is_name(text: str) -> bool:
    """Begins or ends with a common given name, in one to four words without digits."""
    words = text.replace(",", " ").split()
    if not 1 <= len(words) <= 4 or not all(_LETTERS.fullmatch(word) for word in words):
        return False
    return not {words[0].casefold(), words[-1].casefold()}.isdisjoint(GIVEN)


def _always(_: str) -> bool:
    return True


_FORMS = {
    "email": (_EMAIL, _always),
    "phone": (_PHONE, _is_phone),
    "telling phone": (_PHONE, _is_telling_phone),
    "device": (re.compile(f"{_MAC.pattern}|{_AGENT.pattern}", re.IGNORECASE), _always),
    "geo": (re.compile(f"{_POINT.pattern}|{_NUMBER.pattern}"), _always),
    "telling geo": (_POINT, _always),
    "date": (_DATE, _is_birth),
    "number": (re.compile(r"[-+]?\d+([.,]\d+)?"), _always),
}
