"""Whose row is this? The subject of new and changed rows, parents looked up in one statement."""

from __future__ import annotations

import uuid
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, tuple_
from sqlalchemy.orm.attributes import instance_state

from vaultlayer.errors import ConfigurationError
from vaultlayer.orm.entity import SUBJECT_KEY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from vaultlayer.orm.entity import Entity, Link

_BATCH = 500


class Subjects:
    """The subjects of a flush's instances."""

    def __init__(self, session: Session, instances: Iterable[tuple[Entity, Any]]) -> None:
        wanted: dict[Link, set[tuple[Any, ...]]] = defaultdict(set)
        for entity, instance in instances:
            link, below = entity.link, instance
            while link is not None and (parent := _parent(link, below)) is not None:
                link, below = link.parent.link, parent
            key = _foreign_key(link, below.__dict__) if link is not None else None
            if link is not None and key is not None:
                wanted[link].add(key)
        self._found: dict[tuple[Link, tuple[Any, ...]], bytes] = {}
        for link, keys in wanted.items():
            mapper = link.parent.mapper
            connection = session.connection(bind_arguments={"mapper": mapper})
            found = subjects_by_key(connection, link, list(keys))
            self._found.update({(link, key): subject for key, subject in found.items()})

    def of(self, entity: Entity, instance: Any) -> bytes | None:
        """16 bytes, b"" for a row that belongs to no person, None when it can't be told whose."""
        if entity.subject_key is None:
            return b""
        if entity.link is None:
            subject = getattr(instance, SUBJECT_KEY)
            return None if subject is None else bytes(subject.bytes)
        parent = _parent(entity.link, instance)
        if parent is not None:
            return self.of(entity.link.parent, parent)
        key = _foreign_key(entity.link, instance.__dict__)
        return None if key is None else self._found.get((entity.link, key))


def owners_of(
    connection: Connection, entity: Entity, rows: Sequence[dict[str, Any]]
) -> list[tuple[bytes, bool]]:
    """The subject of each row of an INSERT, and whether its id was drawn just now."""
    if entity.subject_key is None:
        return [(b"", False)] * len(rows)
    if entity.link is None:
        given = [row.get(SUBJECT_KEY) for row in rows]
        return [(each.bytes, False) if each else (uuid.uuid4().bytes, True) for each in given]
    keys = [_foreign_key(entity.link, row) for row in rows]
    found = subjects_by_key(connection, entity.link, list({key for key in keys if key}))
    if not all(key in found for key in keys):
        raise nobody(entity)
    return [(found[key], False) for key in keys if key]


def subjects_by_key(
    connection: Connection, link: Link, keys: Sequence[tuple[Any, ...]]
) -> dict[tuple[Any, ...], bytes]:
    """Foreign key → subject, read from the parents' table."""
    parent = link.parent.mapper.class_
    remote = [getattr(parent, key) for key in link.remote]
    statement = select(*remote, getattr(parent, SUBJECT_KEY))
    found: dict[tuple[Any, ...], bytes] = {}
    for start in range(0, len(keys), _BATCH):
        batch = keys[start : start + _BATCH]
        alone = len(remote) == 1
        among = remote[0].in_([k for (k,) in batch]) if alone else tuple_(*remote).in_(batch)
        for *key, subject in connection.execute(statement.where(among)):
            if subject is not None:
                found[tuple(key)] = subject.bytes
    return found


def _parent(link: Link, instance: Any) -> Any:
    """The parent instance where it says whose the row is; never loaded for this.

    An assigned relationship outranks the foreign key, as in SQLAlchemy's flush; one that was
    only loaded may be older than it.
    """
    values = instance.__dict__
    parent = values.get(link.relationship) if link.relationship else None
    if parent is None or link.relationship in instance_state(instance).committed_state:
        return parent
    key = _foreign_key(link, values)
    remote = tuple([parent.__dict__.get(name) for name in link.remote])
    return parent if key is None or key == remote else None


def _foreign_key(link: Link, values: dict[str, Any]) -> tuple[Any, ...] | None:
    key = tuple([values.get(name) for name in link.local])
    return None if None in key else key


def nobody(entity: Entity) -> ConfigurationError:
    name, link = entity.mapper.class_.__name__, entity.link
    to_set = " or ".join(filter(None, (link.relationship, *link.local))) if link else SUBJECT_KEY
    owner = link.parent.mapper.class_.__name__ if link else "id"
    return ConfigurationError(
        f"a {name} is to be stored, but whose it is can't be told",
        hint=f"set {to_set} to an existing or new {owner} before the flush",
    )


