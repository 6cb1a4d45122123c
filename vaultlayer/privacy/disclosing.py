"""Giving data to somebody: decide, open, seal for the recipient, record, and only then hand over.

What stops it: the recipient's ground (an agreement, a consent, an order), the rules for the action
``disclose``, the people's own wishes. The ledger's row and its leaf are committed before the
package is returned; where that fails nothing leaves.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
import uuid
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import insert, select

from vaultlayer.audit.event import timestamp
from vaultlayer.errors import ConfigurationError, IntegrityError, KeyErased
from vaultlayer.keys import tables
from vaultlayer.keys.states import ERASED
from vaultlayer.ledgers import MOST_FIELDS, disclosed
from vaultlayer.lifecycle.models import rows_of
from vaultlayer.orm import batch, fetching
from vaultlayer.orm.fetching import STATE
from vaultlayer.privacy.disclosed import persons_digest
from vaultlayer.privacy.disclosures import (
    COMPELLED,
    PROCESSOR,
    not_compelled,
    telling,
)
from vaultlayer.privacy.grounds import Terms, asked_for, fields_of, settle
from vaultlayer.privacy.package import FORMAT, form_of, seal_for

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from vaultlayer.acting import Access

_BATCH = 500


@dataclass(frozen=True, slots=True)
class Package:
    """What may be sent: ``data`` opens with the recipient's private key alone.

    ``form`` is ``hpke`` or ``jwe``; docs/disclosure.md says how each is opened.
    """

    disclosure_id: UUID
    recipient: str
    form: str
    data: bytes


def disclose(
    access: Access,
    subjects: Any,
    fields: Sequence[Any],
    *,
    recipient: str,
    reason: str,
    basis: str = "",
    kind: str = PROCESSOR,
    reference: str = "",
    public_key: str = "",
    withhold: str = "",
    review: date | None = None,
    session: Any = None,
) -> Package:
    """See ``Access.disclose``."""
    asked = asked_for(fields)
    told = telling(withhold, review)
    if told["withheld"] and kind not in COMPELLED:
        raise not_compelled()
    terms = settle(access, asked, Terms(kind, recipient, basis, reference, reason, public_key))
    people = _people(subjects)
    rows = _rows(session, people, asked)
    try:
        opened = _opened(access, rows, people)
    except IntegrityError:
        with access.vault.key_connection(None) as connection:
            _still_there(connection, people)  # emptied just now, by an erasure
        raise
    disclosure_id = uuid.uuid4()
    content = _content(access, disclosure_id, terms, opened)
    header = {"disclosure": str(disclosure_id), "recipient": recipient}
    package = seal_for(terms.public_key, header, content)
    row = {
        "tenant": access.tenant,
        "kind": kind,
        "recipient": recipient,
        "purpose": access.purpose,
        "basis": terms.basis,
        "reference": terms.reference,
        "reason": reason,
        "fields": " ".join(sorted({field.label for field in fields_of(asked)})),
        "form": form_of(terms.public_key),
        "content": hashlib.sha256(content).hexdigest(),
        "people": len(people),
        "persons": persons_digest(each.bytes for each in people),
        **told,
    }
    if len(row["fields"]) > MOST_FIELDS:
        raise ConfigurationError("too many fields at once", hint="disclose them in several steps")
    with access.vault.key_connection(None) as connection:
        tables.become_writer(connection)
        _still_there(connection, people)
        ids = [{"disclosure_id": disclosure_id.bytes, "subject": each.bytes} for each in people]
        connection.execute(insert(disclosed), ids)
        access.vault.disclosures.append(access, connection, disclosure_id, lambda _: row, "given")
    return Package(disclosure_id, recipient, row["form"], package)


def _people(subjects: Any) -> list[UUID]:
    """The people's ids, each once: given as such, or by rows that have a ``subject_id``."""
    given = [subjects] if isinstance(subjects, UUID) or hasattr(subjects, STATE) else subjects
    found = {getattr(each, "subject_id", each): None for each in given}
    if not found or not all(isinstance(each, UUID) for each in found):
        raise ConfigurationError(
            "disclose() takes people: rows, or their subject_id, and at least one",
            hint="e.g. access.disclose([customer], [Customer.name], …)",
        )
    return list(found)


def _rows(session: Session | None, people: list[UUID], asked: Any) -> Any:
    """Per entity its attributes, and the rows of these people."""
    if session is None:
        raise ConfigurationError("disclose() needs a session", hint="pass session=session")
    session = getattr(session, "sync_session", session)
    found = []
    for entity, pairs in asked.items():
        owner, table = entity.mapper.class_, entity.mapper.local_table
        rows: list[Any] = []
        for start in range(0, len(people), _BATCH):
            mine = rows_of(table, entity, table, people[start : start + _BATCH])
            chosen = select(owner).where(mine).order_by(*entity.mapper.primary_key)
            rows += session.scalars(chosen)
        found.append((entity, pairs, rows))
    return found


def _opened(access: Access, found: Any, people: list[UUID]) -> dict[UUID, dict[str, list[Any]]]:
    """The values by person and entity; nothing is opened unless all of it may be."""
    for _, pairs, rows in found:
        fetching.prefetch(access, rows)
        for _, field in pairs:
            access.confirm(access.grant(field, "disclose"))
        for row in rows:
            reason = access.people.reason(row.subject_id.bytes)
            if reason:
                raise access.refused(pairs[0][1], "disclose", reason)
    opened: dict[UUID, dict[str, list[Any]]] = {each: {} for each in people}
    for _, pairs, rows in found:
        values = batch.reveal(access, rows, [attribute for attribute, _ in pairs], "disclose")
        for row, told in zip(rows, values, strict=True):
            named = {f.name: _plain(v) for (_, f), v in zip(pairs, told, strict=True)}
            opened[row.subject_id].setdefault(pairs[0][1].entity, []).append(named)
    return opened


def _content(
    access: Access, disclosure_id: UUID, terms: Terms, opened: dict[UUID, dict[str, list[Any]]]
) -> bytes:
    """JSON; the salt keeps the ledger's digest from being tried against guesses."""
    told = {
        "format": FORMAT,
        "disclosure": str(disclosure_id),
        "disclosed": timestamp(time.time()),
        "recipient": terms.recipient,
        "kind": terms.kind,
        "purpose": access.purpose,
        "basis": terms.basis,
        "reference": terms.reference,
        "salt": secrets.token_hex(16),
        "people": [{"subject": str(who), **values} for who, values in opened.items()],
    }
    return json.dumps(told, ensure_ascii=False, indent=1).encode()


def _plain(value: Any) -> Any:
    """A value as JSON has it; bytes as ``{"base64": …}``, times in ISO 8601, others as text."""
    if value is None or isinstance(value, bool | int | float | dict | list):
        return value
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, Enum):
        return value.name
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _still_there(connection: Connection, people: Sequence[UUID]) -> None:
    """Refuse what concerns somebody erased meanwhile; an erasure to come waits for this record."""
    key = tables.subject_key.c
    for start in range(0, len(people), _BATCH):
        some = [each.bytes for each in people[start : start + _BATCH]]
        there = select(key.subject).where(key.subject.in_(some), key.state != ERASED)
        known = set(map(bytes, connection.scalars(there.with_for_update(read=True))))
        if not known.issuperset(some):
            raise KeyErased(
                "somebody the disclosure is about was erased, or was never here",
                hint="ask for the others; nothing was disclosed and nothing recorded of it",
            )
