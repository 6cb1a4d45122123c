"""The write path: bind → seal → store. No other module seals a value, but for column_path.py.

The rows come from a flush (orm/flush.py) or from an INSERT's parameters (orm/gate.py); what is
put back into them is what SQLAlchemy then stores, in the same transaction as the keys.
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from vaultlayer.crypto.binding import row_part, subject_part
from vaultlayer.crypto.envelope import (
    FLAG_PADDED,
    FLAG_ROW,
    NONCE_BYTES,
    either_place,
    is_row_bound,
    key_id_of,
    open_sealed,
    seal,
)
from vaultlayer.errors import ConfigurationError, IntegrityError
from vaultlayer.orm.loading import failures_told
from vaultlayer.sealed import Plain, Sealed, Unsealed
from vaultlayer.search.upkeep import Upkeep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Connection

    from vaultlayer.access.grants import Grant
    from vaultlayer.acting import Access
    from vaultlayer.keys.keyring import SubjectKey
    from vaultlayer.orm.field import Field


@dataclass(slots=True)
class Row:
    """A row about to be stored: where it belongs, its encoded values, and how to put one back."""

    tenant: str
    subject: bytes
    new_subject: bool
    row_id: tuple[Any, ...] | None
    put: Callable[[str, Any], None]
    values: list[tuple[str, Field, Sealed | Unsealed | None]]
    region: str | None = None  # where a new subject's key belongs


def seal_rows(
    access: Access,
    connection: Connection,
    rows: Sequence[Row],
    unsaved: dict[bytes, SubjectKey] | None = None,
) -> None:
    """Seal every value of ``rows`` in place: all of them, or none when a field is refused.

    ``unsaved`` are keys of the transaction so far, which a rollback takes out of the database;
    this one's are added.
    """
    written = _by_field(access, rows)
    grants = {field: authorize(access, field) for field in written}

    with access.vault.key_connection(connection) as keys_on:
        with failures_told(access, written, "write"):
            former = _former_keys(access, keys_on, rows, unsaved or {})
            keys = _keys(access, keys_on, rows)
        access.admit(
            keys_on, {keys[row.tenant, row.subject]: row.values[0][1] for row in rows if row.values}
        )
        for field, its_rows in written.items():
            refs = [keys[row.tenant, row.subject].log_ref for row in its_rows]
            access.journal.append_many(grants[field].prefix, refs)

        upkeep = Upkeep(access, connection, keys_on)
        doubled = access.vault.migrations.doubled(connection, written)
        nonces = fresh_nonces(sum(len(row.values) for row in rows))
        for row in rows:
            key = keys[row.tenant, row.subject]
            bound, row_flag = subject_part(row.subject), 0
            if row.row_id:
                bound, row_flag = bound + row_part(row.row_id), FLAG_ROW
            indexed: dict[Field, bytes | None] = {}
            for name, field, value in row.values:
                head, sealed = grants[field].head, None
                data = value if type(value) is not Sealed else _reopened(
                    former, grants[field], row, value
                )  # fmt: skip
                if data is not None:
                    flags = row_flag | FLAG_PADDED if field.padded else row_flag
                    nonce = next(nonces)
                    sealed = Sealed(seal(key.cipher, key.key_id, head + bound, data, flags, nonce))
                row.put(name, sealed)
                if field in doubled:
                    row.put(field.twin_key, data and Plain(grants[field].decode(data)))
                if field.indexes or field.compounds:
                    indexed[field] = data
            if indexed:
                upkeep.note(row, indexed)
        upkeep.store()
    access.vault.keys.remember(keys.values())
    if unsaved is not None:
        unsaved.update({key.key_id: key for key in keys.values()})


def authorize(access: Access, field: Field) -> Grant:
    """The grant to write a field, or the refusal, journaled."""
    grant = access.grant(field, "write")
    if grant.denied or monotonic() >= access.deadline:
        grant = access.confirm(grant)
    return grant


def _by_field(access: Access, rows: Sequence[Row]) -> dict[Field, list[Row]]:
    """The rows that write each field."""
    written: dict[Field, list[Row]] = defaultdict(list)
    for row in rows:
        for _, field, _ in row.values:
            if field.tenanted and row.tenant != access.tenant:
                raise access.refused(field, "write", "tenant")
            written[field].append(row)
    return written


def _former_keys(
    access: Access,
    connection: Connection,
    rows: Sequence[Row],
    unsaved: dict[bytes, SubjectKey],
) -> dict[bytes, SubjectKey]:
    """The keys of assigned Sealed values; another person's are refused before any key is made."""
    kept = [
        (row, field, value)
        for row in rows
        for _, field, value in row.values
        if type(value) is Sealed
    ]
    wanted = {key_id_of(value) for _, _, value in kept}
    former = {key_id: unsaved[key_id] for key_id in wanted if key_id in unsaved}
    former.update(access.vault.keys.fetch(connection, wanted - former.keys()))
    for row, field, value in kept:
        if former[key_id_of(value)].subject != row.subject:
            raise _foreign(field)
    return former


def _reopened(
    former: dict[bytes, SubjectKey], grant: Grant, row: Row, value: Sealed
) -> bytes:
    """The encoded value in a Sealed one, which must open in this very place to be kept."""
    key = former[key_id_of(value)]
    place = grant.head + subject_part(row.subject)
    if is_row_bound(value):
        place += row_part(row.row_id) if row.row_id else b""
    try:
        data = open_sealed(either_place(key.cipher, grant.head, grant.former), place, value)
    except IntegrityError:
        raise _foreign(grant.field) from None
    renew = grant.field.renew
    return data if renew is None else renew(data)


def fresh_nonces(count: int) -> Iterator[bytes]:
    """Random 96-bit nonces (NIST SP 800-38D, 8.2.2), drawn at once: a call each costs more."""
    pool = os.urandom(NONCE_BYTES * count)
    return (pool[start : start + NONCE_BYTES] for start in range(0, len(pool), NONCE_BYTES))


def _foreign(field: Field) -> ConfigurationError:
    return ConfigurationError(
        f"a Sealed value was assigned to {field.label} that is not its own",
        hint="assign the opened value instead: read it first, within the access",
    )


def _keys(
    access: Access, connection: Connection, rows: Sequence[Row]
) -> dict[tuple[str, bytes], SubjectKey]:
    """The active key of every subject, in one look-up a tenant; new people need no look-up."""
    groups: dict[tuple[str, bool, str | None], set[bytes]] = defaultdict(set)
    for row in rows:
        groups[row.tenant, row.new_subject, row.region].add(row.subject)
    keys: dict[tuple[str, bytes], SubjectKey] = {}
    for (tenant, fresh, region), subjects in sorted(groups.items(), key=_region_last):
        subjects -= {subject for owner, subject in keys if owner == tenant}
        active = access.vault.keys.active(connection, tenant, subjects, fresh, region)
        keys.update({(tenant, subject): key for subject, key in active.items()})
    return keys


def _region_last(group: tuple[tuple[str, bool, str | None], set[bytes]]) -> bool:
    """A row that says where its person belongs comes before the person's rows that don't."""
    return group[0][2] is None
