"""What outlasts an erasure, and on which ground; and what the law may ask to be kept from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import inspect, select

from vaultlayer.keys import tables
from vaultlayer.ledgers import LEDGERS, disclosed
from vaultlayer.lifecycle.models import rows_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from uuid import UUID

    from sqlalchemy import Connection

    from vaultlayer.access.bundle import Bundle
    from vaultlayer.orm.entity import Entity

PROOF = "legal_obligation: to show that people's rights were kept (GDPR 5(2), 7(1), 17(3)(b))"
OTHERS = "others_rights: the rows are other people's (GDPR 15(4))"
MARK = "legal_obligation: so that nothing, not even a backup, brings the person back (GDPR 17)"


def kept(
    connection: Connection, keys_on: Connection, known: Sequence[Entity], subject_id: UUID
) -> list[dict[str, Any]]:
    """What stays: ``what``, ``rows`` and the ``ground``."""
    found = [{"what": tables.tombstone.name, "rows": 1, "ground": MARK}]
    about_people = [table for table in (*LEDGERS, disclosed) if "subject" in table.c]
    for ledger in about_people:
        if not inspect(keys_on).has_table(ledger.name):
            continue
        mine = select(sa.func.count()).where(ledger.c.subject == subject_id.bytes)
        rows = keys_on.scalar(mine)
        if rows:
            found.append({"what": ledger.name, "rows": rows, "ground": PROOF})
    found += [
        {"what": name, "rows": rows, "ground": OTHERS}
        for name, rows in shared_rows(connection, known, subject_id)
    ]
    return found


def shared_rows(
    connection: Connection, known: Iterable[Entity], subject_id: UUID
) -> Iterator[tuple[str, int]]:
    """Rows of other people that point at this person: ``table.column``, and how many."""
    people = {table: entity for entity in known if entity.is_subject for table in _own(entity)}
    for entity in known:
        own = set(entity.link.local) if entity.link is not None else set()
        for column in entity.mapper.columns:
            key = next(iter(column.foreign_keys), None) if _is_of(column, entity) else None
            person = people.get(key.column.table) if key is not None else None
            if key is None or person is None or _key(entity, column) in own:
                continue
            owner = key.column.table
            whose = select(key.column).where(rows_of(owner, person, owner, subject_id))
            theirs = ~rows_of(column.table, entity, column.table, subject_id)
            count = select(sa.func.count()).where(column.in_(whose), theirs)
            rows = connection.scalar(count)
            if rows:
                yield f"{column.table.name}.{column.name}", rows


def claims(bundle: Bundle, known: Iterable[Entity]) -> list[dict[str, Any]]:
    """The purposes that the law asks for and that need some of these fields: ``purpose``,
    ``retention`` and ``fields``. An erasure ends them for the person."""
    labels = {field.label: field for entity in known for field in entity.fields.values()}
    found = []
    for purpose in bundle.purposes.values():
        fields = [
            label
            for label, field in sorted(labels.items())
            if set(bundle.lineage(field.category)) & set(purpose.categories)
        ]
        if purpose.basis == "legal_obligation" and fields:
            told = {"purpose": purpose.name, "retention": purpose.retention, "fields": fields}
            found.append(told)
    return found


def _own(entity: Entity) -> Iterator[Any]:
    yield from entity.mapper.tables


def _is_of(column: Any, entity: Entity) -> bool:
    """A column of the entity's own table that is no part of its primary key."""
    return (
        isinstance(column, sa.Column)
        and column.table is entity.mapper.local_table
        and not column.primary_key
    )


def _key(entity: Entity, column: Any) -> str:
    return entity.mapper.get_property_by_column(column).key
