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
from vaultlayer.orm.entity import SUBJECT_KEY
from vaultlayer.sealed import Masked, Sealed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultlayer.acting import Access
    from vaultlayer.orm.entity import Entity, Field


def read(access: Access, entity: Entity, field: Field, row: dict[str, Any], sealed: Any) -> Any:
    """Open one sealed value of a loaded row; ``row`` is the instance's dict, or its like."""
    # authorize: decided once an access, refused every time
    grant = access.grants.get(field)
    if grant is None or access.snapshot is not access.vault.snapshot:
        grant = access.grant(field, "read")
    now = monotonic()
    if grant.denied or now >= access.deadline:
        raise access.refuse(grant, loading.known_refs(access, [sealed]))
    if type(sealed) is not Sealed:
        return _unstored(access, field, sealed)

    # the key, together with its neighbours' when it isn't cached; the place, from the row itself
    envelope = sealed.envelope
    key = access.cached_keys.get(envelope[3:19])
    if key is None or now >= key.expires:
        key = loading.fetch_key(access, row, envelope)
    place = key.place
    subject = row.get(SUBJECT_KEY)
    if entity.is_composite or envelope[2] > 1 or subject is None or subject.int != key.number:
        place = loading.place(access, entity, row, key, envelope)

    # journal: in the kernel when this returns, or it raises; then open
    access.journal.append(grant.prefix, key.log_ref)
    value = grant.decode(open_sealed(key.cipher, grant.head + place, envelope))
    return Masked(mask(field.mask, value)) if grant.masked else value


def reveal(access: Access, rows: Any, attributes: Sequence[Any]) -> list[Any]:
    """Open some fields of many rows: all or none of the fields, keys in one statement."""
    batch = loading.as_rows(rows)
    fields = [loading.personal(attribute) for attribute in attributes]
    for _, field in fields:
        grant = access.grant(field, "read")
        if grant.denied:
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
    return Masked(mask(field.mask, value)) if grant.masked else value
