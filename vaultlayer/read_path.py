"""The read path: load → authorize → journal → open. No other module opens a value.

Loading put a ``Sealed`` into the row and left it closed. ``reading`` makes the ``__get__`` of a
personal attribute, the hot path; ``open_columns`` is the same line for many rows at once.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import object_session

from vaultlayer.access.context import CURRENT, PINNED, acting, no_access
from vaultlayer.access.grants import NO_REF
from vaultlayer.access.masks import mask
from vaultlayer.crypto.envelope import open_sealed
from vaultlayer.orm import loading
from vaultlayer.orm.attribute import encoded
from vaultlayer.orm.entity import SUBJECT_KEY
from vaultlayer.sealed import Masked, Sealed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vaultlayer.access.grants import Grant
    from vaultlayer.acting import Access
    from vaultlayer.keys.keyring import SubjectKey
    from vaultlayer.orm.entity import Entity
    from vaultlayer.orm.field import Field

Row = dict[str, Any]  # a mapped instance's dict, or the columns of its place


def reading(
    entity: Entity, field: Field, load: Callable[[Any, Any, Any], Any]
) -> Callable[[Any, Any, Any], Any]:
    """The ``__get__`` of one personal attribute; ``load`` is SQLAlchemy's own."""
    name, is_composite = field.key, entity.is_composite

    def read(attribute: Any, instance: Any, owner: Any) -> Any:
        if instance is None:
            return attribute
        row = instance.__dict__
        try:
            sealed = row[name]
        except KeyError:  # deferred or expired
            sealed = load(attribute, instance, owner)
        if sealed is None:
            return None

        access = acting(object_session(instance)) if PINNED else CURRENT.get()
        if access is None:
            raise no_access(f"{field.label} was read")
        grant = access.grants.get(field) or access.grant(field, "read")
        now = monotonic()
        if grant.denied or now >= access.deadline:
            raise access.refuse(grant, loading.known_refs(access, [sealed]))
        if type(sealed) is not Sealed:
            return _unstored(access, grant, field, sealed)

        # A row's values mostly share subject and key, so the last ones are tried first.
        subject, key = access.last
        place = None
        if (
            row.get(SUBJECT_KEY) is not subject or sealed[:19] != key.header
            or now >= key.expires or is_composite
        ):  # fmt: skip
            key, place = loading.locate(access, entity, field, row, sealed)
            access.last = row.get(SUBJECT_KEY), key

        access.journal.append(grant.prefix, key.log_ref)  # in the kernel on return, or it raises
        if place is None and not grant.masked:
            return grant.decode(key.open_own(grant.head, sealed))
        return _open(grant, field, key, place, sealed)

    return read


def open_columns(
    access: Access,
    entity: Entity,
    fields: Sequence[Field],
    rows: Sequence[Row],
    columns: Sequence[Sequence[Any]],
) -> list[list[Any]]:
    """Open some fields of many rows: a column of closed values a field, and so returned.

    Lists of values and keys, no object a cell: a batch of thousands costs the garbage
    collector nothing.
    """
    grants = [access.grant(field, "read") for field in fields]
    for grant, closed in zip(grants, columns, strict=True):
        if grant.denied or monotonic() >= access.deadline:
            raise access.refuse(grant, loading.known_refs(access, closed))

    located = []
    known: list[SubjectKey | None] = [None] * len(rows)
    for field, closed in zip(fields, columns, strict=True):
        known, places = _locate_column(access, entity, field, rows, closed, known)
        located.append((known, places))
    for grant, (keys, _) in zip(grants, located, strict=True):
        access.journal.append_many(grant.prefix, [key.log_ref for key in keys if key is not None])
    return [
        _open_column(grant, field, keys, places, closed)
        for grant, field, (keys, places), closed in zip(
            grants, fields, located, columns, strict=True
        )
    ]


def _locate_column(
    access: Access,
    entity: Entity,
    field: Field,
    rows: Sequence[Row],
    closed: Sequence[Any],
    known: Sequence[SubjectKey | None],
) -> tuple[list[SubjectKey | None], dict[int, bytes]]:
    """The key of each value, None for NULL; and the places that hold more than the subject.

    ``known`` are keys found for the same rows: a row's values mostly share theirs.
    """
    keys: list[SubjectKey | None] = []
    places: dict[int, bytes] = {}
    for row, sealed, key in zip(rows, closed, known, strict=True):
        if sealed is None:
            keys.append(None)
        elif key is not None and sealed[:19] == key.header and not entity.is_composite:
            keys.append(key)
        else:
            found, place = loading.locate(access, entity, field, row, sealed)
            if place is not None:
                places[len(keys)] = place
            keys.append(found)
    return keys, places


def _open_column(
    grant: Grant,
    field: Field,
    keys: Sequence[SubjectKey | None],
    places: dict[int, bytes],
    closed: Sequence[Any],
) -> list[Any]:
    if places or grant.masked:
        return [
            None if key is None else _open(grant, field, key, places.get(n), closed[n])
            for n, key in enumerate(keys)
        ]
    head, decode = grant.head, grant.decode
    return [
        None if key is None else decode(key.open_own(head, sealed))
        for key, sealed in zip(keys, closed, strict=True)
    ]


def _open(grant: Grant, field: Field, key: SubjectKey, place: bytes | None, sealed: bytes) -> Any:
    if place is None:
        value = grant.decode(key.open_own(grant.head, sealed))
    else:
        value = grant.decode(open_sealed(key.cipher, grant.head + place, sealed))
    return Masked(mask(field.mask, value)) if grant.masked else value


def _unstored(access: Access, grant: Grant, field: Field, pending: Any) -> Any:
    """A value assigned and not flushed yet: decided and journaled like any other."""
    access.journal.append(grant.prefix, NO_REF)
    value = grant.decode(encoded(field, pending))
    return Masked(mask(field.mask, value)) if grant.masked else value
