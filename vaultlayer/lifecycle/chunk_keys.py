"""The keys of the rows at hand, and where their values belong."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaultlayer.crypto.binding import field_part, row_part, subject_part
from vaultlayer.keys import states
from vaultlayer.keys.keyring import OF_SUBJECTS
from vaultlayer.keys.records import open_subject_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from sqlalchemy import Connection

    from vaultlayer.keys.keyring import Keys, SubjectKey
    from vaultlayer.orm.entity import Entity
    from vaultlayer.orm.field import Field

# Whose a row is, and the parts of its values' place that say so: tenant, subject, its part of the
# place, and the row's (b"": a subject's own row).
Place = tuple[str, bytes, bytes, bytes]
Exchange = tuple["AESGCM", "AESGCM", bytes]  # a former key, the active one and that one's id


class Placing:
    """Finds the place of rows, given their ``names``' values."""

    def __init__(self, entity: Entity) -> None:
        wanted = (entity.tenant_key, entity.subject_key, *entity.row_keys)
        self.names = [name for name in dict.fromkeys(wanted) if name]
        self._entity = entity
        self._subject = self.names.index(entity.subject_key) if entity.subject_key else None

    def place(self, found: Sequence[Any]) -> Place:
        subject = found[self._subject] if self._subject is not None else None
        of = subject.bytes if subject is not None else b""
        if len(found) == 1 and subject is not None:  # a person's own row, of the one tenant
            return "", of, subject_part(of), b""
        named = dict(zip(self.names, found, strict=True))
        row_id = self._entity.row_id(named)
        tenant = self._entity.tenant_of(named)
        return tenant, of, subject_part(of), row_part(row_id) if row_id else b""


class Heads(dict[str, list[bytes]]):
    """How the places of a tenant's values begin, field by field."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self._fields = fields

    def __missing__(self, tenant: str) -> list[bytes]:
        self[tenant] = [
            field_part(tenant if field.tenanted else "", field.entity, field.name)
            for field in self._fields
        ]
        return self[tenant]


@dataclass(slots=True)
class ChunkKeys:
    """The keys of one chunk: their states, those unwrapped, and which is each subject's active.

    ``gone``: the tenants and subjects that have records and no active key, of people erased.
    """

    states: dict[bytes, str]
    opened: dict[bytes, SubjectKey]
    active: dict[tuple[str, bytes], bytes]
    gone: set[tuple[str, bytes]]

    def exchanges(self) -> dict[bytes, Exchange]:
        """For each former key (by its id) that was unwrapped, what is sealed under it goes to."""
        found = {}
        for key_id, key in self.opened.items():
            active = self.active.get((key.tenant, key.subject))
            if active is not None and self.states[key_id] == states.DECRYPT_ONLY:
                found[key_id] = key.cipher, self.opened[active].cipher, active
        return found


def fetch(
    keys: Keys,
    connection: Connection,
    placed: Sequence[Place],
    values: Sequence[Sequence[Any]],
    *,
    every: bool,
    sealing: bool = False,
) -> ChunkKeys:
    """``every``: unwrap the keys of all these values; else only what resealing them takes.

    ``sealing``: and everybody's active key.
    """
    by_tenant: dict[str, set[bytes]] = defaultdict(set)
    for tenant, subject, _, _ in placed:
        by_tenant[tenant].add(subject)
    rows: list[Any] = []
    for tenant, subjects in by_tenant.items():
        rows += OF_SUBJECTS.rows(connection, sorted(subjects), tenant=tenant)
    used = {value[3:19] for row in values for value in row if value is not None}
    known: dict[bytes, str] = {}
    active: dict[tuple[str, bytes], Any] = {}
    others: dict[bytes, tuple[str, bytes]] = {}
    wanted: dict[bytes, Any] = {}
    for row in rows:
        state, _, _, key_id, tenant, subject, _ = row
        known[key_id] = state
        if state == states.ACTIVE:
            active[tenant, subject] = row
            needed = sealing or (every and key_id in used)
        else:
            others[key_id] = tenant, subject
            needed = key_id in used and state in states.OPENING
        if needed:
            wanted[key_id] = row
    former = {others[key_id] for key_id in wanted.keys() & others.keys()} & active.keys()
    wanted.update((active[whose][3], active[whose]) for whose in former)
    kek_ids = {row[1] for row in wanted.values()}
    opened = open_subject_keys(
        wanted.values(), {each: keys.keks.by_id(connection, each) for each in kek_ids}, 0.0
    )
    now = {whose: row[3] for whose, row in active.items()}
    return ChunkKeys(known, opened, now, set(others.values()) - active.keys())
