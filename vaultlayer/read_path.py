"""The read path: load → authorize → journal → open. No other module opens a value.

Loading put a ``Sealed`` into the row and left it closed. ``reading`` makes the ``__get__`` of a
personal attribute, the hot path; ``open_rows`` is the same line for many rows at once.
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
from vaultlayer.orm.attribute import assigned
from vaultlayer.orm.entity import SUBJECT_KEY
from vaultlayer.sealed import Masked, Sealed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vaultlayer.access.grants import Grant
    from vaultlayer.acting import Access
    from vaultlayer.keys.keyring import SubjectKey
    from vaultlayer.orm.entity import Entity, Field

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


def open_rows(
    access: Access, entity: Entity, fields: Sequence[Field], rows: Sequence[tuple[Row, list[Any]]]
) -> list[tuple[Any, ...]]:
    """Open some fields of many rows, each given with its closed values in the fields' order."""
    grants = [access.grant(field, "read") for field in fields]
    for position, grant in enumerate(grants):
        if grant.denied or monotonic() >= access.deadline:
            refused = [values[position] for _, values in rows]
            raise access.refuse(grant, loading.known_refs(access, refused))

    columns: list[list[Any]] = [[] for _ in fields]
    for row, values in rows:
        header = key = place = None
        for field, cells, sealed in zip(fields, columns, values, strict=True):
            if sealed is None:
                cells.append(None)
                continue
            if sealed[:19] != header:  # a row's values mostly share key and place
                key, place = loading.locate(access, entity, field, row, sealed)
                header = sealed[:19]
            cells.append((key, place, sealed))

    for grant, cells in zip(grants, columns, strict=True):
        access.journal.append_many(grant.prefix, [cell[0].log_ref for cell in cells if cell])
    opened = [
        [cell and _open(grant, field, *cell) for cell in cells]
        for grant, field, cells in zip(grants, fields, columns, strict=True)
    ]
    return list(zip(*opened, strict=True))


def _open(grant: Grant, field: Field, key: SubjectKey, place: bytes | None, sealed: bytes) -> Any:
    if place is None:
        value = grant.decode(key.open_own(grant.head, sealed))
    else:
        value = grant.decode(open_sealed(key.cipher, grant.head + place, sealed))
    return Masked(mask(field.mask, value)) if grant.masked else value


def _unstored(access: Access, grant: Grant, field: Field, pending: Any) -> Any:
    """A value assigned and not flushed yet: decided and journaled like any other."""
    access.journal.append(grant.prefix, NO_REF)
    value = grant.decode(assigned(field, pending).data)  # pydantic and dataclasses leave it plain
    return Masked(mask(field.mask, value)) if grant.masked else value
