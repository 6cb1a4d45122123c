"""Counting a database's columns for the planner: numbers only, no value leaves the database.

A plain column is counted as it is, before it is sealed. A sealed one is counted by its terms, which
tell exactly what an onlooker can count too; nothing is opened.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from vaultlayer.lifecycle.models import bare
from vaultlayer.orm.entity import fields_of_table
from vaultlayer.search.planner import LEAKS, Advice, Counted, advise
from vaultlayer.search.terms import table_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Column, Connection, Engine, Table

    from vaultlayer.search.blind_index import Index

_LENGTHS = range(2, 7)


@dataclass(frozen=True, slots=True)
class Planned:
    """One column: how its values are spread, and what fits; ``index``: the kind it has already."""

    table: str
    column: str
    index: str
    counted: Counted
    advice: Sequence[Advice]
    no_database_index: bool = False

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def plan_plain(engine: Engine, columns: Iterable[Column[Any]]) -> list[Planned]:
    """Columns that aren't sealed yet."""
    with engine.connect() as connection:
        found = [(column, _count(connection, column)) for column in columns]
    return [Planned(c.table.name, c.name, "", counted, advise(counted)) for c, counted in found]


def plan_sealed(engine: Engine, tables: Iterable[Table]) -> list[Planned]:
    """The blind indexes of mapped tables, as they are in this database."""
    with engine.connect() as connection:
        seen = sa.inspect(connection)
        there = [each for each in tables if seen.has_table(each.name, schema=each.schema)]
        return [
            _planned(connection, seen, table, index)
            for table in there
            for field in fields_of_table(table).values()
            for index in field.indexes
        ]


def unindexed(seen: Any, table: Table, index: Index) -> bool:
    """Whether the hidden column of a blind index has no index of the database."""
    name = table.c[index.key].name
    found = [*seen.get_indexes(table.name, schema=table.schema)]
    found += seen.get_unique_constraints(table.name, schema=table.schema)
    return not any(each["column_names"][:1] == [name] for each in found)


def _planned(connection: Connection, seen: Any, table: Table, index: Index) -> Planned:
    if index.kind.many:
        shared = table_of(index)
        mine = shared.c.index_number == index.number
        counted = _spread(connection, sa.select(shared.c.term).where(mine).subquery().c.term)
    else:
        counted = _spread(connection, bare(table).c[table.c[index.key].name])
    kind = type(index.kind).__name__.replace("Cells", "Buckets")
    by_value = kind in ("Equality", "Compound")  # bands are few, and some words frequent, by design
    few = [each.why for each in advise(counted) if not each.declare and counted.rows and by_value]
    told = [Advice("" if few else kind, "".join(few), LEAKS[kind])]
    column = index.field.column.name
    return Planned(table.name, column, kind, counted, told, unindexed(seen, table, index))


def _count(connection: Connection, column: Column[Any]) -> Counted:
    plain = _spread(connection, column)
    if not isinstance(column.type, sa.String):
        return plain
    text = sa.func.lower(column)
    length = connection.scalar(sa.select(sa.func.avg(sa.func.length(column)))) or 0
    different = [sa.func.count(sa.distinct(sa.func.substr(text, 1, n))) for n in _LENGTHS]
    counts = connection.execute(sa.select(*different).where(column.is_not(None))).one()
    prefixes = dict(zip(_LENGTHS, counts, strict=True))
    return Counted(plain.rows, plain.distinct, plain.most, float(length), prefixes)


def _spread(connection: Connection, column: Any) -> Counted:
    groups = (
        sa.select(sa.func.count().label("n")).where(column.is_not(None)).group_by(column).subquery()
    )
    n = groups.c.n
    query = sa.select(sa.func.sum(n), sa.func.count(), sa.func.max(n)).select_from(groups)
    rows, distinct, most = connection.execute(query).one()
    return Counted(int(rows or 0), int(distinct or 0), int(most or 0))
