"""Selecting a personal column is reading it: ``select(Customer.email)`` yields opened values.

The column is exchanged for a Bundle that also loads what opening needs (subject, tenant, primary
key), and each chunk of the result goes through the read path before anybody sees it.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from sqlalchemy import Table
from sqlalchemy.orm import Bundle
from sqlalchemy.sql import Select
from sqlalchemy.sql.elements import ColumnClause, Label

from vaultlayer.errors import UnsupportedQuery
from vaultlayer.orm.attribute import personal_field
from vaultlayer.orm.entity import field_of
from vaultlayer.orm.uses import is_sealed, misused, refuse_misuse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from vaultlayer.orm.entity import Entity
    from vaultlayer.orm.field import Field


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
        raise misused()
    if getattr(statement._compile_options, "_set_base_alias", False):  # query.union() and the like
        raise misused()
    refuse_misuse(statement)  # before the names that ORDER BY may use are exchanged
    return statement.with_only_columns(*exchanged, maintain_column_froms=True)


def opening(
    result: Any, opened: Callable[[Sequence[SealedCell]], list[Any]], ahead: bool
) -> Any:
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

    return chunkwise(result, open_rows, ahead)


def chunkwise(result: Any, each: Callable[[list[Any]], list[Any]], ahead: bool) -> Any:
    """Put ``each`` between a result and its reader, chunk by chunk; ``yield_per`` stays lazy.

    :param ahead: do it for all rows now.
    """
    load = result.chunks
    ready = list(map(each, load(None))) if ahead else None

    def chunks(size: int | None) -> Iterator[list[Any]]:
        return map(each, load(size)) if ready is None else iter(ready)

    result.chunks = chunks
    result.iterator = chain.from_iterable(chunks(result._yield_per))
    return result


def refuse_returning(statement: Any) -> None:
    """RETURNING or a text's personal columns would come without what opening them needs."""
    for column in getattr(statement, "_returning", None) or ():
        if _exchange(column) is not column:
            raise UnsupportedQuery(
                "RETURNING can't open a personal column",
                hint="return the mapped class, e.g. .returning(Customer), and read its attributes",
            )
    for column in getattr(statement, "_raw_columns", ()):
        if _exchange(column) is not column:
            raise UnsupportedQuery(
                "a personal column can't be opened from another statement's result",
                hint="select the mapped class: select(Customer).from_statement(...)",
            )


def _cells(row: Any) -> Sequence[SealedCell]:
    if isinstance(row, tuple):
        return [cell for cell in row if isinstance(cell, SealedCell)]
    return [row] if isinstance(row, SealedCell) else ()


def _exchange(column: Any) -> Any:
    """A mapped personal column as a SealedColumn; everything else as it is."""
    if "bundle" in column._annotations and any(map(is_sealed, column.get_children())):
        raise misused()
    if not is_sealed(column):
        return column
    inner = column.element if isinstance(column, Label) else column
    owner = inner._annotations.get("parententity")
    if not isinstance(inner, ColumnClause):
        raise misused()
    if owner is None:
        if isinstance(inner.table, Table):
            return column  # a Core column: it yields Sealed, as it does on a connection
        raise misused()
    field = field_of(inner)
    attribute = getattr(owner.entity, field.key)
    known = personal_field(attribute)
    if known is None:
        raise misused()
    return SealedColumn(column.key, attribute, *known)
