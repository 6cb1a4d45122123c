"""Doing something to all stored data: one process at a time, and after those before it are done."""

from __future__ import annotations

import fcntl
import os
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

_OLDER = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND pid <> pg_backend_pid() AND xact_start <= :since AND backend_type = 'client backend'",
    "mysql": "SELECT count(*) FROM information_schema.innodb_trx "
    "WHERE trx_started <= :since AND trx_mysql_thread_id <> connection_id() AND "
    "trx_mysql_thread_id IN (SELECT id FROM information_schema.processlist WHERE db = database())",
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
    name = "mysql" if engine.dialect.name in tables.MYSQL else engine.dialect.name
    with engine.connect() as connection:
        if name not in _OLDER:  # SQLite: who gets the one write lock comes after all before it
            connection.execute(sa.delete(tables.kek).where(sa.false()))
            connection.rollback()
            return
        connection.execution_options(isolation_level="AUTOCOMMIT")
        now = "clock_timestamp()" if name == "postgresql" else "now()"
        since = connection.scalar(sa.text(f"SELECT {now}"))
        older, deadline = sa.text(_OLDER[name]), time.monotonic() + patience
        while connection.scalar(older, {"since": since}):
            if time.monotonic() > deadline:
                raise KeyUnavailable(
                    "a transaction that began before the keys were exchanged is still open",
                    hint="end it, then run the command again: it goes on where it stopped",
                )
            time.sleep(0.05)


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


def _busy() -> KeyUnavailable:
    return KeyUnavailable(
        "another process is exchanging keys",
        hint="let it finish, then run the command again; a killed one is gone on with",
    )
