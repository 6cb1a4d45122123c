"""Honeytokens: decoy rows nobody has a reason to open. Whoever opens one raises an alarm."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import delete, select

from vaultlayer.errors import ConfigurationError
from vaultlayer.keys import tables
from vaultlayer.ledgers import honeytoken
from vaultlayer.privacy.acting import acting_for, categories_of, key_of, ref_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from vaultlayer.vault import Vault


class Honeytokens:
    """``vault.audit.honeytokens``.

    A decoy is a row like any other, of a person who doesn't exist, marked here by its subject_id.
    Opening any of its fields, masked too, writes an ``alarm`` record at once: it is in the log and
    on its way to the sinks before the value is released. Who may read the vault's tables sees the
    marks: they catch those who go through the application. Marking needs an access that may
    ``administer`` its purpose's categories.
    """

    def __init__(
        self, vault: Vault, *, ttl: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.marked: set[bytes] = set()
        self._vault, self._ttl, self._clock = vault, ttl, clock
        self._looked = float("-inf")

    def add(self, subject_id: UUID, *, session: Session | None = None) -> None:
        """Mark a stored row. Other processes know within the keys' ``ttl``."""
        with self._changing(session, subject_id, "added") as connection:
            insert = tables.insert_if_absent(connection.dialect, honeytoken)
            connection.execute(insert.values(subject=subject_id.bytes, created=int(time.time())))
        self.marked.add(subject_id.bytes)

    def remove(self, subject_id: UUID, *, session: Session | None = None) -> None:
        """Take the mark off."""
        with self._changing(session, subject_id, "removed") as connection:
            connection.execute(delete(honeytoken).where(honeytoken.c.subject == subject_id.bytes))
        self.marked.discard(subject_id.bytes)

    def look(self, connection: Connection) -> None:
        """Read the marks, where those at hand are older than a key may grow."""
        now = self._clock()
        if now - self._looked >= self._ttl:
            self._looked = now
            found = {bytes(subject) for subject in connection.scalars(select(honeytoken.c.subject))}
            self.marked |= found
            self.marked &= found

    @contextmanager
    def _changing(
        self, session: Session | None, subject_id: UUID, change: str
    ) -> Iterator[Connection]:
        """Where the mark is kept, once it may be changed; told in the log before it is."""
        if not isinstance(subject_id, UUID):
            raise ConfigurationError("a subject_id is a UUID", hint="give the row's subject_id")
        session = getattr(session, "sync_session", session)
        categories = categories_of(self._vault, session)
        access = acting_for(session, "administer", "honeytoken", (change,), categories)
        with self._vault.key_connection(session) as connection:
            ref = ref_of(key_of(access, connection, subject_id.bytes))
            access.record("honeytoken", refs=[ref], change=change)
            yield connection
