"""The made-up people that every contender stores."""

from __future__ import annotations

FIELDS = ("name", "email", "phone", "address")


def person(number: int) -> dict[str, str]:
    """One person's fields; values of everyday length, each person's own."""
    return {
        "name": f"Ada Lovelace {number}",
        "email": f"ada.lovelace.{number}@example.com",
        "phone": f"+44 20 {number:08d}",
        "address": f"{number} St James's Square, London SW1Y 4JH",
    }


def people(count: int) -> list[dict[str, str]]:
    return [person(number) for number in range(count)]
