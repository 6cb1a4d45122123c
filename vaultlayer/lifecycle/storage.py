"""Columns of the database that can't hold what the declarations put into them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.sql.sqltypes import _Binary

from vaultlayer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Column, Connection

_MYSQL_BLOBS = {"TINYBLOB": 2**8 - 1, "BLOB": 2**16 - 1, "MEDIUMBLOB": 2**24 - 1}


def unfit(connection: Connection, column: Column[Any], there: Any) -> tuple[str, str]:
    """Why the type that is ``there`` won't do ("": it will), and the one that is needed."""
    declared: Any = column.type
    wanted = declared.load_dialect_impl(connection.dialect)
    asked, holds = getattr(wanted, "length", None), _holds(there)
    text = wanted.compile(connection.dialect)
    if not isinstance(there, _Binary):
        return f"is {there.compile(connection.dialect)}, which keeps no bytes as they are", text
    if asked is not None and holds is not None and holds < asked:
        return f"holds {holds:,} bytes, too short for what is put into it", text
    return "", text


def refuse_unfit(connection: Connection, parts: Iterable[tuple[Any, Any, Any]]) -> None:
    """Refuse fields (by table) before anything is cut short, or written at all."""
    seen = sa.inspect(connection)
    for _, table, fields in parts:
        there = {each["name"]: each for each in seen.get_columns(table.name, table.schema)}
        columns = [field.column for field in fields]
        columns += [table.c[index.key] for field in fields for index in field.indexes]
        for column in columns:
            what, needed = unfit(connection, column, there[column.name]["type"])
            if what:
                raise ConfigurationError(
                    f"the column {table.name}.{column.name} {what}",
                    hint=f"migrate it to {needed} first; nothing was written",
                )


def _holds(kind: Any) -> int | None:
    """How many bytes a column takes; None: as many as one likes."""
    length = getattr(kind, "length", None)
    return length if length is not None else _MYSQL_BLOBS.get(type(kind).__name__)
