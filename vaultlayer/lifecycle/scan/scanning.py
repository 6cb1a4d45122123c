"""One scan: what was read, judged, and is proposed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vaultlayer.lifecycle.scan.copies import Copy, find_copies, full_text_tables, objects_of
from vaultlayer.lifecycle.scan.judging import judge
from vaultlayer.lifecycle.scan.proposing import propose
from vaultlayer.lifecycle.scan.reading import SAMPLE, Read, read_database, reading

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Engine, Table

    from vaultlayer.access.bundle import Bundle
    from vaultlayer.lifecycle.scan.finding import Finding


@dataclass(frozen=True, slots=True)
class Scan:
    """What a scan found. ``sealed``: columns that hold envelopes; ``unreadable``: tables."""

    findings: list[Finding]
    copies: list[Copy]
    proposals: dict[str, Any]
    tables: int
    sealed: list[str]
    unreadable: list[str]

    def as_json(self) -> dict[str, Any]:
        """Lists of plain texts and numbers; no value of the database is among them."""
        columns = [
            {
                "table": each.table.fullname,
                "column": each.column.name,
                "category": each.category,
                "confidence": each.confidence,
                "why": each.why,
            }
            for each in self.findings
        ]
        copies = [
            {"kind": each.kind, "where": each.where, "of": list(each.of), "remedy": each.remedy}
            for each in self.copies
        ]
        return {
            "columns": columns,
            "copies": copies,
            "proposals": self.proposals,
            "tables": self.tables,
            "sealed": self.sealed,
            "unreadable": self.unreadable,
        }


def scan(
    engine: Engine | None,
    tables: Sequence[Table] | None = None,
    *,
    categories: Mapping[str, Any],
    bundle: Bundle | None = None,
    sample: int = SAMPLE,
    told: Callable[[int, int], None] | None = None,
) -> Scan:
    """Look through a database, or through ``tables`` by their names and types alone.

    :param engine: from ``reading.engine_for``; None where there is no database at hand.
    :param tables: a module's; None: all that the database has.
    :param categories: those of categories.toml; a finding takes the nearest declared one.
    :param bundle: the policies in use, whose missing rows are proposed; None: all rows are.
    :param sample: rows of each table to look at; 0: none.
    """
    objects: list[tuple[str, str, str, str]] = []
    if engine is None:
        read = Read(list(tables or ()))
    else:
        read = read_database(engine, tables, sample=sample, told=told)
        with reading(engine) as connection:
            objects = objects_of(connection)
    _leave_out_full_text(read, objects)
    findings, sealed = judge(read)
    findings = [
        replace(each, category=_declared(each.category, categories))
        for each in findings
        if f"{each.table.fullname}.{each.column.name}" not in sealed
    ]
    return Scan(
        findings,
        find_copies(findings, read.tables, objects),
        propose(findings, bundle),
        len(read.tables),
        sealed,
        read.unreadable,
    )


def _leave_out_full_text(read: Read, objects: Sequence[Sequence[str]]) -> None:
    """SQLite's full-text tables are told of as the copies they are."""
    stored = full_text_tables(objects)
    inside = {*stored, *(each for shadows in stored.values() for each in shadows)}
    read.tables = [table for table in read.tables if table.name not in inside]


def _declared(category: str, declared: Mapping[str, Any]) -> str:
    """The category or the nearest one above it that categories.toml declares."""
    above = category
    while above and above not in declared:
        above = above.rpartition(".")[0]
    return above or category
