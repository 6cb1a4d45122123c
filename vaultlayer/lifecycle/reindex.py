"""The terms of stored rows made anew: those in hidden columns, and those in the shared table.

A value's terms in the shared table go under a new number, inserted in the transaction that puts the
number into the row. Who wrote meanwhile wins, and then nothing leads to them; ``purge`` takes out
what nothing leads to, be it from a lost race, a row deleted behind SQLAlchemy's back, or an index
that is declared no more.
"""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from vaultlayer.lifecycle.models import bare
from vaultlayer.lifecycle.rewrite import at_one_moment, giving_way
from vaultlayer.search.blind_index import together
from vaultlayer.search.buckets import Compound
from vaultlayer.search.terms import draw_number, insert_terms, table_of, term_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection, Engine, Table

    from vaultlayer.orm.field import Field
    from vaultlayer.search.blind_index import Index
    from vaultlayer.vault import Vault

_BATCH = 500
_ATTEMPTS, _PAUSE = 100, 0.1  # seconds; somebody may hold a lock beside what is to be deleted


class Reindexing:
    """The indexes of one table's fields."""

    def __init__(self, vault: Vault, indexes: Sequence[Index]) -> None:
        self._vault, self.indexes = vault, indexes
        self._stored: dict[bytes, set[bytes]] = {}
        self._fresh: dict[bytes, list[dict[str, Any]]] = {}
        self._former: dict[bytes, list[dict[str, Any]]] = {}

    def look(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
        """Bring in what the shared table has for a chunk; ``rows`` are its hidden columns."""
        self._stored = {}
        self._former, self._fresh = self._fresh, {}  # the chunk before is still being written
        for place, index in enumerate(self.indexes):
            if index.kind.many:
                terms = table_of(index).c
                numbers = [bytes(row[place]) for row in rows if row[place] is not None]
                for start in range(0, len(numbers), _BATCH):
                    among = terms.value_number.in_(numbers[start : start + _BATCH])
                    for number, term in connection.execute(
                        sa.select(terms.value_number, terms.term).where(among)
                    ):
                        self._stored.setdefault(bytes(number), set()).add(bytes(term))

    def fresh(
        self, connection: Connection, tenant: str, subject: bytes, index: Index, hidden: Any,
        values: Mapping[Field, bytes | None],
    ) -> bytes | None:  # fmt: skip
        """What the hidden column is to hold instead; None where it is right already."""
        data = values[index.field]
        if isinstance(index.kind, Compound):
            by_key = {field.key: (field, each) for field, each in values.items()}
            payloads = together(index, by_key) or []
        else:
            payloads = index.stored(data) if data is not None else []
        field = index.field
        keys = self._vault.keys.index_keys(
            connection, tenant, field.entity, field.name, index.name
        )
        terms = index.terms(keys[0], payloads)
        if not index.kind.many:
            return terms[0] if terms and terms[0] != hidden else None
        if hidden is not None and self._stored.get(bytes(hidden), set()) == set(terms):
            return None
        number = draw_number()
        self._fresh[number] = term_rows(index, tenant, subject, number, terms)
        return number

    def beside(self, connection: Connection, changes: Iterable[tuple[Any, ...]]) -> None:
        """Insert the terms of rows about to be written, in the same transaction."""
        by_table: dict[Table, list[dict[str, Any]]] = defaultdict(list)
        many = [index for index in self.indexes if index.kind.many]
        for _, _, news in changes:
            for index, new in zip(self.indexes, news[len(news) - len(self.indexes) :], strict=True):
                if index in many and new is not None:
                    rows = self._fresh.get(new) or self._former.get(new) or []
                    by_table[table_of(index)] += rows
        for table, rows in by_table.items():
            insert_terms(connection, table, rows)


def purge(engine: Engine, indexes: Iterable[Index], tables: Iterable[Table]) -> None:
    """Delete the terms that no row leads to, and those of no index that is declared.

    They are looked for without locks and deleted a few at a time: what nothing leads to now,
    nothing ever will.
    """
    many = [index for index in indexes if index.kind.many]
    for table in tables:
        gone: list[Any] = [table.c.index_number.not_in([index.number for index in many])]
        for index in many:
            if table_of(index) is table:
                target = bare(index.field.column.table)
                hidden = target.c[index.field.column.table.c[index.key].name]
                kept = sa.exists().where(hidden == table.c.value_number)
                gone.append(sa.and_(table.c.index_number == index.number, ~kept))
        _delete(engine, table, sa.or_(*gone))


def _delete(engine: Engine, table: Table, condition: Any) -> None:
    number = table.c.value_number
    order = sa.select(number).where(condition).distinct().order_by(number).limit(_BATCH)
    last = b""
    while True:
        with at_one_moment(engine) as connection:
            numbers = list(connection.scalars(order.where(number > last)))
        if not numbers:
            return
        for attempt in range(_ATTEMPTS):
            try:
                with giving_way(engine) as connection:
                    connection.execute(sa.delete(table).where(number.in_(numbers)))
                break
            except DBAPIError:
                if attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(_PAUSE)
        last = numbers[-1]
