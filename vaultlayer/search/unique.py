"""``unique=True`` while index roots are exchanged: one value, two possible terms, still one row.

The database's constraint sees that two terms are equal, not that two terms are of one value. So
whoever writes a value takes over the row, if there is one, that has it under another live root:
its term becomes the one about to be written, and the constraint does the rest. Writers of one
value wait for each other; which root each of them takes for the active one doesn't matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from vaultlayer.search.blind_index import Index

_MYSQL = ("mysql", "mariadb")


def keep_unique(connection: Connection, written: Mapping[Index, Sequence[list[bytes]]]) -> None:
    """Before values are stored: ``written`` has each one's terms, the one to store first."""
    for kept, values in written.items():
        table = kept.field.column.table
        index: Any = sa.column(table.c[kept.key].name, sa.LargeBinary())
        bare = sa.table(table.name, index, schema=table.schema)
        _wait_for_each_other(connection, index, bare, sorted(values, key=min))
        pairs = [{"new": new, "old": old} for new, *others in values for old in others]
        takes_over = sa.update(bare).where(index == sa.bindparam("old"))
        connection.execute(takes_over.values({index.name: sa.bindparam("new")}), pairs)


def _wait_for_each_other(
    connection: Connection, index: Any, bare: Any, values: Sequence[list[bytes]]
) -> None:
    """Until the transaction ends nobody else gets further than this with one of the values.

    In one order for all, so that two writers can't deadlock. MySQL: by the locks on the gaps that
    REPEATABLE READ, its default, takes. SQLite: the UPDATE that follows takes the one lock.
    """
    if connection.dialect.name == "postgresql":
        for terms in values:
            number = int.from_bytes(min(terms)[:8], "big", signed=True)
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(number)))
    elif connection.dialect.name in _MYSQL:
        for terms in values:
            rows = sa.select(index).select_from(bare).where(index.in_(sorted(terms)))
            connection.execute(rows.with_for_update())
