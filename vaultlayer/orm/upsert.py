"""INSERT … ON CONFLICT DO UPDATE (ON DUPLICATE KEY UPDATE) on a unique blind index.

A row that is there already keeps its person, so what is put into it must be sealed for that person.
So it is looked up by its term before anything is sealed, and the new row gets that ``subject_id``.
Should somebody else store the value in between, the statement sets a NULL into the NOT NULL
``subject_id`` of the row it meets, and fails as a whole: nothing is ever put under a strange key.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from vaultlayer.orm.attribute import assigned
from vaultlayer.orm.entity import SUBJECT_KEY
from vaultlayer.orm.given import Values, cant_seal, column_name
from vaultlayer.orm.moves import binding_columns
from vaultlayer.sealed import Unsealed
from vaultlayer.search.blind_index import index_keys

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence

    from sqlalchemy import Connection, Table

    from vaultlayer.acting import Access
    from vaultlayer.orm.entity import Entity
    from vaultlayer.orm.field import Field
    from vaultlayer.search.blind_index import Index


class Upsert:
    """One such statement; ``statement`` is what to send in its place."""

    def __init__(
        self, statement: Any, table: Table, fields: dict[str, Field], entity: Entity
    ) -> None:
        self.statement = statement._generate()
        self._table, self._fields, self._entity = table, fields, entity
        clause = copy.copy(statement._post_values_clause)
        self._is_mysql = hasattr(clause, "update")
        self._index = self._conflict(clause)
        changed = dict(clause.update if self._is_mysql else clause.update_values_to_set)
        changed = self._rewritten(changed, clause, statement)
        if self._is_mysql:
            clause.update = changed
        else:
            clause.update_values_to_set = changed
            clause.inferred_target_elements = [self._index.key]
        self.statement._post_values_clause = clause

    def take_over(
        self, access: Access, connection: Connection, rows: Sequence[Values], common: Values
    ) -> None:
        """Give each row the person whose value is there already."""
        index, field = self._index, self._index.field
        hidden, owner = self._table.c[index.key], self._table.c[SUBJECT_KEY]
        bare: Any = sa.table(
            self._table.name,
            sa.column(hidden.name, sa.LargeBinary()),
            sa.column(owner.name, owner.type),
            schema=self._table.schema,
        )
        for row in rows:
            known = self._entity.by_attribute(self._table, {**common, **row})
            value = assigned(field, row.get(field.column.key, common.get(field.column.key)))
            if value is None:
                continue
            if type(value) is not Unsealed:
                raise cant_seal("ON CONFLICT DO UPDATE with a Sealed", "give the plain value")
            tenant = self._entity.tenant_of(known)
            keys = index_keys(access, connection, tenant, index)
            terms = [term for key in keys for term in index.terms(key, index.stored(value))]
            found = sa.select(bare.c[owner.name]).where(bare.c[hidden.name].in_(terms))
            if connection.dialect.name != "sqlite":
                found = found.with_for_update()
            subject: uuid.UUID | None = connection.scalar(found)
            if subject is not None:
                row[SUBJECT_KEY] = subject

    def _conflict(self, clause: Any) -> Index:
        """The unique blind index that a stored row is met by."""
        unique = {
            key: index
            for key, field in self._fields.items()
            for index in field.indexes
            if index.is_unique
        }
        if self._is_mysql:
            wanted = list(unique)
        else:
            wanted = [column_name(each) for each in clause.inferred_target_elements or ()]
            wanted = [name.removesuffix("_bidx") for name in wanted]
        if len(wanted) != 1 or wanted[0] not in unique or not self._entity.is_subject:
            raise cant_seal(
                "ON CONFLICT DO UPDATE",
                "load the row and assign, or name the one field with unique=True as what "
                "conflicts (index_elements)",
            )
        return unique[wanted[0]]

    def _rewritten(self, changed: dict[Any, Any], clause: Any, statement: Any) -> dict[Any, Any]:
        """What is set, with the hidden columns of what is sealed, and the guard."""
        excluded = statement.inserted if self._is_mysql else statement.excluded
        new: dict[Any, Any] = {}
        for column, value in changed.items():
            name = column_name(column)
            if name in binding_columns(self._table) or "_bidx" in name:
                raise cant_seal("ON CONFLICT DO UPDATE", "load the row and assign")
            field = self._fields.get(name)
            if field is None:
                new[name] = value
                continue
            if value is not excluded[name] and getattr(value, "key", None) != name:
                raise cant_seal(
                    "ON CONFLICT DO UPDATE of a plain value",
                    "load the row and assign, or give it in values() and set it from excluded",
                )
            if field.twin is not None:
                raise cant_seal(
                    "ON CONFLICT DO UPDATE of a field that is being migrated",
                    "load the row and assign",
                )
            if field.compounds or any(each.kind.many for each in field.indexes):
                raise cant_seal(
                    "ON CONFLICT DO UPDATE of a field with Words, Substring or Compound",
                    "load the row and assign",
                )
            new[name] = excluded[name]
            new |= {index.key: excluded[index.key] for index in field.indexes}
        owner = self._table.c[SUBJECT_KEY]
        same = owner == excluded[SUBJECT_KEY]
        new[SUBJECT_KEY] = sa.case((same, owner), else_=sa.null())
        return new


def changes_sealed(table: Table, fields: dict[str, Field], clause: Any) -> bool:
    """Whether a clause sets something sealed, or what binds it."""
    changed = getattr(clause, "update_values_to_set", None) or getattr(clause, "update", None)
    bound = binding_columns(table)
    names = [column_name(column) for column in dict(changed or {})]
    return any(name.partition("_bidx")[0] in fields or name in bound for name in names)

