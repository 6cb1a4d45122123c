"""What a scan finds, held against lists made by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaultlayer.lifecycle.scan.scanning import Scan

PEOPLE = ("Customer", "Employee")
ADDRESS = ("Address", "City", "State", "Country", "PostalCode")
CHINOOK = {
    **{f"{t}.{c}": "contact.address" for t in PEOPLE for c in ADDRESS},
    **{f"Invoice.Billing{c}": "contact.address" for c in ADDRESS},
    **{f"{t}.{c}": "contact.phone" for t in PEOPLE for c in ("Phone", "Fax")},
    **{f"{t}.{c}Name": "identity.name" for t in PEOPLE for c in ("First", "Last")},
    **{f"{t}.Email": "contact.email" for t in PEOPLE},
    "Employee.BirthDate": "identity.birth_date",
}  # fmt: skip


def found(scan: Scan) -> dict[str, str]:
    return {f"{each.table.name}.{each.column.name}": each.category for each in scan.findings}


def wrong(scan: Scan, truth: Mapping[str, str]) -> set[tuple[str, str]]:
    """What is there and shouldn't be, and what should be and isn't."""
    return set(found(scan).items()) ^ set(truth.items())


def test_chinook(scan, chinook) -> None:
    """Nothing is missed in Chinook, and nothing is taken for personal that isn't."""
    assert wrong(scan(chinook), CHINOOK) == set()
