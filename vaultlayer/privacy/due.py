"""One table's fields that are kept equally long: what is past it, and taking it out in chunks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from vaultlayer.access.grants import NO_REF
from vaultlayer.crypto.envelope import of_nothing
from vaultlayer.lifecycle.emptying import NOBODYS, without_plaintext
from vaultlayer.lifecycle.models import bare, rows_of
from vaultlayer.search.terms import table_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from uuid import UUID

    from sqlalchemy import Connection

    from vaultlayer.acting import Access
    from vaultlayer.orm.field import Field
    from vaultlayer.vault import Vault

CHUNK = 1000  # rows


@dataclass(frozen=True, slots=True)
class Swept:
    """One table's fields that are kept equally long: ``values`` past ``before`` in ``rows``."""

    table: str
    fields: tuple[str, ...]
    retention: str
    before: date
    rows: int
    values: int


class Due:
    """One table's fields of one retention."""

    def __init__(
        self, table: Any, collected: Any, fields: Sequence[Field], retention: str, day: date
    ) -> None:
        self._table, self._fields = table, fields
        self._retention, self._before = retention, day
        self._target = bare(table)
        self._keys = [self._target.c[key.name] for key in table.primary_key]
        moment = day
        if isinstance(collected.type, sa.DateTime):
            zone = UTC if collected.type.timezone else None
            moment = datetime(day.year, day.month, day.day, tzinfo=zone)
        self._old = self._target.c[collected.name] < sa.literal(moment, collected.type)
        indexes = [index for field in fields for index in (*field.indexes, *field.compounds)]
        self._indexes = [
            index for index in dict.fromkeys(indexes) if index.field.column.table is table
        ]

    def leave(self, entity: Any, people: list[UUID]) -> None:
        """Leave the rows of some people alone."""
        theirs = rows_of(self._target, entity, self._table, people)
        self._old = sa.and_(self._old, sa.case((theirs, 1), else_=0) == 0)

    def _authorize(self, access: Access) -> None:
        for field in self._fields:
            grant = access.confirm(access.grant(field, "erase"))
            access.journal.append(grant.prefix, NO_REF)

    def run(
        self,
        vault: Vault,
        access: Access,
        dry_run: bool,
        progress: Callable[[str, int], None],
    ) -> Swept:
        rows = values = 0
        for keys, there in self._chunks(vault):
            if not dry_run and not rows:
                self._authorize(access)
            rows, values = rows + len(keys), values + there
            if not dry_run:
                with vault.databases.transaction() as connection:
                    self._empty(connection, keys)
                    access.record(
                        "fields_expired", entity=self._table.name, values=there, rows=len(keys),
                        fields=[field.label for field in self._fields],
                        retention=self._retention, before=self._before.isoformat(),
                    )  # fmt: skip
            progress(self._table.name, len(keys))
        names = tuple(field.label for field in self._fields)
        return Swept(self._table.name, names, self._retention, self._before, rows, values)

    def _chunks(self, vault: Vault) -> Iterator[tuple[list[tuple[Any, ...]], int]]:
        """The primary keys of rows that still hold something due, and how many values."""
        nothing = sa.literal(of_nothing(NOBODYS))
        columns = [self._target.c[field.column.name] for field in self._fields]
        holds = [
            column.is_not(None) if field.column.nullable else column != nothing
            for field, column in zip(self._fields, columns, strict=True)
        ]
        counted: Any = sum((sa.case((each, 1), else_=0) for each in holds), sa.literal(0))
        asked = sa.select(*self._keys, counted).where(self._old, sa.or_(*holds))
        ordered, last = asked.order_by(*self._keys).limit(CHUNK), None
        while True:
            after = ordered if last is None else ordered.where(_after(self._keys, last))
            with vault.databases.transaction() as connection:
                found = connection.execute(after).all()
            if found:
                last = tuple(found[-1][:-1])
                yield [tuple(row[:-1]) for row in found], sum(row[-1] for row in found)
            if len(found) < CHUNK:
                return

    def _empty(self, connection: Connection, keys: list[tuple[Any, ...]]) -> None:
        where = sa.and_(self._old, _among(self._keys, keys))
        for index in self._indexes:
            if index.kind.many:
                number = self._target.c[self._table.c[index.key].name]
                shared, numbers = table_of(index), sa.select(number).where(where)
                connection.execute(sa.delete(shared).where(shared.c.value_number.in_(numbers)))
        empty: dict[str, Any] = {self._table.c[index.key].name: None for index in self._indexes}
        for field in self._fields:
            nothing = None if field.column.nullable else of_nothing(NOBODYS)
            empty[field.column.name] = nothing
        twins = [self._table.c[f.twin_key] for f in self._fields if f.twin is not None]
        empty |= without_plaintext(connection, self._table, twins)
        connection.execute(sa.update(self._target).where(where).values(empty))


def _after(keys: Sequence[Any], last: tuple[Any, ...]) -> Any:
    """Rows behind the last one seen, in the order of a primary key of one or several columns."""
    conditions = []
    for place, key in enumerate(keys):
        same = [k == value for k, value in zip(keys[:place], last, strict=False)]
        conditions.append(sa.and_(*same, key > last[place]))
    return sa.or_(*conditions)


def _among(keys: Sequence[Any], rows: list[tuple[Any, ...]]) -> Any:
    if len(keys) == 1:
        return keys[0].in_([row[0] for row in rows])
    return sa.tuple_(*keys).in_(rows)
