"""Doing something to all stored data: one process at a time, and after those before it are done."""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from vaultlayer.audit.files import folder
from vaultlayer.errors import KeyUnavailable
from vaultlayer.keys import tables

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection, Engine

_NUMBER = 0x7661756C746C61  # "vaultla": PostgreSQL names its advisory locks by numbers
_NAME = sa.func.sha1(sa.func.concat("vaultlayer rotation of ", sa.func.database()))  # a server's
PATIENCE = 30.0  # seconds for older transactions to end

_PAUSE = 0.15  # seconds between two looks: MySQL tells nothing new within 0.1

_OPEN = {  # connection, when its transaction began, whether it is of now
    "postgresql": "SELECT pid, xact_start, true FROM pg_stat_activity "
    "WHERE datname = current_database() AND xact_start IS NOT NULL "
    "AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
    "mysql": "SELECT trx_mysql_thread_id, trx_started, locate('{mark}', trx_query) "
    "FROM information_schema.innodb_trx WHERE trx_mysql_thread_id IN "
    "(SELECT id FROM information_schema.processlist WHERE db = database())",
}


@contextmanager
def alone(engine: Engine, directory: Path) -> Iterator[None]:
    """Hold the one lease for exchanging keys; KeyUnavailable when another process has it.

    A lock of the operating system on a file beside the audit log, and one of the database where
    there is a server: both end with the process, however it ends.
    """
    folder(directory, "log")
    descriptor = os.open(directory / "rotation.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _busy() from None
        with engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            if not _locked(connection):
                raise _busy()
            try:
                yield
            finally:
                _unlock(connection)
    finally:
        os.close(descriptor)


def quiet(engine: Engine, patience: float = PATIENCE) -> None:
    """Return when every transaction that began before this call has ended.

    What such a transaction writes can still follow what it read before keys changed; after this
    nothing does. KeyUnavailable when one goes on for longer than ``patience`` seconds.
    """
    with engine.connect() as connection:
        if connection.dialect.name == "sqlite":  # who gets the one write lock comes after all
            for name in sa.inspect(connection).get_table_names()[:1]:  # keys may live elsewhere
                connection.execute(sa.delete(sa.table(name)).where(sa.false()))
            connection.rollback()
            return
        connection.execution_options(isolation_level="AUTOCOMMIT")
        older, deadline = None, time.monotonic() + patience
        while True:
            now = _transactions(connection)
            if now is not None:
                older = now if older is None else older & now
                if not older:
                    return
            if time.monotonic() > deadline:
                raise _still_open()
            time.sleep(_PAUSE)


def _transactions(connection: Connection) -> set[tuple[Any, Any]] | None:
    """The others that are open; None where the database can't tell of now.

    InnoDB tells from a picture that all who ask share, taken when nobody had asked for 0.1 s. One
    with this very query in it is of now.
    """
    if connection.dialect.name == "postgresql":
        return {(row[0], row[1]) for row in connection.execute(sa.text(_OPEN["postgresql"]))}
    query = sa.text(_OPEN["mysql"].format(mark=secrets.token_hex(8)))
    connection.execute(sa.text("START TRANSACTION WITH CONSISTENT SNAPSHOT"))
    rows = connection.execute(query).all()
    connection.execute(sa.text("COMMIT"))
    mine = {row[0] for row in rows if row[2]}
    return {(row[0], row[1]) for row in rows if row[0] not in mine} if mine else None


def _locked(connection: Connection) -> bool:
    if connection.dialect.name == "postgresql":
        return bool(connection.scalar(sa.select(sa.func.pg_try_advisory_lock(_NUMBER))))
    if connection.dialect.name in tables.MYSQL:
        return connection.scalar(sa.select(sa.func.get_lock(_NAME, 0))) == 1
    return True


def _unlock(connection: Connection) -> None:
    unlock: Any = None
    if connection.dialect.name == "postgresql":
        unlock = sa.func.pg_advisory_unlock(_NUMBER)
    elif connection.dialect.name in tables.MYSQL:
        unlock = sa.func.release_lock(_NAME)
    if unlock is not None:
        connection.scalar(sa.select(unlock))


def _still_open() -> KeyUnavailable:
    return KeyUnavailable(
        "a transaction that began before the keys were exchanged is still open",
        hint="end it, then run the command again: it goes on where it stopped",
    )


def _busy() -> KeyUnavailable:
    return KeyUnavailable(
        "another process is exchanging keys",
        hint="let it finish, then run the command again; a killed one is gone on with",
    )
