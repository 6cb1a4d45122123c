"""What a scan finds, held against lists made by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).parent))
try:
    from styles import SCHEMAS, TRUTH, make
finally:
    sys.path.pop(0)

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


@pytest.mark.parametrize("style", list(SCHEMAS))
def test_styles(scan, style: str, tmp_path: Path) -> None:
    """German, French, Japanese and abbreviated names; things that look personal and aren't."""
    make(tmp_path / "some.db", style)
    assert wrong(scan(sa.create_engine(f"sqlite:///{tmp_path}/some.db")), TRUTH[style]) == set()


@pytest.mark.parametrize("style", list(SCHEMAS))
def test_names_alone(scan, style: str, tmp_path: Path) -> None:
    """Without looking at a row: most is found by its name, and little else is."""
    make(tmp_path / "some.db", style, rows=0)
    told = found(scan(sa.create_engine(f"sqlite:///{tmp_path}/some.db"), sample=0))
    truth = {name: what for name, what in TRUTH[style].items() if not name.startswith("t_017")}
    right = told.items() & truth.items()
    assert len(right) >= 0.8 * len(truth)
    assert len(told) - len(right) <= 2
