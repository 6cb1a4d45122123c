"""The sealed columns beside the plaintext ones, and a subject for every row.

Whoever knows only the plaintext goes on as before: the new columns may be NULL, and rows that it
adds get a subject from the database. Run again after a kill, it adds what is lacking.
"""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from vaultlayer.errors import KeyUnavailable
from vaultlayer.keys.tables import MYSQL
from vaultlayer.lifecycle.models import bare, shared_tables
from vaultlayer.orm.entity import SUBJECT_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Column, Connection, Dialect, Engine, Table

    from vaultlayer.orm.entity import Entity
    from vaultlayer.orm.field import Field

_CHUNK = 1000
_TRIES = 40
_VERSION_4 = (  # RFC 9562: MariaDB's UUID type looks at the version
    "(concat(lower(hex(random_bytes(6))), '4', substr(lower(hex(random_bytes(2))), 2), "
    "'8', substr(lower(hex(random_bytes(8))), 2)))"
)
_RANDOM_ID = {
    "postgresql": "gen_random_uuid()",
    **dict.fromkeys(MYSQL, _VERSION_4),
}


def statements(
    dialect: Dialect,
    connection: Connection | None,
    entity: Entity,
    table: Table,
    fields: Sequence[Field],
) -> list[str]:
    """The SQL that is lacking: columns, what gives new rows a subject, and indexes.

    :param connection: to look what is there already; without one, all of it is lacking.
    """
    lacking = Lacking(dialect, connection)
    found: list[str] = []
    owner = subject_column(entity)
    if owner is not None:
        found += lacking.columns(owner.table, [owner])
        found += lacking.default(owner)
        found += lacking.index(owner, unique=True)
    hidden = [table.c[index.key] for field in fields for index in field.indexes]
    found += lacking.columns(table, [*(field.column for field in fields), *hidden])
    for column in hidden:
        found += lacking.index(column, unique=bool(column.unique))
    return found


def subject_column(entity: Entity) -> Column[Any] | None:
    """The column of the table that says whose its rows, and all that hang from them, are."""
    while entity.link is not None:
        entity = entity.link.parent
    column = entity.mapper.columns.get(SUBJECT_KEY)
    return column if isinstance(column, sa.Column) else None


def give_subjects(engine: Engine, column: Column[Any], tell: Callable[[int], None]) -> int:
    """Draw a random id for every row that has none; how many did."""
    target, given = bare(column.table), 0
    mine = target.c[column.name]
    keys = [target.c[key.name] for key in column.table.primary_key]
    same = [key == sa.bindparam(f"k{n}", type_=key.type) for n, key in enumerate(keys)]
    write = sa.update(target).where(*same, mine.is_(None))
    write = write.values({mine.name: sa.bindparam("drawn", type_=mine.type)})
    lacking = sa.select(*keys).where(mine.is_(None)).limit(_CHUNK)
    while True:
        with engine.begin() as connection:
            rows = connection.execute(lacking).all()
            drawn: list[dict[str, Any]] = [
                {**{f"k{n}": key for n, key in enumerate(row)}, "drawn": uuid.uuid4()}
                for row in rows
            ]
            if not rows:
                return given
            connection.execute(write, drawn)
        given += len(rows)
        tell(len(rows))


def create_terms(connection: Connection, entities: Sequence[Entity]) -> None:
    """The shared tables of terms that these entities' indexes use."""
    for table in shared_tables(entities, connection):
        table.create(connection, checkfirst=True)


