"""What an INSERT or UPDATE was given: its inline values, and the refusal of those it can't seal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.sql.elements import BindParameter, Null

from vaultlayer.errors import UnsupportedQuery

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultlayer.orm.field import Field

Values = dict[str, Any]


def inline_rows(statement: Any) -> list[Values]:
    """The rows given by ``.values(...)``, by column key."""
    if statement._multi_values:
        given = [row for rows in statement._multi_values for row in rows]
    else:
        given = [statement._values] if statement._values else []
    return [{column_name(column): plain(value) for column, value in row.items()} for row in given]


def without_idle_twins(fields: dict[str, Field], rows: Sequence[Values]) -> Sequence[Values]:
    """The rows of an INSERT without plaintext columns that none of them fills.

    The unit of work names every column of the table, and such a one may be gone by now.
    """
    twins = {field.twin_key for field in fields.values() if field.twin is not None}
    idle = {key for key in twins if all(row.get(key) is None for row in rows)}
    if not idle or not rows:
        return rows
    return [{key: value for key, value in row.items() if key not in idle} for row in rows]


def column_name(column: Any) -> str:
    return column if isinstance(column, str) else column.key


def plain(value: Any) -> Any:
    if isinstance(value, BindParameter) and not value.required:
        return value.effective_value
    return None if isinstance(value, Null) else value


def cant_seal(what: str, instead: str) -> UnsupportedQuery:
    return UnsupportedQuery(f"{what} can't set a sealed column", hint=instead)


def not_sealed() -> UnsupportedQuery:
    return UnsupportedQuery(
        "a plain value was about to be stored in a sealed column, so the statement was not sent",
        hint="attach the vault to this session or engine (vault.attach), and write through the "
        "mapped class or insert()/update() with plain parameters",
    )
