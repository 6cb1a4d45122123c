"""The rules that the files say, held against those in force before they are enforced."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError

from vaultlayer import ledgers
from vaultlayer.access import amendments
from vaultlayer.access.amendments import Amendment, Amendments, InForce, has_tables
from vaultlayer.access.bundle import read_bundle
from vaultlayer.access.snapshot import Snapshot
from vaultlayer.audit import heads_database
from vaultlayer.errors import ConfigurationError, KeyUnavailable, PolicyError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy import Connection, MetaData

    from vaultlayer.access.policies import Policies
    from vaultlayer.acting import Access
    from vaultlayer.audit.log import Log
    from vaultlayer.databases import Databases
    from vaultlayer.orm.field import Field
    from vaultlayer.settings import Settings

T = TypeVar("T")
_log = logging.getLogger("vaultlayer.policy")


def own_metadata() -> tuple[MetaData, ...]:
    """The vault's own tables, all of them once ``vaultlayer.vault`` is imported."""
    return ledgers.metadata, heads_database.metadata, amendments.metadata


class Governing:
    """``vault.governing``: which version of the rules may be enforced, as the database tells.

    A vault for tests keeps no such record: every version counts at once there.
    """

    def __init__(self, databases: Databases, log: Log, settings: Settings) -> None:
        self._databases, self._amendments = databases, Amendments(log.write)
        self._ephemeral = settings.provider == "memory:"
        self.settled: bool = self._ephemeral
        # A candidate that is tried beside the rules in force and enforced nowhere.
        candidate = settings.shadow
        self.shadow: Snapshot | None = Snapshot(read_bundle(candidate)) if candidate else None

    def create_tables(self, bind: Engine | Connection, policies: Policies) -> None:
        """Create the vault's tables where they are missing, and settle what is enforced."""
        own = self._databases.apart(bind.engine) or bind
        for each in own_metadata():
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

        chosen = choose(connection) if connection is not None else self.run(choose)
        self.settled = chosen is not None
        policies.hold(chosen or files)

    def permit(self, wanted: Snapshot) -> None:
        """Let a reloaded version take over; PolicyError says why it may not, or not yet."""
        if not self._ephemeral:
            self.run(
                lambda connection: (
                    self._amendments.permit(connection, wanted) if has_tables(connection) else None
                )
            )

    def publish(self, wanted: Snapshot, by: str, *, dry_run: bool = False) -> Amendment | None:
        """Note that people are told of this version from now on; None if it is in force already.

        :param dry_run: only say what it would mean.
        :raises PolicyError: it has no higher version, or a notice that says nothing new.
        """

        def work(connection: Connection) -> Amendment | None:
            if not has_tables(connection):
                raise ConfigurationError(
                    "the database has no record of which rules are in force",
                    hint="make the vault's tables with vault.create_tables(engine) first",
                )
            found = self._amendments.judge(connection, wanted)
            if found is None or dry_run:
                return found
            return self._amendments.publish(connection, wanted, by)

        return self.run(work)

    def try_shadow(self, access: Access, field: Field, action: str) -> None:
        """Record where the candidate would decide otherwise than the rules in force."""
        if self.shadow is None:
            return
        principal = access.principal
        asked = (
            access.roles, field.label, field.category, action, access.purpose, access.tenant,
            principal.region or "",
        )  # fmt: skip
        said, would = access.snapshot.decide(*asked), self.shadow.decide(*asked)
        if (said.effect, said.mask) != (would.effect, would.mask):
            access.record(
                "shadow", entity=field.entity, field=field.name, action=action,
                decision=said.effect, would=would.effect, would_reason=would.reason,
                candidate=self.shadow.digest,
            )  # fmt: skip

    def in_force(self, at: datetime | None = None) -> InForce | None:
        """The version that was in force at a moment (now without one), as it is recorded.

        None: none was yet, or the vault keeps no record.
        """
        return self.run(lambda connection: self._amendments.at(connection, at))

    def versions(self) -> set[int]:
        """The numbers of all versions that are, or were, published or in force."""

        def work(connection: Connection) -> set[int]:
            if not has_tables(connection):
                return set()
            tables = (amendments.published, amendments.in_force)
            found = [connection.scalars(select(table.c.version)) for table in tables]
            return {version for versions in found for version in versions}

        return self.run(work) or set()

    def run(self, work: Callable[[Connection], T]) -> T | None:
        """``work`` in a transaction of its own; None before an engine is attached."""
        try:
            return self._databases.run(work)
        except (SQLAlchemyError, ImportError, OSError) as error:
            raise KeyUnavailable(
                f"the vault's own tables can't be read ({type(error).__name__})",
                hint="check that the database of [vault] database, or else the application's, "
                "can be reached",
            ) from None
