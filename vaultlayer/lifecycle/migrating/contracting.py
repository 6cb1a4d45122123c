"""The plaintext column dropped, and scrubbed out of the files; what can't be reached is told."""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from vaultlayer.errors import ConfigurationError, KeyUnavailable
from vaultlayer.keys import tables
from vaultlayer.lifecycle.migrating.expanding import run
from vaultlayer.lifecycle.models import bare

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection, Engine, Table

_TRIES = 40
_ELSEWHERE = {
    "sqlite": "copies of the file, and freed blocks of the disk under it",
    "postgresql": "replicas until they have replayed this, and archived WAL segments",
    "mysql": "replicas until they have replayed this, and binary logs (expire_logs_days)",
}


def name_of(engine: Engine) -> str:
    return "mysql" if engine.dialect.name in tables.MYSQL else engine.dialect.name


def there(connection: Connection, table: Table, names: Sequence[str]) -> list[str]:
    """Which of these columns the database has."""
    found = sa.inspect(connection).get_columns(table.name, schema=table.schema)
    known = {column["name"] for column in found}
    return [name for name in names if name in known]


def refuse_kept(connection: Connection, table: Table, names: Sequence[str]) -> None:
    """SQLite can't drop a column that a constraint of its table names."""
    if connection.dialect.name != "sqlite":
        return
    seen = sa.inspect(connection)
    keys = [seen.get_pk_constraint(table.name)["constrained_columns"]]
    keys += [each["column_names"] for each in seen.get_unique_constraints(table.name)]
    keys += [each["constrained_columns"] for each in seen.get_foreign_keys(table.name)]
    held = sorted({name for key in keys for name in key} & set(names))
    if held:
        raise ConfigurationError(
            f"{table.name}.{', '.join(held)} can't be dropped: a constraint of the table names it",
            hint="make the table anew without the constraint first, e.g. with Alembic's "
            "batch_alter_table",
        )


def relax(engine: Engine, table: Table, names: Sequence[str]) -> None:
    """Let rows be inserted without the plaintext, where the database can be told so."""
    with engine.connect() as connection:
        quote = connection.dialect.identifier_preparer
        columns = sa.inspect(connection).get_columns(table.name, schema=table.schema)
        where = quote.format_table(table)
        for each in columns:
            if each["name"] not in names or each["nullable"]:
                continue
            column = quote.quote(each["name"])
            if connection.dialect.name == "postgresql":
                run(engine, f"ALTER TABLE {where} ALTER COLUMN {column} DROP NOT NULL")
            elif connection.dialect.name in tables.MYSQL:
                kind = each["type"].compile(connection.dialect)  # with its character set
                run(engine, f"ALTER TABLE {where} MODIFY {column} {kind} NULL")


@contextmanager
def dropped(engine: Engine, table: Table, names: Sequence[str]) -> Iterator[Connection]:
    """Drop the columns; where DDL is transactional, in one transaction with what the body does."""
    quote = engine.dialect.identifier_preparer
    where = quote.format_table(table)
    drops = [f"ALTER TABLE {where} DROP COLUMN {quote.quote(name)}" for name in names]
    if name_of(engine) == "mysql":
        for statement in drops:
            run(engine, statement)
        with engine.begin() as connection:
            yield connection
        return
    try:
        with engine.connect() as connection:
            if engine.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA secure_delete = ON")
                connection.commit()
            with connection.begin():
                if engine.dialect.name == "sqlite":
                    connection.execute(sa.delete(bare(table)).where(sa.false()))  # the write lock
                    for index in _indexes(connection, table, names):
                        connection.exec_driver_sql(f"DROP INDEX {quote.quote(index)}")
                else:
                    connection.exec_driver_sql("SET LOCAL lock_timeout = '10s'")
                for statement in drops:
                    connection.exec_driver_sql(statement)
                yield connection
    except SQLAlchemyError as error:
        raise KeyUnavailable(
            f"the plaintext columns of {table.name} can't be dropped ({type(error).__name__})",
            hint="`vaultlayer scan` names views and triggers that use them; else look for long "
            "transactions, and run the command again",
        ) from None


def _indexes(connection: Connection, table: Table, names: Sequence[str]) -> list[str]:
    found = sa.inspect(connection).get_indexes(table.name, schema=table.schema)
    return [each["name"] for each in found if each["name"] and {*each["column_names"]} & {*names}]


def scrub(engine: Engine, table: Table) -> bool:
    """Rewrite what the dropped columns lay in; whether that was all the database's files."""
    where = engine.dialect.identifier_preparer.format_table(table)
    if engine.dialect.name == "postgresql":
        run(engine, f"VACUUM FULL {where}")
        return True
    if name_of(engine) == "mysql":
        run(engine, f"ALTER TABLE {where} FORCE")
        return True
    with engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.exec_driver_sql("PRAGMA secure_delete = ON")
        for _ in range(_TRIES):
            try:
                connection.exec_driver_sql("VACUUM")
                told: Any = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
                if not told[0]:
                    return True
            except SQLAlchemyError:
                pass  # somebody reads or writes
            time.sleep(0.25)
    return False


def elsewhere(engine: Engine, backup_days: int) -> str:
    """What still holds the plaintext, and until when."""
    until = datetime.now(UTC) + timedelta(backup_days)
    return (
        f"backups made before now hold the plaintext until {until:%Y-%m-%d} ([keys] backup_days); "
        f"so do {_ELSEWHERE[name_of(engine)]}: delete those yourself"
    )
