"""The rules that the files say, held against those in force before they are enforced."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Engine, NullPool
from sqlalchemy.exc import SQLAlchemyError

from vaultlayer import ledgers
from vaultlayer.access import amendments
from vaultlayer.access.amendments import Amendments, InForce, has_tables
from vaultlayer.audit import heads_database
from vaultlayer.errors import KeyUnavailable, PolicyError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy import Connection

    from vaultlayer.access.policies import Policies
    from vaultlayer.access.snapshot import Snapshot
    from vaultlayer.audit.log import Log
    from vaultlayer.databases import Databases
    from vaultlayer.settings import Settings

T = TypeVar("T")
_log = logging.getLogger("vaultlayer.policy")


class Governing:
    """``vault.governing``: which version of the rules may be enforced, as the database tells.

    A vault for tests keeps no such record: every version counts at once there.
    """

    def __init__(self, databases: Databases, log: Log, settings: Settings) -> None:
        self._databases, self._amendments = databases, Amendments(log.write)
        self._ephemeral = settings.provider == "memory:"
        self.settled: bool = self._ephemeral

    def create_tables(self, bind: Engine | Connection, policies: Policies) -> None:
        """Create the vault's tables where they are missing, and settle what is enforced."""
        own = self._databases.apart(bind.engine) or bind
        for each in (ledgers.metadata, heads_database.metadata, amendments.metadata):
            each.create_all(own)
        with own.begin() if isinstance(own, Engine) else nullcontext(own) as connection:
            self.settle(policies, connection)

    def settle(self, policies: Policies, connection: Connection | None = None) -> None:
        """Enforce what a starting process may: the files' version, or the one still in force."""
        files = policies.snapshot
        if self._ephemeral:
            return

        def choose(connection: Connection) -> Snapshot:
            if not has_tables(connection):
                _log.warning(
                    "the database has no record of which rules are in force; "
                    "make the vault's tables with vault.create_tables()"
                )
                return files
            try:
                self._amendments.permit(connection, files)
            except PolicyError as refusal:
                _log.warning("%s The version in force stays.", refusal)
                return self._amendments.stored(connection) or files
            return files

        chosen = choose(connection) if connection is not None else self._run(choose)
        self.settled = chosen is not None
        policies.hold(chosen or files)

    def permit(self, wanted: Snapshot) -> None:
        """Let a reloaded version take over; PolicyError says why it may not, or not yet."""
        if not self._ephemeral:
            self._run(
                lambda connection: (
                    self._amendments.permit(connection, wanted) if has_tables(connection) else None
                )
            )

    def in_force(self, at: datetime | None = None) -> InForce | None:
        """The version that was in force at a moment (now without one), as it is recorded.

        None: none was yet, or the vault keeps no record.
        """
        return self._run(lambda connection: self._amendments.at(connection, at))

    def _run(self, work: Callable[[Connection], T]) -> T | None:
        """``work`` in a transaction of its own; None before an engine is attached."""
        try:
            engine, url = self._databases.own()
            if engine is not None:
                with engine.begin() as connection:
                    return work(connection)
            if url is None:
                return None
            with ThreadPoolExecutor(1) as thread:  # this one may have a loop that is running
                return thread.submit(asyncio.run, _run_async(url, work)).result()
        except (SQLAlchemyError, ImportError, OSError) as error:
            raise KeyUnavailable(
                f"the record of the rules in force can't be read ({type(error).__name__})",
                hint="it is in the database of the vault's tables: check that this can be reached",
            ) from None


async def _run_async(url: Any, work: Callable[[Connection], T]) -> T:
    from sqlalchemy.ext.asyncio import create_async_engine  # needs greenlet, an extra

    engine = create_async_engine(url, poolclass=NullPool, hide_parameters=True)
    async with engine.begin() as connection:
        return await connection.run_sync(work)
