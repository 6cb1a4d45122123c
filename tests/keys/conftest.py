"""What the tests of this room share: databases, a clock to turn, a provider that counts."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Connection, Engine, create_engine, event

from vaultlayer.keys import tables
from vaultlayer.keys.keyring import Keys
from vaultlayer.keys.provider import MemoryProvider

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class CountingProvider:
    """A provider in memory that counts its calls and fails when told to."""

    name = "memory:test"

    def __init__(self) -> None:
        self.inner = MemoryProvider(name=self.name)
        self.calls: list[str] = []
        self.failure: Exception | None = None
        self.seen: list[bytes] = []
        self.pause = threading.Event()
        self.pause.set()

    def wrap(self, plaintext: bytes, aad: bytes) -> bytes:
        self._called("wrap", plaintext)
        return self.inner.wrap(plaintext, aad)

    def unwrap(self, blob: bytes, aad: bytes) -> bytes:
        self._called("unwrap", blob)
        return self.inner.unwrap(blob, aad)

    def _called(self, step: str, given: bytes) -> None:
        self.pause.wait(10)
        self.calls.append(step)
        self.seen.append(given)
        if self.failure is not None:
            raise self.failure


class World:
    """One database, one provider, any number of processes (``Keys``)."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.provider = CountingProvider()
        self.clock = Clock()
        self.keys = self.process()
        tables.metadata.create_all(engine)

    def process(self, **settings: object) -> Keys:
        return Keys(self.provider, clock=self.clock, **settings)  # type: ignore[arg-type]

    def begin(self):  # type: ignore[no-untyped-def]
        return self.engine.begin()

    def new(self, count: int = 1, tenant: str = "") -> list[bytes]:
        """Key ids of new subjects, committed."""
        with self.engine.begin() as connection:
            made = self.keys.active(connection, tenant, [os.urandom(16) for _ in range(count)])
        return [key.key_id for key in made.values()]

    def cold(self, key_ids: list[bytes], connection: Connection | None = None):  # type: ignore[no-untyped-def]
        """What another process fetches."""
        if connection is not None:
            return self.process().fetch(connection, key_ids)
        with self.engine.connect() as fresh:
            return self.process().fetch(fresh, key_ids)

    def statements(self) -> list[str]:
        """A list that grows with every statement from now on."""
        seen: list[str] = []

        def note(_c, _cursor, statement, *_):  # type: ignore[no-untyped-def]
            seen.append(statement)

        event.listen(self.engine, "before_cursor_execute", note)
        return seen


@pytest.fixture
def sqlite_engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path}/keys.db")
    event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous = OFF"))
    yield engine
    engine.dispose()


@pytest.fixture
def world(sqlite_engine: Engine) -> World:
    return World(sqlite_engine)


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def any_world(request: pytest.FixtureRequest) -> World:
    """A world on each database in turn."""
    return World(request.getfixturevalue(f"{request.param}_engine"))
