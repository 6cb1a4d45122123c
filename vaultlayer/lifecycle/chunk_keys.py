"""The keys of the rows at hand, and where their values belong."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaultlayer.crypto.binding import row_part, subject_part
from vaultlayer.keys import states
from vaultlayer.keys.keyring import OF_SUBJECTS
from vaultlayer.keys.records import open_subject_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from vaultlayer.keys.keyring import Keys, SubjectKey
    from vaultlayer.orm.entity import Entity

# Whose a row is, and the parts of its values' place that say so: tenant, subject, its part of the
# place, and the row's (b"": a subject's own row).
Place = tuple[str, bytes, bytes, bytes]


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


@dataclass(slots=True)
class ChunkKeys:
    """The keys of one chunk: their states, those unwrapped, and which is each subject's active.

    ``gone``: the tenants and subjects that have records and no active key, of people erased.
    """

    states: dict[bytes, str]
    opened: dict[bytes, SubjectKey]
    active: dict[tuple[str, bytes], bytes]
    gone: set[tuple[str, bytes]]


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
    found: dict[bytes, str] = {}
    active: dict[tuple[str, bytes], bytes] = {}
    stale: set[bytes] = set()
    for state, _, _, key_id, tenant, subject, _ in rows:
        found[key_id] = state
        if state == states.ACTIVE:
            active[tenant, subject] = key_id
        elif state == states.DECRYPT_ONLY:
            stale.add(subject)
    used = {value[3:19] for row in values for value in row if value is not None}
    wanted = []
    for row in rows:
        state, _, _, key_id, _, subject, _ = row
        is_active = state == states.ACTIVE
        if (is_active and (sealing or subject in stale)) or (
            key_id in used and (every or not is_active) and states.opens(row)
        ):
            wanted.append(row)
    keks = {kek_id: keys.keks.by_id(connection, kek_id) for kek_id in {row[1] for row in wanted}}
    gone = {(row[4], row[5]) for row in rows} - active.keys()
    return ChunkKeys(found, open_subject_keys(wanted, keks, 0.0), active, gone)
