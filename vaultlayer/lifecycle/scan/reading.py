"""Reading a schema and a sample of it, by statements that only read.

A sample is cheap on a table of any size: some rows from ten places along the primary key, or,
where that is no number, a TABLESAMPLE on PostgreSQL, and the first rows elsewhere.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SAWarning, SQLAlchemyError

from vaultlayer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Connection, Engine, Table

SAMPLE = 500  # rows of a table
LONGEST = 4000  # characters of a value
_FIRST = 16  # bytes of a binary value
_PLACES = 10
_OWN = "vaultlayer_"
_SYSTEM = ("information_schema", "pg_catalog", "mysql", "performance_schema", "sys")


@dataclass(slots=True)
class Read:
    """The tables of a schema, and sampled values by table and column (never shown: no repr)."""

    tables: list[Table]
    values: dict[Table, dict[str, list[Any]]] = field(default_factory=dict, repr=False)
    unreadable: list[str] = field(default_factory=list)  # tables, and why


def engine_for(url: str) -> Engine:
    """An engine that doesn't write: a SQLite file is opened read-only, and never made."""
    parsed = make_url(url)
    if parsed.get_dialect().is_async:
        raise ConfigurationError(
            f"{parsed.drivername} is a driver for asyncio, and this command uses none",
            hint="name the plain driver, e.g. postgresql+psycopg, mysql+pymysql or sqlite",
        )
    name = parsed.database or ""
    if parsed.get_backend_name() == "sqlite" and name and not name.startswith("file:"):
        file = Path(name)
        if not file.is_file():
            raise ConfigurationError(
                f"there is no SQLite file {file}", hint="name it as in sqlite:///app.db"
            )
        parsed = parsed.set(
            database=f"{file.absolute().as_uri()}", query={"mode": "ro", "uri": "true"}
        )
    return sa.create_engine(parsed, hide_parameters=True)


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection whose transaction the database keeps from writing."""
    with engine.connect() as connection:
        name = connection.dialect.name
        if name == "sqlite":
            driver: Any = connection.connection.driver_connection
            driver.text_factory = lambda data: data.decode("utf-8", "replace")
            connection.exec_driver_sql("PRAGMA query_only = ON")
        elif name == "postgresql":
            connection.execution_options(postgresql_readonly=True)
        elif name in ("mysql", "mariadb"):
            connection.exec_driver_sql("SET SESSION TRANSACTION READ ONLY")
            connection.commit()
        yield connection


def read_database(
    engine: Engine,
    tables: Sequence[Table] | None = None,
    *,
    sample: int = SAMPLE,
    told: Callable[[int, int], None] | None = None,
) -> Read:
    """Reflect all tables (or take ``tables``) and sample ``sample`` rows of each."""
    with reading(engine) as connection:
        found = Read(list(tables) if tables is not None else reflected(connection))
        there = sa.inspect(connection)
        for number, table in enumerate(found.tables, 1):
            if sample and (tables is None or there.has_table(table.name, schema=table.schema)):
                _sample_into(found, connection, table, sample)
            if told is not None:
                told(number, len(found.tables))
    return found


def reflected(connection: Connection) -> list[Table]:
    """The tables of all schemas but the system's and the vault's own ones, by name."""
    inspector, metadata = sa.inspect(connection), sa.MetaData()
    default = inspector.default_schema_name
    schemas: list[str | None] = [None]
    if connection.dialect.name == "postgresql":
        named = inspector.get_schema_names()
        schemas += [name for name in named if name not in (*_SYSTEM, default)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SAWarning)  # of types and indexes it doesn't know
        for schema in schemas:
            metadata.reflect(connection, schema=schema, resolve_fks=False)
    tables = [table for table in metadata.tables.values() if not table.name.startswith(_OWN)]
    return sorted(tables, key=lambda table: table.fullname)


def _sample_into(found: Read, connection: Connection, table: Table, sample: int) -> None:
    try:
        with connection.begin() if not connection.in_transaction() else connection.begin_nested():
            rows = _rows(connection, table, sample)
    except (SQLAlchemyError, UnicodeError) as error:
        found.unreadable.append(f"{table.fullname} ({type(error).__name__})")
        return
    names = [column.name for column in table.columns]
    columns = zip(*rows, strict=True) if rows else ([] for _ in names)
    found.values[table] = {
        name: [bytes(each) if isinstance(each, memoryview) else each for each in values]
        for name, values in zip(names, columns, strict=True)
    }


def _rows(connection: Connection, table: Table, sample: int) -> list[Any]:
    query = sa.select(*map(_short, table.columns)).select_from(table)
    key = _number_key(table)
    if key is not None:
        lowest, highest = connection.execute(sa.select(sa.func.min(key), sa.func.max(key))).one()
        if lowest is None:
            return []
        if highest - lowest > 2 * sample:
            step, some = (highest - lowest) // _PLACES, -(-sample // _PLACES)
            return [
                row
                for place in range(_PLACES)
                for row in connection.execute(
                    query.where(key >= lowest + place * step).order_by(key).limit(some)
                )
            ]
    elif connection.dialect.name == "postgresql":
        many = _estimated(connection, table)
        if many > 20 * sample:
            scattered = table.tablesample(sa.func.system(400.0 * sample / many))
            query = sa.select(*[_short(scattered.c[column.key]) for column in table.columns])
    return list(connection.execute(query.limit(sample)).all())


def _short(column: Any) -> Any:
    """A value as text, cut where it is long; the first bytes of a binary one."""
    if isinstance(column.type, sa.types._Binary):
        bare = sa.type_coerce(column, sa.LargeBinary())
        return sa.func.substr(bare, 1, _FIRST, type_=sa.LargeBinary()).label(column.key)
    return sa.func.substr(sa.cast(column, sa.Text()), 1, LONGEST, type_=sa.Text()).label(column.key)


def _number_key(table: Table) -> Any:
    """The primary key where it is one whole number."""
    key = list(table.primary_key)
    if len(key) == 1 and isinstance(key[0].type, sa.Integer):
        return key[0]
    return None


def _estimated(connection: Connection, table: Table) -> int:
    """PostgreSQL's own guess at a table's rows; 0 for what can't be sampled, such as a view."""
    name = connection.dialect.identifier_preparer.format_table(table)
    asked = sa.text(
        "SELECT reltuples FROM pg_class WHERE oid = to_regclass(:name) AND relkind IN ('r', 'm')"
    )
    return int(connection.execute(asked, {"name": name}).scalar() or 0)
