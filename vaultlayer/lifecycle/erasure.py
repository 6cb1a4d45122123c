"""Erasing a person: tombstone, keys destroyed, values and blind indexes gone, recorded; at once.

All of it in one transaction (where the key tables are in the data's own database), the record
before its commit. What a column may do without becomes NULL. A NOT NULL column gets an envelope
of the person's destroyed key with nothing in it: reading that says ``KeyErased``, as it should.
"""

from __future__ import annotations

import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import event

from vaultlayer.access.grants import NO_REF
from vaultlayer.errors import AccessDenied, ConfigurationError
from vaultlayer.keys import tables
from vaultlayer.keys.erasing import erase_keys
from vaultlayer.lifecycle.emptying import Held, holdings
from vaultlayer.lifecycle.models import entities, fields_by_table, shared_tables
from vaultlayer.lifecycle.receipt import certify
from vaultlayer.lifecycle.tombstones import BEGUN, DONE, UNDONE, Erasure
from vaultlayer.search.terms import forget_people
from vaultlayer.watch import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from vaultlayer.acting import Access
    from vaultlayer.orm.entity import Entity
    from vaultlayer.vault import Vault


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was destroyed, and until when backups may still hold it.

    ``keys``: generations of the person's key; ``values`` and ``terms``: sealed values and
    blind-index terms that were taken out of rows, by table in ``tables``. ``horizon``: the day
    from which no backup kept by the rules of docs/keys.md brings anything back. ``document``: the
    signed receipt (JSON, docs/rights.md); "" before the erasure's transaction has committed.
    """

    erasure_id: UUID
    subject_id: UUID
    erased_at: datetime
    horizon: datetime
    reason: str
    keys: int
    values: int
    terms: int
    tenants: tuple[str, ...] = ()
    tables: tuple[Held, ...] = ()
    document: str = ""


def erase(
    vault: Vault,
    access: Access,
    subject_id: UUID,
    reason: str,
    session: Session | None = None,
    tenants: Sequence[str] = (),
) -> Receipt:
    """See ``Subjects.erase``; ``tenants`` are those of an erasure that is done again."""
    if not isinstance(subject_id, UUID):
        raise ConfigurationError(
            "a person is erased by their subject_id, which is a UUID",
            hint="vault.subjects.erase(customer.subject_id, reason=...)",
        )
    at, subject = int(time.time()), subject_id.bytes
    erasure_id = uuid.uuid4()
    erasures = [
        Erasure(erasure_id.hex, tenant, subject, at)
        for tenant in sorted({"", access.tenant, *tenants})
    ]
    destroyed: list[bytes] = []
    with _transaction(vault, session, erasures, destroyed) as connection:
        known = [e for e in entities(vault.known_models(), connection) if e.subject_key]
        authorize(access, connection, known, subject_id)
        with vault.key_connection(connection) as keys_on:
            markers = []
            for erasure in erasures:
                gone, marker = erase_keys(vault.keys, keys_on, erasure.tenant, subject)
                destroyed.extend(gone)
                markers.append(marker)
            taken = _empty(connection, known, subject_id, access.tenant, markers[-1])
            owners = {erasure.tenant for erasure in erasures}
            values, terms = sum(held.values for held in taken), sum(held.terms for held in taken)
            for shared in shared_tables(known, connection):
                terms += forget_people(connection, shared, subject, owners)
            horizon = datetime.fromtimestamp(at, UTC) + timedelta(vault.settings.horizon_days)
            access.record(
                "subject_erased",
                erasure=erasure_id.hex,
                keys=len(destroyed),
                values=values,
                terms=terms,
                horizon=horizon.date().isoformat(),
            )
            _keep(vault, keys_on, erasures)
    receipt = Receipt(
        erasure_id, subject_id, datetime.fromtimestamp(at, UTC), horizon, reason,
        len(destroyed), values, terms, tuple(sorted(owners)), tuple(taken),
    )  # fmt: skip
    return receipt if session is not None else certify(vault, access, receipt)


@contextmanager
def _transaction(
    vault: Vault, session: Session | None, erasures: Sequence[Erasure], destroyed: list[bytes]
) -> Iterator[Connection]:
    """The erasure's own transaction, or the caller's; its end is remembered and told."""

    def ended(step: str) -> None:
        vault.tombstones.note(step, erasures)
        if step == DONE and destroyed:
            vault.watch.publish(KEY, " ".join(key_id.hex() for key_id in destroyed))

    vault.tombstones.note(BEGUN, erasures)
    try:
        if session is None:
            with vault.databases.transaction() as connection:
                yield connection
            ended(DONE)
        else:
            session.flush()
            yield session.connection()
            session.expire_all()
            _once_ended(session, ended)
    except BaseException:
        ended(UNDONE)
        raise


def _once_ended(session: Session, ended: Any) -> None:
    """Call ``ended`` when the session's transaction is over."""
    told = False

    def tell(step: str) -> None:
        nonlocal told
        if not told:
            told = True
            ended(step)

    event.listen(session, "after_commit", lambda _: tell(DONE), once=True)
    event.listen(session, "after_rollback", lambda _: tell(UNDONE), once=True)


def authorize(
    access: Access, connection: Connection, known: Sequence[Entity], subject_id: UUID
) -> None:
    """Decide and journal the erasing of each field; another tenant's person is refused."""
    for entity in known:
        if entity.is_subject and entity.tenant_key is not None:
            _refuse_foreign(access, connection, entity, subject_id)
    for _, _, fields in fields_by_table(known):
        for field in fields:
            grant = access.confirm(access.grant(field, "erase"))
            access.journal.append(grant.prefix, NO_REF)


def _refuse_foreign(
    access: Access, connection: Connection, entity: Entity, subject_id: UUID
) -> None:
    columns = entity.mapper.columns
    tenant = columns[entity.tenant_key or ""]
    whose = sa.select(tenant).where(columns["subject_id"] == subject_id)
    for (owner,) in connection.execute(whose):
        if str(owner) != access.tenant:
            field = next(iter(entity.fields.values()))
            refused: AccessDenied = access.refused(field, "erase", "tenant")
            raise refused


def _empty(
    connection: Connection, known: Sequence[Entity], subject_id: UUID, tenant: str, key_id: bytes
) -> list[Held]:
    """Take the person's values and terms out of every row; what there was, table by table."""
    taken = []
    for holding in holdings(known, subject_id, tenant):
        held = holding.held(connection)
        if held.values or held.terms or holding.has_plaintext:
            holding.empty(connection, key_id)
        taken.append(held)
    return taken


def _keep(vault: Vault, connection: Connection, erasures: Sequence[Erasure]) -> None:
    """The tombstones, with the place of their record in the log."""
    written = vault.log.written()
    assert written is not None  # the erasure's record  # noqa: S101
    for erasure in erasures:
        row = {
            "tenant": erasure.tenant,
            "subject": erasure.subject,
            "erasure_id": bytes.fromhex(erasure.erasure_id),
            "erased": erasure.at,
            "trail": vault.tombstones.trail,
            "shard": written.path.stem,
            "seq": written.records - 1,
        }
        connection.execute(tables.insert_if_absent(connection.dialect, tables.tombstone), row)
