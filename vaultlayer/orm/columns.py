"""Selecting a personal column is reading it: ``select(Customer.email)`` yields opened values.

The column is exchanged for a Bundle that also loads what opening needs (subject, tenant, primary
key), and each chunk of the result goes through the read path before anybody sees it.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Bundle
from sqlalchemy.sql import Select
from sqlalchemy.sql.elements import Label

from vaultlayer.errors import UnsupportedQuery
from vaultlayer.orm.attribute import personal_field
from vaultlayer.orm.types import PersonalType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from vaultlayer.orm.entity import Entity, Field


class SealedCell:
    """A selected value on its way through the read path, with the columns opening needs."""

    __slots__ = ("entity", "field", "row", "sealed")

    def __init__(self, entity: Entity, field: Field, row: dict[str, Any], sealed: Any) -> None:
        self.entity = entity
        self.field = field
        self.row = row
        self.sealed = sealed


class SealedColumn(Bundle[Any]):
    """One personal column and, beside it, the columns that make up its place."""

    inherit_cache = True

    def __init__(self, name: str, attribute: Any, entity: Entity, field: Field) -> None:
        names = [name for name in (entity.subject_key, entity.tenant_key, *entity.row_keys) if name]
        owner = attribute.parent.entity
        super().__init__(name, attribute, *[getattr(owner, each) for each in names])
        self.entity_and_field = (entity, field)
        self.names = names

    def create_row_processor(
        self, query: Any, procs: Sequence[Callable[[Any], Any]], labels: Sequence[str]
    ) -> Callable[[Any], Any]:
        entity, field = self.entity_and_field
        names, (value, *places) = self.names, procs

        def process(row: Any) -> SealedCell | None:
            sealed = value(row)
            if sealed is None:
                return None
            loaded = {name: load(row) for name, load in zip(names, places, strict=True)}
            return SealedCell(entity, field, loaded, sealed)

        return process


def with_places(statement: Any) -> Any:
    """The statement with its personal columns exchanged; None when it selects none."""
    raw = getattr(statement, "_raw_columns", None)
    columns = statement.selected_columns if raw is None else raw
    exchanged = [_exchange(column) for column in columns]
    if all(new is old for new, old in zip(exchanged, columns, strict=True)):
        return None
    if not isinstance(statement, Select) or statement._distinct or statement._group_by_clauses:
        raise _unclean()
    return statement.with_only_columns(*exchanged, maintain_column_froms=True)


def opening(result: Any, opened: Callable[[Sequence[SealedCell]], list[Any]]) -> Any:
    """The result with its SealedCells opened, a chunk at a time."""

    def open_rows(rows: list[Any]) -> list[Any]:
        cells = [cell for row in rows for cell in _cells(row)]
        values = iter(opened(cells))
        return [
            tuple([next(values) if isinstance(cell, SealedCell) else cell for cell in row])
            if isinstance(row, tuple)
            else (next(values) if isinstance(row, SealedCell) else row)
            for row in rows
        ]

    return chunkwise(result, open_rows)


def chunkwise(result: Any, each: Callable[[list[Any]], list[Any]]) -> Any:
    """Put ``each`` between a result and its reader, chunk by chunk; ``yield_per`` stays lazy."""
    load = result.chunks

    def chunks(size: int | None) -> Iterator[list[Any]]:
        return map(each, load(size))

    result.chunks = chunks
    result.iterator = chain.from_iterable(chunks(result._yield_per))
    return result


def refuse_returning(statement: Any) -> None:
    """RETURNING a personal column would hand out what nobody decided on."""
    for column in getattr(statement, "_returning", ()):
        if _exchange(column) is not column:
            raise UnsupportedQuery(
                "RETURNING can't open a personal column",
                hint="return the mapped class, e.g. .returning(Customer), and read its attributes",
            )


def _cells(row: Any) -> Sequence[SealedCell]:
    if isinstance(row, tuple):
        return [cell for cell in row if isinstance(cell, SealedCell)]
    return [row] if isinstance(row, SealedCell) else ()


def _exchange(column: Any) -> Any:
    """A mapped personal column as a SealedColumn; everything else as it is."""
    if not isinstance(getattr(column, "type", None), PersonalType):
        return column
    name, inner = column.key, column
    if isinstance(column, Label):
        name, inner = column.name, column.element
    notes = inner._annotations
    owner = notes.get("parententity")
    if owner is None or "proxy_key" not in notes:
        if inner is column and column.__visit_name__ == "column" and not notes:
            return column  # a Core column: it yields Sealed, as it does on a connection
        raise _unclean()
    attribute = getattr(owner.entity, notes["proxy_key"])
    known = personal_field(attribute)
    if known is None:
        raise _unclean()
    return SealedColumn(name, attribute, *known)


def _unclean() -> UnsupportedQuery:
    return UnsupportedQuery(
        "a personal column can't be opened through an expression, DISTINCT, GROUP BY, UNION or "
        "a subquery: the row it belongs to is lost there",
        hint="select the mapped class or its plain attribute, and combine the values in Python",
    )
