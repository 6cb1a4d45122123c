"""Rewriting a table in place, while others use it: flat memory, resumable, no write lost.

Chunks of rows in the order of the primary key, one transaction a chunk. A row is written only if
the values that its new ones were made from are still there: every envelope has a nonce of its own,
so comparing that compares the envelope. Whoever wrote meanwhile wins, and the next pass sees it.
On a database server the next chunk is read and made while the last one is being written.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from vaultlayer.crypto.envelope import NONCE_BYTES
from vaultlayer.keys.tables import MYSQL
from vaultlayer.lifecycle.arrays import unnested
from vaultlayer.lifecycle.models import bare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import Column, Connection, Engine, Select, Table

CHUNK = 1000
NONCE = slice(19, 19 + NONCE_BYTES)  # of an envelope
NONCE_FROM = 20  # the same in SQL

Change = tuple[tuple[Any, ...], ...]


@dataclass(slots=True)
class Chunk:
    """What one transaction did: rows looked at, rows to change, and rows that were changed."""

    rows: int
    changes: int
    written: int


@dataclass(frozen=True, slots=True)
class Rewriting:
    """One table's columns to rewrite.

    ``query`` selects the primary key's columns first, then whatever ``change`` needs. ``change``
    gives for each row to change its primary key, what it goes by (the envelopes in the order of
    ``sealed``, then the plaintext in the order of ``plain``; each must be there still, NULL as
    NULL), and the new values (in the order of ``sealed``, then ``terms``; None: leave it).
    ``beside`` writes what belongs to these changes elsewhere, in the same transaction.
    ``makes_keys``: so does ``change``, in the transaction that it looks in.
    """

    engine: Engine
    table: Table
    query: Select[Any]
    keys: Sequence[Any]
    sealed: Sequence[Column[Any]]
    terms: Sequence[Column[Any]]
    change: Callable[[Connection, Sequence[Any]], list[Change]]
    beside: Callable[[Connection, list[Change]], None] | None = None
    plain: Sequence[Column[Any]] = ()
    makes_keys: bool = False

    def run(self, *, write: bool = True) -> Iterator[Chunk]:
        """Rewrite the table, chunk by chunk; ``write=False`` only looks what is to be done."""
        apart = self.engine.dialect.name != "sqlite"
        with ThreadPoolExecutor(1) as writer:
            waiting: tuple[int, int, Future[int]] | None = None
            for rows, changes in self._changes():
                if waiting is not None:
                    yield Chunk(waiting[0], waiting[1], waiting[2].result())
                    waiting = None
                if not write or not changes:
                    yield Chunk(rows, len(changes), 0)
                elif apart:
                    waiting = rows, len(changes), writer.submit(self._write, changes)
                else:
                    yield Chunk(rows, len(changes), self._write(changes))
            if waiting is not None:
                yield Chunk(waiting[0], waiting[1], waiting[2].result())

    def _changes(self) -> Iterator[tuple[int, list[Change]]]:
        last: tuple[Any, ...] | None = None
        ordered = self.query.order_by(*self.keys).limit(CHUNK)
        while True:
            with self._looking() as connection:
                rows = connection.execute(_after(ordered, self.keys, last)).all()
                changes = self.change(connection, rows) if rows else []
            if rows:
                last = tuple(rows[-1][: len(self.keys)])
                yield len(rows), changes
            if len(rows) < CHUNK:
                return

    def _looking(self) -> AbstractContextManager[Connection]:
        return writing(self.engine, self.table) if self.makes_keys else at_one_moment(self.engine)

    def _write(self, changes: list[Change]) -> int:
        """Store the new values of one chunk; how many rows took them.

        Who waits for a row may be what the row's holder waits for. So this side gives up first,
        tries the rows in small groups, and leaves what is locked to the next pass.
        """
        try:
            return self._write_all(changes)
        except DBAPIError:
            if len(changes) == 1:
                return 0
        half = len(changes) // 2
        return self._write(changes[:half]) + self._write(changes[half:])

    def _write_all(self, changes: list[Change]) -> int:
        with giving_way(self.engine) as connection:
            if connection.dialect.name in MYSQL:
                changes = self._unlocked(connection, changes)
            if not changes:
                return 0
            if self.beside is not None:
                self.beside(connection, changes)
            statement, parameters = self._statement(connection, changes)
            result = connection.execute(
                statement, parameters, execution_options={"preserve_rowcount": True}
            )
            return int(result.rowcount)

    def _unlocked(
        self, connection: Connection, changes: list[Change]
    ) -> list[Change]:
        """The rows that nobody else has locked, locked."""
        target = bare(self.table)
        keys = [target.c[column.name] for column in self.table.primary_key]
        wanted = [key for key, _, _ in changes]
        alone = len(keys) == 1
        among = keys[0].in_([k for (k,) in wanted]) if alone else sa.tuple_(*keys).in_(wanted)
        free = sa.select(*keys).where(among).with_for_update(skip_locked=True)
        got = {tuple(row) for row in connection.execute(free)}
        return [change for change in changes if tuple(change[0]) in got]

    def _statement(self, connection: Connection, changes: list[Change]) -> tuple[Any, Any]:
        target = bare(self.table)
        keys, plain, sealed, terms = (
            [target.c[column.name] for column in columns]
            for columns in (self.table.primary_key, self.plain, self.sealed, self.terms)
        )
        pks, olds, news = (list(zip(*each, strict=True)) for each in zip(*changes, strict=True))
        nonces = [[old and old[NONCE] for old in column] for column in olds[: len(sealed)]]
        given = _named("k", keys, pks) | _named("p", plain, olds[len(sealed) :])
        parameters: Any
        new: Any
        given |= _named("o", sealed, nonces) | _named("n", [*sealed, *terms], news)
        if connection.dialect.name == "postgresql":
            source, parameters = unnested(connection, given)
            new = source.c
        else:
            rows = zip(*(values for _, values in given.values()), strict=True)
            parameters = [dict(zip(given, row, strict=True)) for row in rows]
            new = {name: sa.bindparam(name, type_=kind) for name, (kind, _) in given.items()}
        met = [key == new[f"k{n}"] for n, key in enumerate(keys)]
        met += [
            column.is_not_distinct_from(new[f"p{n}"])
            for n, column in enumerate(plain)
            if not isinstance(column.type, sa.JSON)  # which PostgreSQL can't compare
        ]
        met += [
            sa.func.substr(column, NONCE_FROM, NONCE_BYTES).is_not_distinct_from(new[f"o{n}"])
            for n, column in enumerate(sealed)
        ]
        values = {
            column.name: sa.func.coalesce(new[f"n{n}"], column) if None in news[n] else new[f"n{n}"]
            for n, column in enumerate([*sealed, *terms])
        }
        return sa.update(target).where(*met).values(values), parameters


def _named(letter: str, columns: Sequence[Any], values: Sequence[Any]) -> dict[str, Any]:
    """Parameters: each column's type and values."""
    pairs = zip(columns, values, strict=True)
    return {f"{letter}{n}": (column.type, given) for n, (column, given) in enumerate(pairs)}


