"""What a scan says of one column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaultlayer.lifecycle.scan.words import KINDS

if TYPE_CHECKING:
    from sqlalchemy import Column, Table

LEAST = 0.5  # confidence from which a column is told of
KIND = {kind.name: kind for kind in KINDS}


@dataclass(frozen=True, slots=True)
class Finding:
    """One column that probably holds personal data. ``confidence`` is between 0 and 1."""

    table: Table
    column: Column[Any]
    kind: str
    category: str
    confidence: float
    why: str
    from_json: bool = False


def found_in(
    table: Table, column: Column[Any], kind: str, confidence: float, why: str
) -> Finding:
    return Finding(table, column, kind, KIND[kind].category, round(confidence, 2), why)
