"""The shared table of terms, for the kinds that have several a value (words, n-grams).

It lies beside the models, in their metadata. A row of it says that a value has a term; the value
is known by the random number in its hidden column. A value that is written anew gets a new number:
what is left under the old one leads nowhere, and goes in the same transaction (orm/gate.py).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import Column, Table

from vaultlayer.keys import tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection, MetaData

    from vaultlayer.search.blind_index import Index

NAME = "vaultlayer_term"
NUMBER_BYTES = 16
_SLICE = 5000  # rows of one INSERT


def terms_table(metadata: MetaData) -> Table:
    """The table of these models; made at the first field that needs it."""
    known = metadata.tables.get(f"{metadata.schema}.{NAME}" if metadata.schema else NAME)
    if known is not None:
        return known
    return Table(
        NAME,
        metadata,
        Column("term", tables._Id, primary_key=True),
        Column("value_number", tables._Id, primary_key=True, index=True),
        Column("index_number", tables._Bytes(8).with_variant(sa.VARBINARY(8), *tables.MYSQL)),
        Column("tenant", tables._Name, nullable=False),
        Column("subject", tables._Id, nullable=False, index=True),
        sqlite_with_rowid=False,  # one tree to search instead of two
    )


def table_of(index: Index) -> Table:
    return terms_table(index.field.column.table.metadata)


def draw_number() -> bytes:
    return os.urandom(NUMBER_BYTES)


def insert_terms(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    for start in range(0, len(rows), _SLICE):
        connection.execute(sa.insert(table), rows[start : start + _SLICE])


def term_rows(
    index: Index, tenant: str, subject: bytes, number: bytes, terms: Iterable[bytes]
) -> list[dict[str, Any]]:
    """The table's rows for one value."""
    common = {"index_number": index.number, "tenant": tenant, "subject": subject}
    return [{"term": term, "value_number": number, **common} for term in terms]


def forget_rows(
    connection: Connection, statement: Any, indexes: Sequence[Index], given: Any
) -> None:
    """Before an UPDATE or DELETE: delete what the rows' values were found by.

    On PostgreSQL the rows are locked for it, so that the numbers are those about to be replaced.
    """
    for index in indexes:
        hidden = index.field.column.table.c[index.key]
        old = sa.select(hidden).where(*statement._where_criteria)
        if connection.dialect.name == "postgresql":
            old = old.with_for_update()
        terms = table_of(index)
        gone = sa.delete(terms).where(terms.c.value_number.in_(old))
        connection.execute(gone, given or None)


def forget_people(connection: Connection, table: Table, subject: bytes, tenants: Any) -> int:
    """All that a person is found by, whether or not a row still leads there; how many terms."""
    whose = (table.c.subject == subject, table.c.tenant.in_(tenants))
    count = sa.select(sa.func.count()).select_from(table).where(*whose)
    number = int(connection.scalar(count) or 0)
    if number:
        connection.execute(sa.delete(table).where(*whose))
    return number
