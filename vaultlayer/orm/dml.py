"""What an INSERT or UPDATE statement holds: its table, its rows, the columns it must not move."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.sql.elements import BindParameter, Null

from vaultlayer.errors import UnsupportedQuery
from vaultlayer.orm.entity import ENTITY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Table

    from vaultlayer.orm.entity import Entity

Values = dict[str, Any]


def written_table(statement: Any) -> Any:
    """The table that is written; the ORM says it apart where a class has several."""
    return statement._annotations.get("_emit_insert_table", statement.table)


def inline_rows(statement: Any) -> list[Values]:
    """The rows given by ``.values(...)``, by column key."""
    if statement._multi_values:
        given = [row for rows in statement._multi_values for row in rows]
    else:
        given = [statement._values] if statement._values else []
    return [{key_of(column): _value(value) for column, value in row.items()} for row in given]


def refuse_moving(table: Table, rows: Sequence[Values]) -> None:
    """An UPDATE can't take rows to another person: their values would stay behind."""
    for key in {key for row in rows for key in row} & binding_columns(table):
        raise cant_seal(
            f"an UPDATE of {table.name}.{key}, to which sealed values are bound,",
            "load the rows and assign it together with their personal fields",
        )


def binding_columns(table: Table) -> set[str]:
    """The column keys that say where the table's sealed values belong."""
    entity: Entity | None = table.info.get(ENTITY)
    if entity is None:
        return set()
    bound = [entity.mapper.columns.get(key) for key in entity.binding]
    return {column.key for column in table.c if any(column is each for each in bound)}


def key_of(column: Any) -> str:
    return column if isinstance(column, str) else column.key


def _value(value: Any) -> Any:
    if isinstance(value, BindParameter) and not value.required:
        return value.effective_value
    return None if isinstance(value, Null) else value


def cant_seal(what: str, instead: str) -> UnsupportedQuery:
    return UnsupportedQuery(f"{what} can't set a sealed column", hint=instead)
