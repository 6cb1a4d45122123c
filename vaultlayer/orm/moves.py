"""A row that changes its person, tenant or primary key would leave its sealed values behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from vaultlayer.errors import ConfigurationError, UnsupportedQuery
from vaultlayer.orm.entity import ENTITY, SUBJECT_KEY
from vaultlayer.sealed import Sealed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Table
    from sqlalchemy.orm import Session

    from vaultlayer.orm.entity import Entity


class Change:
    """One instance of the flush and the keys of its personal fields that will be written."""

    __slots__ = ("entity", "instance", "keys", "new", "values")

    def __init__(self, entity: Entity, instance: Any, new: bool, keys: list[str]) -> None:
        self.entity = entity
        self.instance = instance
        self.new = new
        self.keys = keys
        self.values: dict[str, Any] = instance.__dict__

    @property
    def before(self) -> dict[str, Any]:
        """The attributes that were assigned, with what they held before."""
        before: dict[str, Any] = self.values["_sa_instance_state"].committed_state
        return before


def may_have_moved(change: Change) -> bool:
    """Whether something was assigned that says where the row's values belong."""
    entity, before = change.entity, change.before
    relationship = entity.link.relationship if entity.link is not None else None
    return any(key in before for key in (*entity.binding, relationship))


def refuse_moved(session: Session, change: Change, subject: bytes | None) -> None:
    """Refuse a row whose place changed, unless all of its values are assigned anew.

    :param subject: whose row it will be, or None for nobody's.
    """
    if change.new or not may_have_moved(change):
        return
    entity, values = change.entity, change.values
    if entity.is_subject and _differs(change, SUBJECT_KEY):
        raise ConfigurationError(
            f"the subject_id of a {_name(entity)} was changed, by which everything of the person "
            "is sealed",
            hint=f"add a new {_name(entity)} instead",
        )
    moved = [key for key in (*entity.row_keys, entity.tenant_key) if key and _differs(change, key)]
    if entity.link is not None and _owner(change) != subject:
        moved.append(entity.link.relationship or entity.link.local[0])
        _refuse_dependents(session, change)
    left = [key for key in entity.fields if _is_left(values.get(key, Sealed))]
    if moved and left:
        raise ConfigurationError(
            f"{moved[0]} of a {_name(entity)} was changed, but its sealed values are bound to "
            "the old one",
            hint=f"assign {', '.join(sorted(left))} anew in the same flush",
        )


def _refuse_dependents(session: Session, change: Change) -> None:
    """The rows that hang from this one would move along, and can't be sealed anew from here."""
    for dependent in change.entity.dependents:
        link = dependent.link
        cls = dependent.mapper.class_
        if link is None:
            continue
        leads = [
            getattr(cls, local) == change.values.get(remote)
            for local, remote in zip(link.local, link.remote, strict=True)
        ]
        statement = select(*[getattr(cls, key) for key in link.local]).where(*leads).limit(1)
        if session.connection().execute(statement).first() is not None:
            raise ConfigurationError(
                f"a {_name(change.entity)} was moved to another person, but its rows of "
                f"{_name(dependent)} are sealed for the old one",
                hint=f"add a new {_name(change.entity)} with new rows, and delete the old ones",
            )


def _owner(change: Change) -> bytes | None:
    """Whose row it is in the database."""
    subject = getattr(change.instance, SUBJECT_KEY)
    return None if subject is None else bytes(subject.bytes)


def _differs(change: Change, key: str) -> bool:
    return key in change.before and change.before[key] != change.values.get(key)


def _is_left(value: Any) -> bool:
    """Whether a field still holds what was sealed in the old place; Sealed itself: not loaded."""
    return value is Sealed or type(value) is Sealed


def _name(entity: Entity) -> str:
    return entity.mapper.class_.__name__


def refuse_moving_update(table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """An UPDATE can't take rows to another person: their values would stay behind."""
    for key in {key for row in rows for key in row} & binding_columns(table):
        raise UnsupportedQuery(
            f"an UPDATE of {table.name}.{key}, to which sealed values are bound, can't be sent",
            hint="load the rows and assign it together with their personal fields",
        )


def binding_columns(table: Table) -> set[str]:
    """The column keys that say where the table's sealed values belong."""
    entity: Entity | None = table.primary_key.info.get(ENTITY)
    if entity is None:
        return set()
    bound = [entity.mapper.columns.get(key) for key in entity.binding]
    return {column.key for column in table.c if any(column is each for each in bound)}
