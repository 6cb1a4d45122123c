"""Destroying a person's keys: every generation, for good, in the caller's transaction.

The records stay, each sealed as erased under its KEK, and so does a record for a person who never
had a key: whoever comes to make one meets it at the unique (tenant, subject, generation).
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, update

from vaultlayer.crypto.binding import subject_part
from vaultlayer.errors import ConfigurationError
from vaultlayer.keys import states, tables
from vaultlayer.keys.keyring import RECORD
from vaultlayer.keys.places import subject_key_aad
from vaultlayer.keys.records import ERASED_MATERIAL, rewrapped, wrap

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from vaultlayer.keys.keyring import Keys

_C = tables.subject_key.c
_ALL = RECORD.where(_C.tenant == bindparam("tenant"), _C.subject == bindparam("subject")).order_by(
    _C.generation
)
_SET = (
    update(tables.subject_key)
    .where(_C.key_id == bindparam("of"))
    .values(state=bindparam("to"), wrapped=bindparam("new"), changed=bindparam("now"))
)


def erase_keys(
    keys: Keys, connection: Connection, tenant: str, subject: bytes
) -> tuple[list[bytes], bytes]:
    """Destroy a person's keys: the ids of those that were there to destroy, and the last one's.

    The last one is there in any case, if only as the mark that the person is erased.

    Waits for transactions that seal for the person, and whoever seals later finds it done.
    Idempotent. The caller takes the keys out of its caches once this is committed.
    """
    subject_part(subject)  # refuses what is no subject id
    if not subject:
        raise ConfigurationError(
            "the tenant's own key belongs to no person, so it can't be erased",
            hint="delete the rows instead",
        )
    rows = _locked(connection, tenant, subject)
    if not rows:
        _make_tombstone(keys, connection, tenant, subject)
        rows = _locked(connection, tenant, subject)
    if not rows:
        raise tables.lost_race()
    living = [row for row in rows if row.state != states.ERASED]
    set_state(keys, connection, living, states.ERASED)
    return [row.key_id for row in living], rows[-1].key_id


def set_state(keys: Keys, connection: Connection, rows: Iterable[Any], state: str) -> None:
    """Bring records (as in ``RECORD``, locked by the caller) into a later state."""
    now = int(time.time())
    changes = []
    for row in rows:
        if not states.may_follow(state, row.state):
            raise AssertionError(f"a key that is {row.state} can't become {state}")
        kek = keys.keks.by_id(connection, row.kek_id)
        new = rewrapped(row, kek, kek, state)
        changes.append({"of": row.key_id, "to": state, "new": new, "now": now})
    if changes:
        connection.execute(_SET, changes)


def _locked(connection: Connection, tenant: str, subject: bytes) -> list[Any]:
    """All generations of a key, nobody else's to change until the transaction ends."""
    whose = {"tenant": tenant, "subject": subject}
    if connection.dialect.name == "sqlite":  # the first write takes the one lock there is
        nothing = update(tables.subject_key).where(_C.key_id == b"").values(state=states.ERASED)
        connection.execute(nothing)
    # Whoever adds a generation has locked the one before it, so a second look misses none.
    connection.execute(_ALL.with_for_update(), whose).all()
    return list(connection.execute(_ALL.with_for_update(), whose).all())


def _make_tombstone(keys: Keys, connection: Connection, tenant: str, subject: bytes) -> None:
    """A record for a person without a key, unless another transaction makes one."""
    key_id, kek = os.urandom(16), keys.keks.current(connection, tenant)
    aad = subject_key_aad(tenant, subject, key_id, states.FIRST, states.ERASED)
    row = {
        "key_id": key_id,
        "tenant": tenant,
        "subject": subject,
        "generation": states.FIRST,
        "state": states.ERASED,
        "kek_id": kek.kek_id,
        "wrapped": wrap(kek, aad, ERASED_MATERIAL),
        "created": int(time.time()),
        "changed": int(time.time()),
    }
    insert = tables.insert_if_absent(connection.dialect, tables.subject_key)
    connection.execute(insert, row)
