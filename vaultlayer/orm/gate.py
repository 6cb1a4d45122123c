"""The gate in front of the database: INSERT and UPDATE that bypass the unit of work.

``before_execute`` sees every statement of an attached engine before it is compiled. Plain values
for sealed columns are sealed here; what can't be sealed here is refused before it is sent.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from sqlalchemy import Table
from sqlalchemy.sql.dml import Delete, Insert, Update
from sqlalchemy.sql.selectable import GenerativeSelect

from vaultlayer.access.context import no_access
from vaultlayer.access.grants import NO_REF
from vaultlayer.orm.attribute import assigned
from vaultlayer.orm.entity import ENTITY, SUBJECT_KEY, fields_of_table
from vaultlayer.orm.given import Values, cant_seal, inline_rows, without_idle_twins
from vaultlayer.orm.moves import refuse_moving_update
from vaultlayer.orm.subjects import owners_of
from vaultlayer.orm.upsert import Upsert, changes_sealed
from vaultlayer.orm.uses import refuse_misuse
from vaultlayer.sealed import Sealed
from vaultlayer.search.terms import forget_rows
from vaultlayer.write_path import Row, authorize, seal_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

    from vaultlayer.acting import Access
    from vaultlayer.orm.entity import Entity
    from vaultlayer.orm.field import Field

def check(
    connection: Connection,
    statement: Any,
    parameters: Sequence[Values],
    acting: Any,
    is_sealed: Callable[[Connection], bool],
) -> tuple[Any, Sequence[Values]]:
    """The statement and parameters to send instead: the same, with nothing plain left in them.

    :param acting: tells the access that acts on a connection, or None.
    :param is_sealed: tells whether a flush is sending, whose rows were sealed for their places.
    """
    if isinstance(statement, GenerativeSelect | Update | Delete):
        refuse_misuse(statement)
    if isinstance(statement, Delete) and isinstance(statement.table, Table):
        _forget_terms(connection, statement, fields_of_table(statement.table), parameters)
    if not isinstance(statement, Insert | Update) or not isinstance(_table(statement), Table):
        return statement, parameters
    table, sealed = _table(statement), is_sealed(connection)
    fields = fields_of_table(table)
    if not fields:
        if statement.is_update and not sealed:
            refuse_moving_update(table, (*inline_rows(statement), *parameters[:1]))
        return statement, parameters
    writing = _Writing(connection, statement, table, fields, acting, sealed)
    return writing.insert(parameters) if statement.is_insert else writing.update(parameters)


def _table(statement: Any) -> Any:
    """The table that is written; the ORM says it apart where a class has several."""
    return statement._annotations.get("_emit_insert_table", statement.table)


class _Writing:
    """One INSERT or UPDATE of a table with sealed columns."""

    def __init__(
        self,
        connection: Connection,
        statement: Any,
        table: Table,
        fields: dict[str, Field],
        acting: Any,
        is_sealed: bool,
    ) -> None:
        self.connection = connection
        self.statement = statement
        self.table = table
        self.fields = fields
        self.entity: Entity = table.primary_key.info[ENTITY]
        self.acting = acting
        self.is_sealed = is_sealed
        self.upsert: Upsert | None = None

    def insert(self, parameters: Sequence[Values]) -> tuple[Any, Sequence[Values]]:
        statement, inline = self.statement, inline_rows(self.statement)
        if statement.select is not None and self._named(statement._select_names or ()):
            raise cant_seal(
                "INSERT … FROM SELECT", "load the rows and add new objects to a session"
            )
        clause = getattr(statement, "_post_values_clause", None)
        if clause is not None and changes_sealed(self.table, self.fields, clause):
            self.upsert = Upsert(statement, self.table, self.fields, self.entity)
            statement = self.statement = self.upsert.statement
        if parameters:
            if any(self._open(row) for row in inline):
                raise cant_seal(
                    "values() together with parameters", "give all values in one of the two"
                )
            common = inline[0] if inline else {}
            if self._to_seal(parameters, common):
                parameters = self._seal([dict(each) for each in parameters], common)
            return statement, without_idle_twins(self.fields, parameters)
        rows = inline or [{}]
        if statement.select is None and self._to_seal(rows, {}):
            return self._with_inline(self._seal(rows, {})), parameters
        return statement, parameters

    def update(self, parameters: Sequence[Values]) -> tuple[Any, Sequence[Values]]:
        inline = inline_rows(self.statement)
        if any(self._open(row) for row in (*inline, *parameters)):
            if self.is_sealed:
                raise cant_seal(
                    "a value assigned during the flush",
                    "assign it before, or in a before_flush listener registered before "
                    "vault.attach()",
                )
            raise cant_seal(
                "an UPDATE that doesn't say whose each row is",
                "load the rows and assign, or give primary keys: "
                "session.execute(update(Customer), [{'id': 1, 'email': …}])",
            )
        if self.is_sealed:
            self._forget_terms((*inline, *parameters[:1]), parameters)
            return self.statement, parameters
        refuse_moving_update(self.table, (*inline, *parameters[:1]))
        if any(self._named(row) for row in parameters):
            given = [{**row, **self._nulled(row)} for row in parameters]
            self._forget_terms(given[:1], parameters)
            return self.statement, given
        unindexed = {key: None for row in inline for key in self._nulled(row)}
        self._forget_terms([unindexed], parameters)
        return (self.statement.values(unindexed) if unindexed else self.statement), parameters

    def _forget_terms(self, rows: Sequence[Values], parameters: Sequence[Values]) -> None:
        """What values that are replaced were found by goes first."""
        fields = {
            key: field
            for key, field in self.fields.items()
            if any(index.key in row for index in field.indexes for row in rows)
        }
        _forget_terms(self.connection, self.statement, fields, parameters)

    def _nulled(self, row: Values) -> Values:
        """Decide and record what a row sets to NULL; its blind index is to go with it."""
        fields = [self.fields[key] for key in self._named(row) if row[key] is None]
        for field in fields:
            access = self._access()
            access.journal.append(authorize(access, field).prefix, NO_REF)
        indexes = [index for field in fields for index in (*field.indexes, *field.compounds)]
        beside = {index.key: None for index in indexes}
        if any(field.twin is not None for field in fields):
            doubled = self._access().vault.migrations.doubled(self.connection, fields)
            beside |= {field.twin_key: None for field in doubled}
        return beside

    def _seal(self, rows: list[Values], common: Values) -> list[Values]:
        """Seal the rows in place. ``common`` holds values the statement gives to all of them."""
        access, entity = self._access(), self.entity
        if entity.is_subject and SUBJECT_KEY not in self.table.c:
            raise cant_seal(
                f"a plain INSERT into {self.table.name}, which inherits its subject",
                "add objects to a session instead",
            )
        for row in rows:
            for key, field in self.fields.items():
                if field.default is not None and key not in common:
                    row.setdefault(key, field.default())
        if self.upsert is not None:
            self.upsert.take_over(access, self.connection, rows, common)
        known = [entity.by_attribute(self.table, {**common, **row}) for row in rows]
        owners = owners_of(self.connection, entity, known)
        bound = []
        for row, values, (subject, is_new) in zip(rows, known, owners, strict=True):
            if is_new:
                row[SUBJECT_KEY] = uuid.UUID(bytes=subject)
            bound.append(
                Row(
                    tenant=entity.tenant_of(values),
                    subject=subject,
                    new_subject=is_new,
                    row_id=entity.row_id(values),
                    put=row.__setitem__,
                    values=[
                        (key, self.fields[key], assigned(self.fields[key], row[key]))
                        for key in self._named(row)
                    ],
                    region=entity.region_of(values),
                )
            )
        seal_rows(access, self.connection, bound)
        return rows

    def _with_inline(self, rows: list[Values]) -> Any:
        """The statement with these rows in place of the values written into it."""
        statement = self.statement._generate()
        statement._values, statement._multi_values = None, ()
        return statement.values(rows if self.statement._multi_values else rows[0])

    def _named(self, row: Any) -> list[str]:
        return [key for key in self.fields if key in row]

    def _open(self, row: Values) -> bool:
        """Whether a row holds a value that is not sealed, or not surely for this row."""
        return any(
            row[key] is not None and (type(row[key]) is not Sealed or not self.is_sealed)
            for key in self.fields
            if key in row
        )

    def _to_seal(self, rows: Sequence[Values], common: Values) -> bool:
        """Whether rows of an INSERT hold such a value, or leave one to its column's default."""
        defaults = [key for key, field in self.fields.items() if field.default is not None]
        return any(
            self._open(row) or any(key not in row and key not in common for key in defaults)
            for row in rows
        )

    def _access(self) -> Access:
        access: Access | None = self.acting(self.connection)
        if access is None:
            raise no_access(f"{self.table.name} was written")
        return access


def _forget_terms(
    connection: Connection, statement: Any, fields: dict[str, Field], given: Sequence[Values]
) -> None:
    many = [index for field in fields.values() for index in field.indexes if index.kind.many]
    if many:
        forget_rows(connection, statement, many, given)
