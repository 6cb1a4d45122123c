"""Which database: the application's own, and the key tables' where they live apart from it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection, Engine, NullPool, QueuePool, create_engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.orm import Session

from vaultlayer.errors import ConfigurationError, KeyUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


class Databases:
    """The engines of one vault. ``check`` is called once for each database that keys come from."""

    def __init__(self, key_database: str | None, check: Callable[[Connection], None]) -> None:
        self.engine: Engine | None = None  # the application's, once it is attached
        self._named: Engine | None = None
        self._async_url: URL | None = None  # where only an async one is attached
        self._key_database = key_database
        self._check = check
        self._checked: set[URL] = set()
        self._apart: dict[URL, Engine | None] = {}

    def attached(self, target: Any) -> bool:
        """Remember the engine of what was attached; False where that is a single session.

        Async engines do nothing by themselves.
        """
        bind = getattr(target, "sync_engine", target)
        bind = getattr(target, "kw", {}).get("bind", getattr(bind, "bind", bind))
        bind = getattr(bind, "sync_engine", bind)
        if isinstance(bind, Engine) and not bind.dialect.is_async:
            self.engine = bind
        elif isinstance(bind, Engine):
            self._async_url = bind.url
        return not isinstance(getattr(target, "sync_session", target), Session)

    def own(self) -> tuple[Engine | None, URL | None]:
        """The engine of the vault's own tables; else the URL to reach them by, asynchronously."""
        if self.engine is not None:
            return self.apart(self.engine) or self.engine, None
        url = make_url(self._key_database) if self._key_database else self._async_url
        if url is not None and not url.get_dialect().is_async:
            self._named = self._named or create_engine(url, hide_parameters=True)
            return self._named, None
        in_memory = url is not None and url.get_backend_name() == "sqlite" and not url.database
        return None, None if in_memory else url

    def run(self, work: Callable[[Connection], T]) -> T | None:
        """``work`` in a transaction of its own on the vault's own tables; None before an engine.

        Its connection is closed afterwards: the process may fork before it uses the engine.
        """
        engine, url = self.own()
        if engine is not None:
            with engine.connect() as connection:
                if isinstance(engine.pool, QueuePool):
                    connection.detach()
                with connection.begin():
                    return work(connection)
        if url is None:
            return None
        with ThreadPoolExecutor(1) as thread:  # this one may have a loop that is running
            return thread.submit(asyncio.run, _run_async(url, work)).result()

    def apart(self, engine: Engine) -> Engine | None:
        """The engine of the key tables when they live in another database than ``engine``'s."""
        if self._key_database is None:
            return None
        if engine.url not in self._apart:
            named = make_url(self._key_database)
            same = _place(named) == _place(engine.url)
            self._apart[engine.url] = None if same else create_engine(named, hide_parameters=True)
        return self._apart[engine.url]

    @contextmanager
    def keys(self, using: Session | Connection | None, check: bool = True) -> Iterator[Connection]:
        """Where the key tables are: the caller's own transaction, unless they live apart."""
        if isinstance(using, Session):
            using = using.connection()
        known = using.engine if using is not None else self.engine
        apart = self.apart(known) if known is not None else None
        if apart is not None or (using is None and known is not None):
            with (apart or known).begin() as connection:  # type: ignore[union-attr]
                yield self._looked_at(connection, check)
        elif using is not None:
            yield self._looked_at(using, check)
        else:
            raise KeyUnavailable(
                "the row is in no session, so its key can't be fetched",
                hint="read it while its session is open, or attach the vault to the engine too",
            )

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction of the vault's own in the application's database.

        Each of its statements sees what others have committed by then.
        """
        if self.engine is None:
            raise ConfigurationError(
                "the vault isn't attached to an engine that works without asyncio",
                hint="vault.attach(engine), or pass session= (see the method's docstring)",
            )
        with self.engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection.execution_options(isolation_level="READ COMMITTED")
            with connection.begin():
                yield connection

    def trust(self, connection: Connection) -> None:
        """Take the connection's database for checked."""
        self._checked.add(connection.engine.url)

    def _looked_at(self, connection: Connection, check: bool) -> Connection:
        url = connection.engine.url
        if check and url not in self._checked:
            self._check(connection)
            self._checked.add(url)
        return connection


async def _run_async(url: URL, work: Callable[[Connection], T]) -> T:
    from sqlalchemy.ext.asyncio import create_async_engine  # needs greenlet, an extra

    engine = create_async_engine(url, poolclass=NullPool, hide_parameters=True)
    async with engine.begin() as connection:
        return await connection.run_sync(work)


def _place(url: URL) -> tuple[object, ...]:
    """What makes two URLs one database, whatever their drivers."""
    return url.get_backend_name(), url.host, url.port, url.database or None
