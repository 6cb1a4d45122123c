"""The write path: bind → seal → store. No other module seals a value.

The rows come from a flush (orm/flush.py) or from an INSERT's parameters (orm/gate.py); what is
put back into them is what SQLAlchemy then stores, in the same transaction as the keys.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from vaultlayer.crypto.binding import row_part
from vaultlayer.crypto.envelope import FLAG_PADDED, FLAG_ROW, key_id_of, open_sealed, seal
from vaultlayer.sealed import Sealed, Unsealed
from vaultlayer.search.blind_index import index_term

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

    from vaultlayer.access.grants import Grant
    from vaultlayer.acting import Access
    from vaultlayer.keys.keyring import SubjectKey
    from vaultlayer.orm.entity import Field


@dataclass(slots=True)
class Row:
    """A row about to be stored: where it belongs, its encoded values, and how to put one back."""

    tenant: str
    subject: bytes
    new_subject: bool
    row_id: tuple[Any, ...] | None
    put: Callable[[str, Any], None]
    values: list[tuple[str, Field, Sealed | Unsealed | None]]


def seal_rows(access: Access, connection: Connection, rows: Sequence[Row]) -> None:
    """Seal every value of ``rows`` in place: all of them, or none when a field is refused."""
    written: dict[Field, list[Row]] = defaultdict(list)
    for row in rows:
        for _, field, _ in row.values:
            if field.tenanted and row.tenant != access.tenant:
                raise access.refused(field, "write", "tenant")
            written[field].append(row)
    grants = {field: authorize(access, field) for field in written}

    with access.vault.key_connection(connection) as keys_on:
        keys = _keys(access, keys_on, rows)
        for field, its_rows in written.items():
            refs = [keys[row.tenant, row.subject].log_ref for row in its_rows]
            access.journal.append_many(grants[field].prefix, refs)

        for row in rows:
            key = keys[row.tenant, row.subject]
            bound = key.place + (row_part(row.row_id) if row.row_id else b"")
            for name, field, value in row.values:
                place = grants[field].head + bound
                data = _data(access, keys_on, place, value)
                if data is None:
                    row.put(name, None)
                else:
                    flags = (FLAG_PADDED if field.padded else 0) | (FLAG_ROW if row.row_id else 0)
                    row.put(name, Sealed(seal(key.cipher, key.key_id, place, data, flags)))
                if field.search is not None:
                    row.put(f"{name}_bidx", index_term(access, keys_on, field, row.tenant, data))
    access.vault.keys.remember(keys.values())


def authorize(access: Access, field: Field) -> Grant:
    """The grant to write a field, or the refusal, journaled."""
    grant = access.grant(field, "write")
    if grant.denied or monotonic() >= access.deadline:
        raise access.refuse(grant)
    return grant


def _data(
    access: Access, connection: Connection, place: bytes, value: Sealed | Unsealed | None
) -> bytes | None:
    """The encoded value to seal. A Sealed one must open in this very place to be kept."""
    if type(value) is not Sealed:
        return value.data if isinstance(value, Unsealed) else None
    sealed_by = access.vault.keys.fetch(connection, [key_id_of(value)])
    former = sealed_by[key_id_of(value)]
    return open_sealed(former.cipher, place, value)


def _keys(
    access: Access, connection: Connection, rows: Sequence[Row]
) -> dict[tuple[str, bytes], SubjectKey]:
    """The active key of every subject, in one look-up a tenant; new people need no look-up."""
    groups: dict[tuple[str, bool], set[bytes]] = defaultdict(set)
    for row in rows:
        groups[row.tenant, row.new_subject].add(row.subject)
    keys: dict[tuple[str, bytes], SubjectKey] = {}
    for (tenant, fresh), subjects in groups.items():
        subjects -= {subject for owner, subject in keys if owner == tenant}
        active = access.vault.keys.active(connection, tenant, subjects, fresh=fresh)
        keys.update({(tenant, subject): key for subject, key in active.items()})
    return keys