def run(engine: Engine, statement: str) -> None:
    """One statement of DDL, which doesn't make others wait behind it for longer than a second."""
    for left in range(_TRIES, 0, -1):
        try:
            with engine.connect() as connection:
                connection.execution_options(isolation_level="AUTOCOMMIT")
                if connection.dialect.name == "postgresql":
                    connection.exec_driver_sql("SET lock_timeout = '1s'")
                elif connection.dialect.name in MYSQL:
                    connection.exec_driver_sql("SET SESSION lock_wait_timeout = 1")
                try:
                    connection.exec_driver_sql(statement)
                finally:
                    connection.invalidate()  # its settings go with it
                return
        except DBAPIError as error:
            if left == 1 or not _is_locked(error):
                code = str(_code(error))  # of SQLite a sentence
                told = f"{type(error).__name__} {code if len(code) <= 5 else ''}".rstrip()
                raise KeyUnavailable(
                    f"the table can't be changed now ({told})",
                    hint="look for long transactions that use it, then run the command again",
                ) from None
            time.sleep(0.25)


def _is_locked(error: DBAPIError) -> bool:
    """Whether it waited too long for a lock, or was chosen to end a deadlock."""
    code = _code(error)
    return code in ("55P03", "40P01", 1205, 1213) or "locked" in str(code)


def _code(error: DBAPIError) -> Any:
    return getattr(error.orig, "sqlstate", None) or (getattr(error.orig, "args", ()) or ("",))[0]


class Lacking:
    """What a database lacks of some columns, as SQL."""

    def __init__(self, dialect: Dialect, connection: Connection | None) -> None:
        self._dialect, self._quote = dialect, dialect.identifier_preparer
        self._connection = connection
        self._seen: Any = sa.inspect(connection) if connection is not None else None

    def columns(self, table: Any, columns: Sequence[Any]) -> Iterator[str]:
        """They may be NULL, whatever is declared."""
        there = {each["name"] for each in self._look("get_columns", table)}
        for column in columns:
            if column.name not in there:
                kind = column.type.compile(self._dialect)
                name = self._quote.format_column(column)
                yield f"ALTER TABLE {self._quote.format_table(table)} ADD COLUMN {name} {kind}"

    def default(self, column: Column[Any]) -> Iterator[str]:
        """What gives a subject to the rows of those who know of none."""
        table, name = self._quote.format_table(column.table), self._quote.format_column(column)
        drawn = _RANDOM_ID.get(self._dialect.name)
        if drawn is not None:
            yield f"ALTER TABLE {table} ALTER COLUMN {name} SET DEFAULT {drawn}"
            return
        trigger = self._quote.quote(f"vaultlayer_{column.table.name}_subject")
        yield (
            f"CREATE TRIGGER IF NOT EXISTS {trigger} AFTER INSERT ON {table} "
            f"WHEN NEW.{name} IS NULL BEGIN UPDATE {table} SET {name} = "
            "lower(hex(randomblob(16))) WHERE rowid = NEW.rowid; END"
        )

    def index(self, column: Any, *, unique: bool) -> Iterator[str]:
        table = column.table
        there = [each["column_names"] for each in self._look("get_indexes", table)]
        if unique:
            there += [each["column_names"] for each in self._look("get_unique_constraints", table)]
        name = self._quote.quote(f"{'uq' if unique else 'ix'}_{table.name}_{column.name}"[:60])
        half_made = self._is_half_made(name)
        if [column.name] in there and not half_made:
            return
        if half_made:
            yield f"DROP INDEX {name}"
        on = f"{self._quote.format_table(table)} ({self._quote.format_column(column)})"
        online = self._seen is not None and self._dialect.name == "postgresql"
        kind = "UNIQUE INDEX" if unique else "INDEX"
        yield f"CREATE {kind} {'CONCURRENTLY ' if online else ''}{name} ON {on}"

    def _look(self, what: str, table: Any) -> list[Any]:
        if self._seen is None:
            return []
        return list(getattr(self._seen, what)(table.name, schema=table.schema))

    def _is_half_made(self, name: str) -> bool:
        """Whether PostgreSQL was interrupted while it made the index."""
        if self._connection is None or self._dialect.name != "postgresql":
            return False
        asked = "SELECT NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)"
        return bool(self._connection.scalar(sa.text(asked), {"name": name}))
