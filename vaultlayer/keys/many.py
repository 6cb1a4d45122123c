"""Many byte strings in one parameter: a statement whose text stays the same, however many.

With a parameter each, a statement is written, parsed and planned anew each time, which is half the
time of fetching a cold key. PostgreSQL takes an array as text, which Python writes in a tenth of
the time that drivers need for a list; SQLite cuts one value into pieces. MySQL's drivers write
values into the statement anyway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    LargeBinary,
    Select,
    Text,
    TypeDecorator,
    any_,
    bindparam,
    cast,
    func,
    literal,
    select,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sqlalchemy import ColumnElement, Connection, Dialect

BATCH = 1000


class _ByteArray(TypeDecorator[Any]):
    """PostgreSQL's ``bytea[]`` of bytes and None, on its way there."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Iterable[bytes | None] | None, dialect: Dialect) -> Any:
        items = ["NULL" if each is None else f'"\\\\x{each.hex()}"' for each in value or ()]
        return "{" + ",".join(items) + "}"


def byte_array(name: str) -> ColumnElement[Any]:
    """The parameter ``name``, given as bytes and None, as PostgreSQL's ``bytea[]``."""
    from sqlalchemy.dialects.postgresql import ARRAY  # importing all dialects takes long

    return cast(bindparam(name, type_=_ByteArray()), ARRAY(LargeBinary()))


class Among:
    """``query`` for the rows whose ``column`` is one of many byte strings.

    ``width``: the bytes of each, where all have the same.
    """

    def __init__(self, query: Select[Any], column: ColumnElement[bytes], width: int = 0) -> None:
        self._query, self._column, self._width = query, column, width
        self._statements: dict[str, Select[Any]] = {}

    def rows(
        self,
        connection: Connection,
        values: Sequence[bytes],
        locked: Callable[[Dialect, Select[Any]], Select[Any]] | None = None,
        **given: object,
    ) -> list[Any]:
        """The rows of all values, 1,000 values a statement; ``given``: its other parameters."""
        dialect, rows = connection.dialect, list[Any]()
        statement = self._statements.get(dialect.name)
        if statement is None:
            condition = self._condition(dialect.name)
            statement = self._statements[dialect.name] = self._query.where(condition)
        if locked is not None:
            statement = locked(dialect, statement)
        joined = self._width and dialect.name == "sqlite"
        for start in range(0, len(values), BATCH):
            batch = values[start : start + BATCH]
            many = b"".join(batch) if joined else batch
            rows += connection.execute(statement, {**given, "many": many}).all()
        return rows

    def _condition(self, dialect: str) -> ColumnElement[bool]:
        if dialect == "postgresql":
            # From a subquery, so that it is read once and not for each row of a small table.
            once = select(byte_array("many")).scalar_subquery()
            return self._column == any_(cast(once, byte_array("many").type))
        if dialect != "sqlite" or not self._width:
            return self._column.in_(bindparam("many", expanding=True))
        return self._column.in_(select(_pieces(self._width)))


class Each:
    """A query from many byte strings, each of ``width`` bytes: ``query`` makes it of their column.

    Only where ``serves`` says so: MySQL has no such column.
    """

    def __init__(self, query: Callable[[ColumnElement[bytes]], Select[Any]], width: int) -> None:
        self._query, self._width = query, width
        self._statements: dict[str, Select[Any]] = {}

    def serves(self, connection: Connection) -> bool:
        return connection.dialect.name in ("sqlite", "postgresql")

    def rows(self, connection: Connection, values: Sequence[bytes], **given: object) -> list[Any]:
        """The rows of all values, 1,000 values a statement; ``given``: its other parameters."""
        joined, rows = connection.dialect.name == "sqlite", list[Any]()
        statement = self._statements.get(connection.dialect.name)
        if statement is None:
            column: Any = _pieces(self._width) if joined else _unnested()
            statement = self._statements[connection.dialect.name] = self._query(column)
        for start in range(0, len(values), BATCH):
            batch = values[start : start + BATCH]
            many = b"".join(batch) if joined else batch
            rows += connection.execute(statement, {**given, "many": many}).all()
        return rows


def _unnested() -> ColumnElement[bytes]:
    """PostgreSQL's column of the bytes in the parameter ``many``."""
    return func.unnest(byte_array("many")).column_valued("piece")


def _pieces(width: int) -> ColumnElement[bytes]:
    """SQLite's column of the pieces that the parameter ``many`` is cut into."""
    joined = bindparam("many", type_=LargeBinary())
    pieces = select(literal(1).label("start")).cte("pieces", recursive=True)
    following = pieces.c.start + width
    pieces = pieces.union_all(select(following).where(following < func.length(joined)))
    return func.substr(joined, pieces.c.start, width)
