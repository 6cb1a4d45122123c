"""The gate in front of the database: INSERT and UPDATE that bypass the unit of work.

``before_execute`` sees every statement of an attached engine before it is compiled. Plain values
for sealed columns are sealed here; what can't be sealed here is refused before it is sent.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from sqlalchemy import Table
from sqlalchemy.sql.dml import Insert, Update
from sqlalchemy.sql.elements import BindParameter, Label, UnaryExpression
from sqlalchemy.sql.selectable import GenerativeSelect

from vaultlayer.access.context import no_access
from vaultlayer.access.grants import NO_REF
from vaultlayer.errors import UnsupportedQuery
from vaultlayer.orm.entity import SUBJECT_KEY, entity_of_table, fields_of_table
from vaultlayer.orm.attribute import assigned
from vaultlayer.orm.subjects import owners_of
from vaultlayer.orm.types import PersonalType
from vaultlayer.sealed import Sealed
from vaultlayer.write_path import Row, seal_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from vaultlayer.acting import Access
    from vaultlayer.orm.entity import Field

Values = dict[str, Any]


def check(
    connection: Connection, statement: Any, parameters: Sequence[Values], acting: Any
) -> tuple[Any, Sequence[Values]]:
    """The statement and parameters to send instead: the same, with nothing plain left in them.

    :param acting: tells the access that acts on a connection, or None.
    """
    if isinstance(statement, GenerativeSelect):
        _refuse_ordering(statement)
    elif isinstance(statement, Insert | Update) and isinstance(statement.table, Table):
        fields = fields_of_table(statement.table)
        if fields:
            writing = _Writing(connection, statement, fields, acting)
            return writing.insert(parameters) if statement.is_insert else writing.update(parameters)
    return statement, parameters


class _Writing:
    """One INSERT or UPDATE of a table with sealed columns."""

    def __init__(
        self, connection: Connection, statement: Any, fields: dict[str, Field], acting: Any
    ) -> None:
        self.connection = connection
        self.statement = statement
        self.table = statement.table
        self.fields = fields
        self.acting = acting

    def insert(self, parameters: Sequence[Values]) -> tuple[Any, Sequence[Values]]:
        statement, inline = self.statement, _inline_rows(self.statement)
        if statement.select is not None and self._named(statement._select_names or ()):
            raise _cant_seal("INSERT … FROM SELECT", "load the rows and add new objects to a session")
        if self._plain(inline):
            if parameters:
                raise _cant_seal(
                    "values() together with parameters", "give all values in one of the two"
                )
            return self._with_inline(self._seal(inline, {})), parameters
        if self._plain(parameters):
            common = inline[0] if inline else {}
            return statement, self._seal([dict(each) for each in parameters], common)
        return statement, parameters

    def update(self, parameters: Sequence[Values]) -> tuple[Any, Sequence[Values]]:
        inline = _inline_rows(self.statement)
        if self._plain(inline) or self._plain(parameters):
            raise _cant_seal(
                "UPDATE of many rows with one value",
                "each row has its own key: load the rows and assign, or give primary keys: "
                "session.execute(update(Customer), [{'id': 1, 'email': …}])",
            )
        nulled = [self.fields[key] for row in inline for key in self._named(row)]
        if nulled:
            access = self._access()
            for grant in [access.grant(field, "write") for field in nulled]:
                if grant.denied:
                    raise access.refuse(grant)
                access.journal.append(grant.prefix, NO_REF)
        return self.statement, parameters

    def _seal(self, rows: list[Values], common: Values) -> list[Values]:
        """Seal the rows in place. ``common`` holds values the statement gives to all of them."""
        access, entity = self._access(), entity_of_table(self.table)
        if entity.is_subject and SUBJECT_KEY not in self.table.c:
            raise _cant_seal(
                f"a plain INSERT into {self.table.name}, which inherits its subject",
                "add objects to a session instead",
            )
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

    def _plain(self, rows: Sequence[Values]) -> bool:
        return any(
            row[key] is not None and type(row[key]) is not Sealed
            for row in rows
            for key in self.fields
            if key in row
        )

    def _access(self) -> Access:
        access: Access | None = self.acting(self.connection)
        if access is None:
            raise no_access(f"{self.table.name} was written")
        return access


def _inline_rows(statement: Any) -> list[Values]:
    """The rows given by ``.values(...)``, by column key."""
    if statement._multi_values:
        given = [row for rows in statement._multi_values for row in rows]
    else:
        given = [statement._values] if statement._values else []
    return [{_key(column): _value(value) for column, value in row.items()} for row in given]


def _key(column: Any) -> str:
    return column if isinstance(column, str) else column.key


def _value(value: Any) -> Any:
    return value.effective_value if isinstance(value, BindParameter) else value


def _refuse_ordering(statement: Any) -> None:
    for clause in (*statement._order_by_clauses, *statement._group_by_clauses):
        element = clause
        while isinstance(element, UnaryExpression | Label):
            element = element.element
        if isinstance(getattr(element, "type", None), PersonalType):
            raise UnsupportedQuery(
                "ORDER BY and GROUP BY can't use a sealed column: envelopes have no order",
                hint="order by another column, or sort and group what access.reveal() returns",
            )


def _cant_seal(what: str, instead: str) -> UnsupportedQuery:
    return UnsupportedQuery(f"{what} can't set a sealed column", hint=instead)
