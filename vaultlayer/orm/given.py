"""What an INSERT or UPDATE was given: its inline values, and the refusal of those it can't seal."""

from __future__ import annotations

from typing import Any

from sqlalchemy.sql.elements import BindParameter, Null

from vaultlayer.errors import UnsupportedQuery

Values = dict[str, Any]


def inline_rows(statement: Any) -> list[Values]:
    """The rows given by ``.values(...)``, by column key."""
    if statement._multi_values:
        given = [row for rows in statement._multi_values for row in rows]
    else:
        given = [statement._values] if statement._values else []
    return [{column_name(column): plain(value) for column, value in row.items()} for row in given]


def column_name(column: Any) -> str:
    return column if isinstance(column, str) else column.key


def plain(value: Any) -> Any:
    if isinstance(value, BindParameter) and not value.required:
        return value.effective_value
    return None if isinstance(value, Null) else value


def cant_seal(what: str, instead: str) -> UnsupportedQuery:
    return UnsupportedQuery(f"{what} can't set a sealed column", hint=instead)
