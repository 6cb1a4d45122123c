"""What an erasure would do, before it is done."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from vaultlayer.keys import tables
from vaultlayer.keys.states import ERASED
from vaultlayer.lifecycle.emptying import Held, holdings
from vaultlayer.lifecycle.erasure import authorize
from vaultlayer.lifecycle.kept import claims, kept
from vaultlayer.lifecycle.models import entities

if TYPE_CHECKING:
    from uuid import UUID

    from vaultlayer.acting import Access
    from vaultlayer.vault import Vault


@dataclass(frozen=True, slots=True)
class Plan:
    """``keys``: living generations of the person's key. ``tables``: what is taken out of each.
    ``kept``: what stays, and its ground. ``claims``: purposes that the law asks for and that end
    for the person with it; where one still holds, refuse the request and say so.
    """

    subject_id: UUID
    horizon: datetime
    keys: int
    tables: tuple[Held, ...]
    kept: tuple[dict[str, Any], ...]
    claims: tuple[dict[str, Any], ...]


def plan(vault: Vault, access: Access, subject_id: UUID) -> Plan:
    """See ``Subjects.plan``."""
    key, subject = tables.subject_key.c, subject_id.bytes
    living = select(func.count()).where(
        key.subject == subject, key.tenant.in_(["", access.tenant]), key.state != ERASED
    )
    with vault.databases.transaction() as connection:
        known = [each for each in entities(vault.known_models(), connection) if each.subject_key]
        authorize(access, connection, known, subject_id)
        held = [one.held(connection) for one in holdings(known, subject_id, access.tenant)]
        with vault.key_connection(connection) as keys_on:
            keys = int(keys_on.scalar(living) or 0)
            rest = kept(connection, keys_on, known, subject_id)
    horizon = datetime.fromtimestamp(int(time.time()), UTC) + timedelta(vault.settings.horizon_days)
    law = claims(access.snapshot.bundle, known)
    tables_held = tuple(one for one in held if one.values or one.terms)
    return Plan(subject_id, horizon, keys, tables_held, tuple(rest), tuple(law))
