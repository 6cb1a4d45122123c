"""How far each field has come: one row of the vault's own tables, which every process reads.

::

    expanded → backfilled → verified → switched → contracting → contracted
    └── plaintext is read first ────┘  └ sealed is read first, plaintext where nothing is sealed
    └── both are written ───────────────────────┘

What has no row is ``expanded``: plaintext is read, and both are written.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from vaultlayer.errors import ConfigurationError
from vaultlayer.keys import tables
from vaultlayer.ledgers import migration
from vaultlayer.lifecycle.models import bare
from vaultlayer.orm.field import MIGRATING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    from sqlalchemy import Connection

    from vaultlayer.orm.field import Field
    from vaultlayer.vault import Vault

EXPANDED, BACKFILLED, VERIFIED = "expanded", "backfilled", "verified"
SWITCHED, CONTRACTING, CONTRACTED = "switched", "contracting", "contracted"
STAGES = (EXPANDED, BACKFILLED, VERIFIED, SWITCHED, CONTRACTING, CONTRACTED)
_FIRST = frozenset({EXPANDED, BACKFILLED, VERIFIED})
_READ = _FIRST | {SWITCHED}
_M = migration.c


@dataclass(frozen=True, slots=True)
class Status:
    """How far one field has come; its plaintext may be read ``until`` then."""

    field: str
    plaintext: str
    stage: str
    until: date


class Stages:
    """What this process knows of the table, and for how long."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._known: dict[str, str] = {}
        self._until = 0.0

    def of(self, field: Field) -> str:
        """A field's stage, at most ``[keys] ttl`` seconds old."""
        if time.monotonic() >= self._until:
            found = self._vault.governing.run(self._read)
            self._note(found if found is not None else {})
        return self._known.get(field.label, EXPANDED)

    def is_first(self, field: Field) -> bool:
        """Whether its plaintext column is what counts."""
        return self.of(field) in _FIRST

    def is_read(self, field: Field) -> bool:
        """Whether its plaintext column is still looked at."""
        return self.of(field) in _READ

    def doubled(self, connection: Connection, fields: Iterable[Field]) -> set[Field]:
        """Those among ``fields`` whose plaintext column is written too, for this transaction."""
        some = [field for field in fields if field.twin is not None]
        if not some:
            return set()
        is_sqlite = connection.dialect.name == "sqlite"
        with self._vault.key_connection(connection) as keys_on:
            if is_sqlite:  # the one write lock, so that the stage stays until the commit
                connection.execute(sa.delete(bare(some[0].column.table)).where(sa.false()))
            self._note(self._read(keys_on))
        written = _READ | {CONTRACTING} if is_sqlite else _READ
        return {field for field in some if self._known.get(field.label, EXPANDED) in written}

    def set(self, connection: Connection, fields: Iterable[Field], stage: str) -> None:
        """Note the stage of some fields; on the connection of the key tables."""
        insert = tables.insert_if_absent(connection.dialect, migration)
        now = {"stage": stage, "changed": int(time.time())}
        for field in fields:
            name = field.twin.column if field.twin is not None else ""
            connection.execute(insert, {"field": field.label, "plaintext": name, **now})
            row = sa.update(migration).where(_M.field == field.label)
            connection.execute(row.values(plaintext=name, **now))
        self.forget()

    def drop(self, connection: Connection, fields: Iterable[Field]) -> None:
        """Know nothing of some fields any more."""
        labels = [field.label for field in fields]
        connection.execute(sa.delete(migration).where(_M.field.in_(labels)))
        self.forget()

    def forget(self) -> None:
        """Look again before the next use."""
        self._until = 0.0

    def _note(self, found: dict[str, str]) -> None:
        self._known = found
        self._until = time.monotonic() + self._vault.settings.key_ttl

    def _read(self, connection: Connection) -> dict[str, str]:
        if not sa.inspect(connection).has_table(migration.name):
            raise ConfigurationError(
                f"{', '.join(sorted(MIGRATING))} can't be migrated: the table {migration.name} "
                "is not there",
                hint="vault.create_tables(engine), or vaultlayer's operations for Alembic",
            )
        rows: Any = connection.execute(sa.select(_M.field, _M.stage)).all()
        return dict(rows)
