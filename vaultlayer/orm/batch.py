"""Batches for the read path: the rows of ``reveal()`` and of a column select."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import object_session
from sqlalchemy.orm.attributes import instance_state

from vaultlayer import read_path
from vaultlayer.errors import UnsupportedQuery
from vaultlayer.orm import fetching
from vaultlayer.orm.attribute import personal_field
from vaultlayer.orm.entity import entity_of
from vaultlayer.sealed import Unsealed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from vaultlayer.acting import Access
    from vaultlayer.orm.columns import Selected
    from vaultlayer.orm.entity import Entity
    from vaultlayer.orm.field import Field

_STATE = "_sa_instance_state"
_ABSENT = object()
_CHUNK = 1000  # rows: their keys come in one statement


def reveal(
    access: Access, rows: Any, attributes: Sequence[Any], action: str = "read"
) -> list[tuple[Any, ...]]:
    """The opened values of mapped instances, a tuple per row in the attributes' order."""
    instances = as_rows(rows)
    entity, fields = _asked(attributes)
    _check(instances, entity, fields)
    session = object_session(instances[0]) if instances else None
    opened: list[tuple[Any, ...]] = []
    for start in range(0, len(instances), _CHUNK):
        chunk = instances[start : start + _CHUNK]
        columns = [_closed(chunk, field) for field in fields]
        chunk = [instance.__dict__ for instance in chunk]
        values = read_path.open_columns(access, session, entity, fields, chunk, columns, action)
        opened.extend(zip(*values, strict=True))
    return opened


def open_selected(
    access: Access,
    session: Session,
    selected: Selected,
    places: Sequence[Any],
    closed: Sequence[Any],
) -> list[list[Any]]:
    """The opened columns of a column select's rows."""
    opened: list[list[Any]] = [[] for _ in closed]
    for start in range(0, len(places), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        columns = [column[chunk] for column in closed]
        some = read_path.open_columns(
            access, session, selected.entity, selected.fields, places[chunk], columns
        )
        for column, values in zip(opened, some, strict=True):
            column += values
    return opened


def as_rows(rows: Any) -> list[Any]:
    """One instance, or any iterable of them, as a list."""
    return [rows] if hasattr(rows, _STATE) else list(rows)


def _asked(attributes: Sequence[Any]) -> tuple[Entity, list[Field]]:
    known = [personal_field(attribute) for attribute in attributes]
    found = [each for each in known if each is not None]
    if not found or len(found) != len(known):
        raise UnsupportedQuery(
            "reveal() takes personal attributes, and at least one",
            hint="name them as on the class, e.g. access.reveal(rows, Customer.name)",
        )
    return found[0][0], [field for _, field in found]


def _check(instances: Sequence[Any], entity: Entity, fields: Sequence[Field]) -> None:
    owner = entity.mapper.class_
    if not all(issubclass(kind, owner) for kind in set(map(type, instances))):
        raise UnsupportedQuery(
            f"reveal() was asked for {fields[0].label} of something that has none",
            hint=f"give it mapped instances: session.scalars(select({owner.__name__}))",
        )


def _closed(instances: Sequence[Any], field: Field) -> list[Any]:
    """The rows' closed values, loaded where they aren't."""
    key = field.key
    values = [instance.__dict__.get(key, _ABSENT) for instance in instances]
    kinds = set(map(type, values))
    if Unsealed in kinds:
        raise UnsupportedQuery(
            f"reveal() was asked for a {field.label} that was assigned and not flushed yet",
            hint="session.flush() first",
        )
    if object in kinds:
        for position, instance in enumerate(instances):
            if values[position] is _ABSENT:
                state = instance.__dict__[_STATE]
                values[position] = state.get_impl(key).get(state, instance.__dict__)
    return values


def deny_reason(access: Access, attribute: Any, of: Any, action: str) -> str | None:
    """Why an action on a field would be refused, in general or for one row; None: it wouldn't."""
    _, (field,) = _asked([attribute])
    grant = access.grant(field, action)
    if grant.denied or of is None:
        return grant.reason if grant.denied else None
    entity, row = entity_of(instance_state(of).mapper), of.__dict__
    if entity is None or entity.subject_key is None:
        return None
    if entity.tenant_key is not None and entity.tenant_of(row) != access.tenant:
        return "tenant"
    fetching.prefetch(access, [of])
    subject = getattr(of, entity.subject_key)
    return access.people.reason(subject.bytes) or None
