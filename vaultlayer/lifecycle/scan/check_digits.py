"""Numbers that carry check digits: payment cards, bank accounts, national numbers.

A check digit turns "eleven digits" into evidence: of other numbers a tenth or less passes.
Each function takes text without blanks, dots and hyphens.
"""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_IBAN = re.compile(r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}")
# First digits that the card networks have been given (ISO/IEC 7812), with the lengths in use.
_CARD = re.compile(
    r"4\d{12}(\d{3}|\d{6})?|5[1-5]\d{14}|2(22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|3(0[0-5]|[68]\d)\d{11}|6(011|5\d\d|4[4-9]\d)\d{12}|35(2[89]|[3-8]\d)\d{12}|62\d{14,17}"
)
_DNI = "TRWAGMYFPDXBNJZSQVHLCKE"
_CODICE = re.compile(r"[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]")
_CODICE_ODD = bytes.fromhex("0100050709 0d0f111315 020412140b 0306080c0e 100a161918 17")  # A to Z


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    doubled = (int(digit) * 2 for digit in digits[-2::-2])
    return (sum(d // 10 + d % 10 for d in doubled) + sum(map(int, digits[-1::-2]))) % 10 == 0


def is_card(text: str) -> bool:
    return _CARD.fullmatch(text) is not None and luhn(text) and len(set(text)) > 1


def is_iban(text: str) -> bool:
    """ISO 13616: the rest by 97 (ISO/IEC 7064) is 1."""
    if not _IBAN.fullmatch(text):
        return False
    return int("".join(str(int(letter, 36)) for letter in text[4:] + text[:4])) % 97 == 1


def _weighted(digits: str, weights: Iterable[int]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False))


def _born(year: int, month: int, day: int) -> bool:
    try:
        return date(1900, 1, 1) <= date(year, month, day) <= date(2100, 1, 1)
    except ValueError:
        return False


def _chinese(text: str) -> bool:
    """GB 11643: region, date of birth, ISO/IEC 7064 mod 11-2."""
    rest = _weighted(text[:17], (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)) % 11
    born = _born(int(text[6:10]), int(text[10:12]), int(text[12:14]))
    return born and "10X98765432"[rest] == text[17]


def _german(text: str) -> bool:
    """The tax number of § 139b AO: ISO/IEC 7064 mod 11,10, one digit that comes twice or thrice."""
    product = 10
    for digit in text[:10]:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    return text[0] != "0" and len(set(text[:10])) in (8, 9) and (11 - product) % 10 == int(text[10])


def _french(text: str) -> bool:
    """The NIR: sex, year and month of birth, place, 97 minus the rest by 97."""
    number = text[:13].replace("2A", "19").replace("2B", "18")
    return text[0] in "12" and text[3:5] <= "42" and 97 - int(number) % 97 == int(text[13:])


def _spanish(text: str) -> bool:
    """DNI, and NIE with X, Y or Z for its first digit: a letter for the rest by 23."""
    number = text[:-1].translate(str.maketrans("XYZ", "012"))
    return _DNI[int(number) % 23] == text[-1]


def _italian(text: str) -> bool:
    """Codice fiscale: a letter for a sum of the others, where a digit counts as its letter."""
    even = (int(letter) if letter.isdecimal() else ord(letter) - 65 for letter in text[1:15:2])
    odd = (
        _CODICE_ODD[int(letter) if letter.isdecimal() else ord(letter) - 65]
        for letter in text[0:15:2]
    )
    return chr(65 + (sum(even) + sum(odd)) % 26) == text[15]


def _dutch(text: str) -> bool:
    """BSN: the test of eleven."""
    return _weighted(text, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0 and int(text) > 0


def _polish(text: str) -> bool:
    """PESEL: date of birth with the century in the month, and a check digit."""
    month, century = int(text[2:4]) % 20, (1900, 2000, 2100, 2200, 1800)[int(text[2:4]) // 20]
    valid = _weighted(text, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0
    return valid and _born(century + int(text[:2]), month, int(text[4:6]))


def _swedish(text: str) -> bool:
    """Personnummer: date of birth, Luhn over the last ten digits."""
    return _born(2000, int(text[-8:-6]), int(text[-6:-4]) % 60) and luhn(text[-10:])


def _brazilian(text: str) -> bool:
    """CPF: two check digits."""
    first = _weighted(text, range(10, 1, -1)) * 10 % 11 % 10
    second = _weighted(text, range(11, 1, -1)) * 10 % 11 % 10
    return text[9:] == f"{first}{second}" and len(set(text)) > 1


def _japanese(text: str) -> bool:
    """My Number (個人番号): a check digit by 11."""
    rest = _weighted(text[10::-1], (2, 3, 4, 5, 6, 7, 2, 3, 4, 5, 6)) % 11
    return (0 if rest <= 1 else 11 - rest) == int(text[11]) and len(set(text)) > 1


# Country's name → form and check. Those without letters or a date of birth need a name beside it.
NATIONAL: dict[str, tuple[re.Pattern[str], Callable[[str], bool], bool]] = {
    "Chinese": (re.compile(r"[1-9]\d{16}[\dX]"), _chinese, True),
    "French": (re.compile(r"[12]\d{4}(\d{2}|2A|2B)\d{8}"), _french, True),
    "Spanish": (re.compile(r"[XYZ\d]\d{7}[A-Z]"), _spanish, True),
    "Italian": (_CODICE, _italian, True),
    "Polish": (re.compile(r"\d{11}"), _polish, True),
    "Swedish": (re.compile(r"(19|20)?\d{10}"), _swedish, False),
    "Brazilian": (re.compile(r"\d{11}"), _brazilian, True),
    "German": (re.compile(r"\d{11}"), _german, False),
    "Dutch": (re.compile(r"\d{9}"), _dutch, False),
    "Japanese": (re.compile(r"\d{12}"), _japanese, False),
    # The United States' and Britain's have a form, but no check digit.
    "United States": (
        re.compile(r"(?!000|666|9)\d{3}(?!00)\d{2}(?!0000)\d{4}"), lambda _: True, False
    ),
    "British": (
        re.compile(r"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]\d{6}[A-D]"),
        lambda _: True,
        True,
    ),
}  # fmt: skip


def national_number(text: str) -> set[str]:
    """The countries whose national number this can be."""
    return {
        country
        for country, (form, check, _) in NATIONAL.items()
        if form.fullmatch(text) and check(text)
    }
