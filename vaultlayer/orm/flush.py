"""What a flush is about to store: its new and changed personal values, as rows to seal."""

from __future__ import annotations

import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm.attributes import instance_state, set_attribute, set_committed_value

from vaultlayer.errors import ConfigurationError
from vaultlayer.orm.entity import SUBJECT_KEY, entity_of
from vaultlayer.orm.subjects import Subjects
from vaultlayer.sealed import Sealed, Unsealed
from vaultlayer.write_path import Row

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from vaultlayer.orm.entity import Entity

_CHILDREN = "vaultlayer.flushed_children"


def rows_to_seal(session: Session) -> list[Row]:
    """The changed personal values of a session, each row bound to its tenant, subject and key."""
    changes = _changes(session)
    new_subjects = {_draw_subject_id(change) for change in changes if change.new}
    subjects = Subjects(session, [(change.entity, change.instance) for change in changes])
    rows = []
    for change in changes:
        subject = subjects.of(change.entity, change.instance)
        rows.append(
            Row(
                tenant=change.entity.tenant_of(change.values),
                subject=subject,
                new_subject=subject in new_subjects,
                row_id=change.entity.row_id(change.values),
                put=partial(_put, change),
                values=[
                    (key, change.entity.fields[key], change.values.get(key)) for key in change.keys
                ],
            )
        )
        if change.entity.link is not None:
            session.info.setdefault(_CHILDREN, []).append((change.instance, subject))
    return rows


def settle_children(session: Session) -> None:
    """Give flushed child rows the subject the flush bound them to.

    SQLAlchemy expires the computed ``subject_id`` of a row it wrote; without this the next
    read would ask the database for it, row by row.
    """
    for instance, subject in session.info.pop(_CHILDREN, ()):
        set_committed_value(instance, SUBJECT_KEY, uuid.UUID(bytes=subject))


class _Change:
    """One instance of the flush and the keys of its personal fields that will be written."""

    __slots__ = ("entity", "instance", "keys", "new", "values")

    def __init__(self, entity: Entity, instance: Any, new: bool, keys: list[str]) -> None:
        self.entity = entity
        self.instance = instance
        self.new = new
        self.keys = keys
        self.values: dict[str, Any] = instance.__dict__


def _changes(session: Session) -> list[_Change]:
    found = []
    for instance in session.new:
        entity = entity_of(instance_state(instance).mapper)
        if entity is not None:
            values = instance.__dict__
            keys = [key for key in entity.fields if values.get(key) is not None]
            found.append(_Change(entity, instance, True, keys))
    for instance in session.dirty:
        state = instance_state(instance)
        entity = entity_of(state.mapper)
        if entity is not None:
            before = state.committed_state
            keys = [key for key in entity.fields if _rewritten(before, state.dict, key)]
            _refuse_moved(entity, before, state.dict)
            found.append(_Change(entity, instance, False, keys))
    return [change for change in found if change.keys or (change.new and change.entity.is_subject)]


def _rewritten(before: dict[str, Any], values: dict[str, Any], key: str) -> bool:
    """Whether a field was assigned; ``merge`` assigns what was there, and that is no write."""
    if key not in before:
        return False
    value = values.get(key)
    return not (type(value) is Sealed and value == before[key])


def _draw_subject_id(change: _Change) -> bytes | None:
    """A new subject gets its random id here, so that its values can be bound before the INSERT."""
    if not change.entity.is_subject or change.values.get(SUBJECT_KEY) is not None:
        return None
    subject = change.values[SUBJECT_KEY] = uuid.uuid4()
    return subject.bytes


def _put(change: _Change, key: str, value: Any) -> None:
    if change.new or key in change.entity.fields:
        change.values[key] = value  # replaces the assigned value under SQLAlchemy's own history
    else:
        set_attribute(change.instance, key, value)  # a blind index: SQLAlchemy must see it change


def _refuse_moved(entity: Entity, before: dict[str, Any], values: dict[str, Any]) -> None:
    """A row that changes its person, tenant or primary key leaves its sealed values behind."""
    bound_to = [*entity.row_keys, entity.tenant_key, SUBJECT_KEY if entity.is_subject else None]
    if entity.link is not None:
        bound_to += [*entity.link.local, entity.link.relationship]
    moved = [key for key in bound_to if key in before and before[key] != values.get(key)]
    if not moved:
        return
    left = [
        key
        for key in entity.fields
        if type(values.get(key, Sealed)) is not Unsealed and values.get(key, Sealed) is not None
    ]
    if left:
        raise ConfigurationError(
            f"{moved[0]} of a {entity.mapper.class_.__name__} was changed, but its sealed values "
            "are bound to the old one",
            hint=f"assign {', '.join(sorted(left))} anew in the same flush",
        )

