"""``vault.audit``: the trail as this vault's own process sees it, and the questions to it."""

from __future__ import annotations

import dataclasses
import getpass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import select

from vaultlayer.access.context import CURRENT
from vaultlayer.audit.event import access_context
from vaultlayer.audit.slots import REFS_PER_EVENT, texts
from vaultlayer.audit.verify import Report, keys_and_heads, verify
from vaultlayer.errors import ConfigurationError, KeyErased, KeyUnavailable
from vaultlayer.keys.states import ERASED
from vaultlayer.keys.tables import subject_key
from vaultlayer.privacy.honeytokens import Honeytokens
from vaultlayer.privacy.ledger import check

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from vaultlayer.audit.check import Finding
    from vaultlayer.audit.query.index import Index
    from vaultlayer.audit.sinks.delivery import SinkState
    from vaultlayer.keys.keyring import SubjectKey
    from vaultlayer.vault import Vault

_BATCH = 1000


class Audit:
    """What can be asked of the audit trail.

    The log knows people by pseudonyms only. A question that the vault answers by unwrapping them
    (``who_read``, ``scope``) is itself recorded, as ``query``, with who asked: the principal of
    the access at hand, or else the user of the operating system.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self.honeytokens: Honeytokens = Honeytokens(vault, ttl=vault.settings.key_ttl)
        self.progress: Callable[[int, int], None] = lambda *_: None

    def verify(self) -> Report:
        """Check every shard of the log, and the rows of the ledgers that it tells of.

        ``.findings`` is empty when they are whole; a ledger's is under its table's name. The
        log's public keys and stored heads are the vault's own; who doesn't trust its database
        runs ``vaultlayer audit verify --key``.
        """
        directory = self._vault.settings.audit_directory
        report = verify(directory, *keys_and_heads(self._vault._trail.notary.heads, directory))
        return dataclasses.replace(report, findings=[*report.findings, *self.verify_ledgers()])

    def verify_ledgers(self) -> list[Finding]:
        """What was done to consents, requests and notices in the database behind the log."""
        directory, engine = self._vault.settings.audit_directory, self._vault.databases.own()[0]
        if engine is None:
            return []
        with engine.connect() as connection:
            return check(connection, directory)

    def sinks(self) -> list[SinkState]:
        """How each sink beside the local log is doing, in the order of the settings."""
        return self._vault.log.sinks.states()

    def who_read(self, subject_id: UUID | str, *, since: int = 0, limit: int = 1000) -> Any:
        """Who read one person's fields, for what, and who was refused; the newest come first.

        :param since: microseconds since 1970 (UTC).
        :returns: ``subject``, ``total``, ``readers`` (sums a principal) and ``events``.
        :raises KeyErased: the person was erased, and with the key their pseudonym.
        :raises KeyUnavailable: nobody has this id.
        """
        from vaultlayer.audit.query import questions

        subject = _uuid(subject_id)
        refs = self._refs_of(subject)
        with self._index() as index:
            answer = questions.who_read(index, refs, since=since, limit=limit)
        self._record("who_read", refs, answer["total"])
        return {"subject": str(subject), **answer}

    def scope(self, *, principal: str = "", token: str = "", since: int = 0) -> Any:
        """Whose which fields a principal opened, or whoever had the token of this digest."""
        from vaultlayer.audit.query.scope import scope

        with self._index() as index:
            answer = scope(index, sub=principal, token=token, since=since, whose=self._whose)
        self._record("scope", [], answer["events"])
        return answer

    def _index(self) -> Index:
        from vaultlayer.audit.query.index import Index

        return Index(self._vault.settings.audit_directory, progress=self.progress)

    def _refs_of(self, subject: UUID) -> list[bytes]:
        """The person's pseudonyms: one, unless there are several tenants."""
        keys = self._vault.keys
        with self._vault.key_connection(None) as connection:
            known = connection.execute(
                select(subject_key.c.key_id, subject_key.c.state).where(
                    subject_key.c.subject == subject.bytes
                )
            ).all()
            usable = [key_id for key_id, state in known if state != ERASED]
            if known and not usable:
                raise KeyErased(
                    "the data subject was erased, so the log no longer tells who it was",
                    hint="what the log says of them can't be found by anybody any more",
                )
            if not known:
                raise KeyUnavailable(
                    "no data subject has this id", hint="give the subject_id of a row, a UUID"
                )
            return sorted({key.log_ref for key in keys.fetch(connection, usable).values()})

    def _whose(self, refs: Collection[bytes]) -> dict[bytes, bytes]:
        """The subjects behind some pseudonyms: every key record is looked at, 1,000 at a time."""
        wanted, found = set(refs), {}
        for key in self._all_keys():
            if key.log_ref in wanted:
                found[key.log_ref] = key.subject
                if len(found) == len(wanted):
                    break
        return found

    def _all_keys(self) -> Iterator[SubjectKey]:
        column, last = subject_key.c.key_id, b""
        with self._vault.key_connection(None) as connection:
            while True:
                ids = connection.scalars(
                    select(column)
                    .where(column > last, subject_key.c.state != ERASED)
                    .order_by(column)
                    .limit(_BATCH)
                ).all()
                if not ids:
                    return
                last = ids[-1]
                yield from self._vault.keys.fetch(connection, ids).values()

    def _record(self, question: str, refs: list[bytes], found: int) -> None:
        told = texts(refs[:REFS_PER_EVENT])
        self._vault.log.write("query", question=question, refs=told, found=found, **asker())


def asker() -> dict[str, Any]:
    """``actor`` and ``purpose`` of the access at hand, else of the operating system's user."""
    access = CURRENT.get()
    if access is not None:
        principal = access.principal
        who = {"iss": principal.iss, "sub": principal.sub, "roles": principal.roles}
        return access_context({"actor": who, "purpose": access.purpose})
    who = {"iss": "os", "sub": getpass.getuser(), "roles": frozenset()}
    return access_context({"actor": who, "purpose": "audit"})


def _uuid(subject_id: UUID | str) -> UUID:
    try:
        return subject_id if isinstance(subject_id, UUID) else UUID(subject_id)
    except (ValueError, AttributeError):
        raise ConfigurationError(
            "a data subject's id is a UUID", hint="give the subject_id of the person's row"
        ) from None
