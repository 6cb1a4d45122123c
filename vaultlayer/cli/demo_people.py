"""The demo's model and its people. They are made up: names from syllables, numbers and domains
from the ranges kept for fiction and documentation (555-01xx, RFC 2606)."""

from __future__ import annotations

import random
from datetime import date, timedelta
from typing import TYPE_CHECKING

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from vaultlayer.declare import PersonalData, personal
from vaultlayer.search.kinds import Equality

if TYPE_CHECKING:
    from collections.abc import Iterator

_GIVEN = ("Al", "Bre", "Cor", "Da", "El", "Fen", "Gi", "Hal", "Jo", "Ka", "Lin", "Mi", "No", "Or",
          "Pe", "Ra", "Sel", "Ta", "Ul", "Ve", "Wy", "Yo", "Zi")  # fmt: skip
_GIVEN_END = ("bin", "dan", "la", "lin", "mo", "na", "ren", "ro", "via", "vin")
_FAMILY = ("Ash", "Bram", "Cald", "Dorn", "Elm", "Fenn", "Gar", "Hest", "Jor", "Kest", "Lun",
           "Marr", "Ost", "Pell", "Rav", "Sorr", "Tam")  # fmt: skip
_FAMILY_END = ("abel", "brook", "ez", "lund", "mere", "ovan", "stone", "veld", "wick")
_FIRST_BIRTHDAY, _DAYS = date(1950, 1, 1), 55 * 365


class Base(DeclarativeBase):
    pass


class Customer(PersonalData, Base):
    __tablename__ = "customer"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = personal("identity.name")
    email: Mapped[str] = personal("contact.email", search=Equality("email"), unique=True)
    phone: Mapped[str | None] = personal("contact.phone", search=Equality("digits"), mask="last4")
    born: Mapped[date | None] = personal("identity.birth_date", mask="year")


FIELDS = ("name", "email", "phone", "born")
Person = tuple[str, str, str, date]


def invent(number: int, seed: int = 20) -> Iterator[Person]:
    """``number`` made-up people, no two with the same name; the same ones for the same seed."""
    dice = random.Random(seed)  # noqa: S311 - the same people every time is what is wanted
    given = [start + end for start in _GIVEN for end in _GIVEN_END]
    family = [start + end for start in _FAMILY for end in _FAMILY_END]
    for pair in dice.sample(range(len(given) * len(family)), number):
        first, last = given[pair // len(family)], family[pair % len(family)]
        phone = f"+1 {dice.randrange(201, 990)} 555 01{dice.randrange(100):02}"
        born = _FIRST_BIRTHDAY + timedelta(days=dice.randrange(_DAYS))
        yield f"{first} {last}", f"{first}.{last}@example.org".lower(), phone, born
