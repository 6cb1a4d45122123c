"""What the tables hold of one person, field by field; and taking it out of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from vaultlayer.crypto.envelope import of_nothing
from vaultlayer.lifecycle.models import bare, fields_by_table, rows_of
from vaultlayer.search.terms import table_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from uuid import UUID

    from sqlalchemy import ColumnElement, Connection

    from vaultlayer.orm.entity import Entity
    from vaultlayer.orm.field import Field


NOBODYS = bytes(16)  # a key id that no key has: of what was emptied while its person stays


@dataclass(frozen=True, slots=True)
class Held:
    """What one table holds of a person: how many ``rows``, sealed ``values`` and ``terms`` of
    blind indexes; of which ``fields``, and in which index columns (``indexes``)."""

    table: str
    fields: tuple[str, ...]
    indexes: tuple[str, ...]
    rows: int
    values: int
    terms: int


class Holding:
    """One table's rows of a person, and the columns to be emptied."""

    def __init__(
        self, entity: Entity, table: Any, fields: Sequence[Field], subject_id: UUID, tenant: str
    ) -> None:
        self._target = bare(table)
        self._table, self._fields = table, fields
        mine = rows_of(self._target, entity, table, subject_id)
        own = entity.mapper.columns.get(entity.tenant_key) if entity.tenant_key else None
        if own is not None and own.table is table:
            mine = mine & (self._target.c[own.name] == tenant)
        self._mine: ColumnElement[bool] = mine
        indexes = [index for field in fields for index in (*field.indexes, *field.compounds)]
        hidden = [index for index in indexes if index.field.column.table is table]
        self._indexes = [table.c[index.key].name for index in dict.fromkeys(hidden)]
        self._many = [index for index in hidden if index.kind.many]
        self._twins = [table.c[field.twin_key] for field in fields if field.twin is not None]

    def held(self, connection: Connection, marker: bytes | None = None) -> Held:
        """What is there now, values that are only an erased person's ``marker`` left out."""
        target, hollow = self._target, of_nothing(marker) if marker else b""
        counts: list[Any] = [sa.func.count()]
        for field in self._fields:
            column = target.c[field.column.name]
            there = sa.func.count(column)
            if hollow and not field.column.nullable:
                there = sa.func.count(sa.case((column != sa.literal(hollow), 1)))
            counts.append(there)
        counts += [sa.func.count(target.c[name]) for name in self._indexes]
        rows, *found = connection.execute(
            sa.select(*counts).select_from(target).where(self._mine)
        ).one()
        split = len(self._fields)
        return Held(
            self._table.name,
            tuple(field.label for field in self._fields),
            tuple(self._indexes),
            rows,
            sum(found[:split]),
            sum(found[split:]),
        )

    def empty(self, connection: Connection, key_id: bytes) -> None:
        """Take the values and terms out. What must not be NULL becomes an envelope of nothing,
        of the key ``key_id``, which opens it no more."""
        empty: dict[str, Any] = dict.fromkeys(self._indexes)
        for field in self._fields:
            column = field.column
            empty[column.name] = None if column.nullable else of_nothing(key_id)
        empty |= without_plaintext(connection, self._table, self._twins)
        connection.execute(sa.update(self._target).where(self._mine).values(empty))

    @property
    def has_plaintext(self) -> bool:
        """Whether there is more to be emptied than ``held`` counts."""
        return bool(self._twins)

    def forget_terms(self, connection: Connection) -> None:
        """Delete what these values are found by beside their table; before they are emptied."""
        for index in self._many:
            number = self._target.c[self._table.c[index.key].name]
            shared, numbers = table_of(index), sa.select(number).where(self._mine)
            connection.execute(sa.delete(shared).where(shared.c.value_number.in_(numbers)))


def without_plaintext(
    connection: Connection, table: Any, twins: Sequence[Any]
) -> dict[str, Any]:
    """What empties the plaintext columns of fields that are being migrated, where they are there.

    One that must not be NULL gets an empty value of its type.
    """
    if not twins:
        return {}
    seen = sa.inspect(connection).get_columns(table.name, schema=table.schema)
    nullable = {column["name"]: column["nullable"] for column in seen}
    return {
        column.name: None if nullable[column.name] else _nothing(column.type.plain.python_type)
        for column in twins
        if column.name in nullable
    }


def _nothing(kind: type) -> Any:
    if kind in (date, datetime):
        return kind(1, 1, 1)
    return kind() if kind in (str, bytes, int, float, bool, dict, list, Decimal) else ""


def holdings(
    known: Sequence[Entity],
    subject_id: UUID,
    tenant: str,
    wanted: Callable[[Field], bool] = lambda _: True,
) -> Iterator[Holding]:
    """The tables in which a person may have something, or something of the ``wanted`` fields."""
    for entity, table, fields in fields_by_table(known):
        some = [field for field in fields if wanted(field)]
        if some:
            yield Holding(entity, table, some, subject_id, tenant)
