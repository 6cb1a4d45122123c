"""The read path: load → authorize → journal → open. No other module opens a value.

``read`` serves a mapped attribute, a selected column and a batch alike; loading put the
``Sealed`` value into the row and left it closed. It is the hot path: a cached grant, a cached
key, one record in the journal, one decryption.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from vaultlayer.access.grants import NO_REF
from vaultlayer.access.masks import mask
from vaultlayer.crypto.envelope import open_sealed
from vaultlayer.orm import loading
from vaultlayer.sealed import Masked, Sealed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultlayer.acting import Access
    from vaultlayer.orm.entity import Entity, Field


def read(access: Access, entity: Entity, field: Field, row: dict[str, Any], sealed: Any) -> Any:
    """Open one sealed value of a loaded row; ``row`` is the instance's dict, or its like."""
    grant = access.grants.get(field)
    if grant is None or access.snapshot is not access.vault.snapshot:
        grant = access.grant(field, "read")
    now = monotonic()
    if grant.effect == "deny" or now >= access.deadline:
        raise access.refuse(grant, loading.known_refs(access, [sealed]))
    if type(sealed) is not Sealed:
        return _unstored(access, field, sealed)

    envelope = sealed.envelope
    key = access.cached_keys.get(envelope[3:19])
    if key is None or now >= key.expires:
        key = loading.fetch_key(access, row, envelope)
    place = grant.head + loading.place(access, entity, row, key, envelope)

    access.journal.append(grant.prefix, key.log_ref)  # in the kernel when this returns, or it raises
    value = grant.decode(open_sealed(key.cipher, place, envelope))
    return value if grant.effect == "allow" else Masked(mask(field.mask, value))


def reveal(access: Access, rows: Any, attributes: Sequence[Any]) -> list[Any]:
    """Open some fields of many rows: all or none of the fields, keys in one statement."""
    batch = loading.as_rows(rows)
    fields = [loading.personal(attribute) for attribute in attributes]
    for _, field in fields:
        grant = access.grant(field, "read")
        if grant.effect == "deny":
            values = [loading.sealed_of(row, field) for row in batch]
            raise access.refuse(grant, loading.known_refs(access, values))
    loading.prefetch(access, batch, [field for _, field in fields])
    opened = [
        tuple([_open_one(access, entity, field, row) for entity, field in fields]) for row in batch
    ]
    return [values[0] for values in opened] if len(fields) == 1 else opened


def _open_one(access: Access, entity: Entity, field: Field, row: Any) -> Any:
    sealed = loading.sealed_of(row, field)
    return None if sealed is None else read(access, entity, field, row.__dict__, sealed)


def _unstored(access: Access, field: Field, pending: Any) -> Any:
    """A value assigned and not flushed yet: decided and journaled like any other."""
    grant = access.grant(field, "read")
    access.journal.append(grant.prefix, NO_REF)
    value = grant.decode(pending.data)
    return value if grant.effect == "allow" else Masked(mask(field.mask, value))