@contextmanager
def at_one_moment(engine: Engine) -> Iterator[Connection]:
    """A transaction whose statements all see the database as it was at the first."""
    with engine.connect() as connection:
        if connection.dialect.name != "sqlite":
            connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            raw: Any = connection.connection.dbapi_connection
            if connection.dialect.name == "sqlite" and not raw.in_transaction:
                connection.exec_driver_sql("BEGIN")  # Python's driver leaves it out for a SELECT
            yield connection


@contextmanager
def writing(engine: Engine, table: Table) -> Iterator[Connection]:
    """A transaction that writes; on SQLite it is the one writer before it looks."""
    with engine.begin() as connection:
        if connection.dialect.name == "sqlite":
            connection.execute(sa.delete(bare(table)).where(sa.false()))
        yield connection


@contextmanager
def giving_way(engine: Engine) -> Iterator[Connection]:
    """A transaction that fails where it would wait for others' locks, so that none waits for it.

    Of two that wait for each other the database ends one, and that could be the application's.
    """
    with engine.connect() as connection:
        name = connection.dialect.name
        if name == "postgresql":
            connection.execution_options(isolation_level="READ COMMITTED")
        with connection.begin():
            if name == "postgresql":  # well before its search for deadlocks, after a second
                connection.execute(sa.text("SET LOCAL lock_timeout = '200ms'"))
            elif name in MYSQL:
                connection.execute(sa.text("SET SESSION innodb_lock_wait_timeout = 0"))
            try:
                yield connection
            finally:
                if name in MYSQL:  # what waited and failed left the transaction open
                    connection.execute(sa.text("SET SESSION innodb_lock_wait_timeout = DEFAULT"))


def _after(query: Select[Any], keys: Sequence[Any], last: tuple[Any, ...] | None) -> Select[Any]:
    if last is None:
        return query
    return query.where(keys[0] > last[0] if len(keys) == 1 else sa.tuple_(*keys) > last)
