"""What the tests of this room share: the mapped classes, and a world of database and vault."""

from __future__ import annotations

import importlib
import secrets
import sys
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import StaticPool

from vaultlayer import Principal, Vault
from vaultlayer.keys import tables as key_tables
from vaultlayer.testing import audit_events

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from vaultlayer.acting import Access

HERE = Path(__file__).parent
POLICIES = HERE.parents[1] / "policies"

# Every personal value of this room has one of these in it.
MARKS = (b"geheim", b"1815-12-10", b"7946 0000", b"442079460000")

ROLES = {
    "service": "provide_service",
    "support": "customer_service",
    "support_lead": "customer_service",
    "nobody": "provide_service",
}


def _module(name: str) -> ModuleType:
    sys.path.insert(0, str(HERE))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(HERE))


@pytest.fixture(scope="session")
def m() -> ModuleType:
    """The mapped classes."""
    return _module("models")


@pytest.fixture(scope="session")
def cases() -> dict[str, Any]:
    """The functions of the matrix, by name."""
    modules = [_module(path.stem) for path in sorted(HERE.glob("cases_*.py"))]
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if getattr(value, "__module__", "") == module.__name__ and not name.startswith("_")
    }


class World:
    """A database, a vault, a session factory it is attached to, and all that was sent."""

    def __init__(self, engine: Engine, vault: Vault, models: ModuleType) -> None:
        self.engine = engine
        self.vault = vault
        self.m = models
        self.Session = sessionmaker(engine)
        self.sent: list[tuple[str, Any]] = []
        self._opened: list[Session] = []
        vault.attach(self.Session)
        event.listen(engine, "before_cursor_execute", self._note)

    def fresh(self) -> Session:
        """A session that has loaded nothing yet; closed with the world."""
        self._opened.append(self.Session())
        return self._opened[-1]

    def close(self) -> None:
        for session in self._opened:
            session.close()
        event.remove(self.engine, "before_cursor_execute", self._note)
        self.vault.close()

    def access(self, role: str = "service", tenant: str | None = None, **options: Any) -> Access:
        principal = Principal(f"a {role}", roles=[role], tenant=tenant)
        return self.vault.access(principal, purpose=ROLES[role], **options)

    @contextmanager
    def acting(self, role: str = "service", **options: Any) -> Iterator[Session]:
        with self.Session() as session, self.access(role, **options):
            yield session

    def populate(self) -> None:
        """Ada (1) with two invoices and a line, Grace (2) with a visit; a setting."""
        m = self.m
        with self.acting() as session:
            ada = m.Customer(
                name="Ada Geheim", email="ada@geheim.example", phone="+44 20 7946 0000",
                born=date(1815, 12, 10), nickname="geheim", letter="Dear geheim",
            )  # fmt: skip
            first = m.Invoice(customer=ada, address="12 Geheim St")
            first.lines = [m.InvoiceLine(remark="geheim remark")]
            session.add_all([ada, first, m.Invoice(customer=ada, address=None)])
            session.flush()
            grace = m.Customer(name="Grace Geheim", email="grace@geheim.example")
            session.add(grace)
            session.flush()
            session.add(m.Visit(visitor=grace.id, page="/geheim"))
            session.add(m.Setting(name="theme", value="geheim theme"))
            session.commit()

    def events(self) -> list[dict[str, Any]]:
        """The audit log of the accesses that have ended."""
        return audit_events(self.vault)

    def decided(self) -> int:
        """How many reads, writes and searches the log says were allowed."""
        allowed = [each for each in self.events() if each.get("decision") == "allow"]
        return sum(each["count"] for each in allowed)

    def assert_sealed(self) -> None:
        """Nothing personal in the database, in what was sent to it, in journal or log."""
        for where, data in self._bytes():
            for mark in MARKS:
                assert mark not in data.lower(), f"{mark!r} in {where}"

    def _bytes(self) -> Iterator[tuple[str, bytes]]:
        for statement, parameters in self.sent:
            yield statement, statement.encode() + _flat(parameters)
        for file in self.vault.settings.audit_directory.rglob("*"):
            with suppress(FileNotFoundError):  # a checkpoint being put into its place
                if file.is_file():
                    yield file.name, file.read_bytes()
        with self.engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                yield "the database", connection.connection.driver_connection.serialize()
            for table in self.m.metadata.sorted_tables:
                for row in connection.execute(text(f"SELECT * FROM {table.name}")):
                    yield table.name, _flat(tuple(row))

    def _note(self, *event: Any) -> None:
        _, _, statement, parameters, _, _ = event
        self.sent.append((statement, parameters))


def _flat(value: Any) -> bytes:
    if isinstance(value, dict):
        return _flat(list(value.values()))
    if isinstance(value, list | tuple):
        return b"|".join(map(_flat, value))
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    return str(value).encode()


@pytest.fixture(scope="module")
def _postgres(postgres_url: str) -> Iterator[Engine]:
    """One PostgreSQL database for the file; ``world`` empties it."""
    name = f"vaultlayer_orm_{secrets.token_hex(4)}"
    name = f"vaultlayer_orm_{secrets.token_hex(6)}"
    server = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine = create_engine(make_url(postgres_url).set(database=name))
    yield engine
    engine.dispose()
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


@pytest.fixture
def vault() -> Iterator[Vault]:
    with Vault.ephemeral(policies=POLICIES) as vault:
        yield vault


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, vault: Vault, m: ModuleType) -> Iterator[World]:
    """A populated world on each database."""
    if request.param == "sqlite":
        engine = create_engine("sqlite://", poolclass=StaticPool)
    else:
        engine = request.getfixturevalue("_postgres")
        _empty(engine)
    vault.create_tables(engine)
    m.metadata.create_all(engine)
    world = World(engine, vault, m)
    world.populate()
    yield world
    world.close()
    if request.param == "sqlite":
        engine.dispose()


def _empty(engine: Engine) -> None:
    names = [*_module("models").metadata.tables, *key_tables.metadata.tables]
    with engine.begin() as connection:
        tables = text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        there = connection.execute(tables)
        known = [name for name, in there if name in names]
        if known:
            connection.execute(text(f"TRUNCATE {', '.join(known)} RESTART IDENTITY CASCADE"))
