"""What a flush is about to store: its new and changed personal values, as rows to seal."""

from __future__ import annotations

import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm.attributes import instance_state, set_attribute, set_committed_value

from vaultlayer.orm.attribute import assigned
from vaultlayer.orm.entity import SUBJECT_KEY, entity_of
from vaultlayer.orm.moves import Change, may_have_moved, refuse_moved
from vaultlayer.orm.subjects import Subjects, nobody
from vaultlayer.sealed import Sealed
from vaultlayer.write_path import Row

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from vaultlayer.orm.entity import Entity
    from vaultlayer.orm.field import Field

_CHILDREN = "vaultlayer.flushed_children"


def rows_to_seal(session: Session) -> list[Row]:
    """The changed personal values of a session, each row bound to its tenant, subject and key."""
    changes = _changes(session)
    new_subjects = {_draw_subject_id(change) for change in changes if change.new}
    subjects = Subjects(session, [(change.entity, change.instance) for change in changes])
    rows = []
    for change in changes:
        entity = change.entity
        subject = subjects.of(entity, change.instance)
        refuse_moved(session, change, subject)
        if not change.keys and not (change.new and entity.is_subject):
            continue
        if subject is None:
            raise nobody(entity)
        rows.append(
            Row(
                tenant=entity.tenant_of(change.values),
                subject=subject,
                new_subject=subject in new_subjects,
                row_id=entity.row_id(change.values),
                put=partial(_put, change),
                values=[
                    (key, entity.fields[key], assigned(entity.fields[key], change.values.get(key)))
                    for key in change.keys
                ],
                region=entity.region_of(change.values),
            )
        )
        if entity.link is not None:
            session.info.setdefault(_CHILDREN, []).append((change.instance, subject))
    return rows


def settle_children(session: Session) -> None:
    """Give flushed child rows the subject the flush bound them to.

    SQLAlchemy expires the computed ``subject_id`` of a row it wrote; without this the next
    read would ask the database for it, row by row.
    """
    for instance, subject in session.info.pop(_CHILDREN, ()):
        set_committed_value(instance, SUBJECT_KEY, uuid.UUID(bytes=subject))


def forget_children(session: Session) -> None:
    """The flush failed, or its transaction was rolled back."""
    session.info.pop(_CHILDREN, None)


def _changes(session: Session) -> list[Change]:
    """New rows, and changed ones that write a personal field or may have moved."""
    found = []
    for instance in session.new:
        state = instance_state(instance)
        entity = entity_of(state.mapper)
        if entity is not None and not state.mapper._is_orphan(state):
            keys = [key for key, field in entity.fields.items() if _given(field, instance.__dict__)]
            if keys or entity.is_subject:
                found.append(Change(entity, instance, True, keys))
    for instance in session.dirty:
        state = instance_state(instance)
        entity = entity_of(state.mapper)
        if entity is not None and not state.mapper._is_orphan(state):
            before = state.committed_state
            keys = [key for key in entity.fields if _rewritten(before, state.dict, key)]
            keys = _with_others(entity, state, keys)
            change = Change(entity, instance, False, keys)
            if keys or may_have_moved(change):
                found.append(change)
    return found


def _given(field: Field, values: dict[str, Any]) -> bool:
    """Whether a new row has the field; the column's default is filled in here."""
    if values.get(field.key) is None and field.default is not None:
        values[field.key] = assigned(field, field.default())
    return values.get(field.key) is not None


def _rewritten(before: dict[str, Any], values: dict[str, Any], key: str) -> bool:
    """Whether a field was assigned; ``merge`` assigns what was there, and that is no write."""
    if key not in before:
        return False
    value = values.get(key)
    return not (type(value) is Sealed and value == before[key])


def _with_others(entity: Entity, state: Any, keys: list[str]) -> list[str]:
    """The fields of a compound index are written together, since its term is made of them all."""
    for group in entity.groups:
        if not set(group).isdisjoint(keys):
            others = [key for key in group if key not in keys]
            for key in others:
                state.get_impl(key).get(state, state.dict)  # loads what a deferral left out
            keys = [*keys, *others]
    return keys


def _draw_subject_id(change: Change) -> bytes | None:
    """A new subject gets its random id here, so that its values can be bound before the INSERT."""
    if not change.entity.is_subject or change.values.get(SUBJECT_KEY) is not None:
        return None
    subject = change.values[SUBJECT_KEY] = uuid.uuid4()
    return subject.bytes


def _put(change: Change, key: str, value: Any) -> None:
    if change.new or key in change.before:
        change.values[key] = value  # replaces the assigned value under SQLAlchemy's own history
    else:
        set_attribute(change.instance, key, value)  # written along: SQLAlchemy must see it change
