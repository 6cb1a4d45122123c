"""Blind indexes: found by the database's own, made as is declared, and gone when they are not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from vaultlayer.doctor.finding import Case, Finding
from vaultlayer.lifecycle.index_plan import unindexed
from vaultlayer.orm.entity import fields_of_table
from vaultlayer.search.declarations import differing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Table


def database_indexes(case: Case) -> Iterator[Finding]:
    """Hidden columns without an index of the database, and those of no declared index."""
    with case.vault.databases.transaction() as connection:
        seen = sa.inspect(connection)
        for table in _tables(case):
            if not seen.has_table(table.name, schema=table.schema):
                continue
            for field in fields_of_table(table).values():
                for index in field.indexes:
                    if unindexed(seen, table, index):
                        yield Finding(
                            "search_unindexed",
                            "every search of it reads the whole table: its hidden column has no "
                            "index of the database",
                            f"{table.name}.{table.c[index.key].name}",
                            "CREATE INDEX on it; the models' metadata and Alembic do that",
                        )
            there = {each["name"] for each in seen.get_columns(table.name, table.schema)}
            for name in sorted(there - {column.name for column in table.columns}):
                if "_bidx" in name:
                    yield Finding(
                        "search_left_over",
                        "terms of an index that is declared no more are still there",
                        f"{table.name}.{name}",
                        "drop the column",
                    )


def declarations(case: Case) -> Iterator[Finding]:
    """Indexes whose terms were made in another way than is declared."""
    indexes = [
        index
        for table in _tables(case)
        for field in fields_of_table(table).values()
        for index in field.indexes
    ]
    with case.vault.databases.keys(None, check=False) as connection:
        for index in differing(connection, indexes):
            yield Finding(
                "search_changed",
                "its terms were made in another way than is declared now, so it is refused",
                index.where,
                "take the former declaration back, or run `vaultlayer keys reseal`",
            )


def _tables(case: Case) -> list[Table]:
    fields = [field for entity in case.entities for field in entity.fields.values()]
    return list(dict.fromkeys(field.column.table for field in fields))
