"""Selecting a personal column is reading it: ``select(Customer.email)`` yields opened values.

The first one of each entity is exchanged for a Bundle that also loads what opening needs (subject,
tenant, primary key), and each chunk of the result goes through the read path, column by column,
before anybody sees it.
"""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Selected:
    """Personal columns selected side by side from one entity: where they stand in each row.

    The first of them brings the row's place too: its cells are pairs of value and place.
    """

    entity: Entity
    fields: list[Field]
    positions: list[int]


class PlacedColumn(Bundle[Any]):
    """A personal column and, beside it, the columns that make up its row's place."""

    inherit_cache = True

    def __init__(
        self, name: str, attribute: Any, entity: Entity, beside: Sequence[str]
    ) -> None:
        placing = (entity.subject_key, entity.tenant_key, *entity.row_keys, *beside)
        names = [name for name in placing if name]
        owner = attribute.parent.entity
        super().__init__(name, attribute, *[getattr(owner, each) for each in names])
        self.names = names

    def create_row_processor(
        self, query: Any, procs: Sequence[Callable[[Any], Any]], labels: Sequence[str]
    ) -> Callable[[Any], tuple[Any, dict[str, Any]]]:
        names, (value, *places) = self.names, procs
        if len(names) == 1:  # the usual case, and this runs once a row
            (name,), (place,) = names, places
            return lambda row: (value(row), {name: place(row)})

        def process(row: Any) -> tuple[Any, dict[str, Any]]:
            return value(row), {name: load(row) for name, load in zip(names, places, strict=True)}

        return process


def with_places(
    statement: Any, beside: Callable[[Entity], Sequence[str]] = lambda _: ()
) -> tuple[Any, list[Selected]]:
    """The statement with its rows' places loaded too, and the personal columns it selects.

    :param beside: more attributes that opening an entity's fields needs.
    """
    raw = getattr(statement, "_raw_columns", None)
    columns = statement.selected_columns if raw is None else raw
    sent: list[Any] = []
    selected: dict[Any, Selected] = {}
    for column in columns:
        known = _personal(column)
        if known is not None:
            owner, attribute, entity, field = known
            group = selected.setdefault(owner, Selected(entity, [], []))
            group.fields.append(field)
            group.positions.append(len(sent))
            if len(group.fields) == 1:
                column = PlacedColumn(column.key, attribute, entity, beside(entity))
        sent.append(column)
    if not selected:
        return statement, []
    if not isinstance(statement, Select) or statement._distinct or statement._group_by_clauses:
        raise misused()
    if getattr(statement._compile_options, "_set_base_alias", False):  # query.union() and the like
        raise misused()
    refuse_misuse(statement)  # before the names that ORDER BY may use are exchanged
    exchanged = statement.with_only_columns(*sent, maintain_column_froms=True)
    return exchanged, list(selected.values())


def opening(
    result: Any,
    selected: Sequence[Selected],
    opened: Callable[[Selected, Sequence[Any], Sequence[Any]], list[Any]],
    ahead: bool,
) -> Any:
    """The result with its personal columns opened, a chunk at a time.

    :param opened: the opened columns, given the places of rows and the closed columns.
    """

    def open_rows(rows: list[Any]) -> list[Any]:
        if not rows:
            return rows
        columns: list[Any] = list(zip(*rows, strict=True))
        for each in selected:
            closed = [columns[position] for position in each.positions]
            closed[0], places = zip(*closed[0], strict=True)
            values = opened(each, places, closed)
            for position, column in zip(each.positions, values, strict=True):
                columns[position] = column
        return list(zip(*columns, strict=True))

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
        if _personal(column) is not None:
            raise UnsupportedQuery(
                "RETURNING can't open a personal column",
                hint="return the mapped class, e.g. .returning(Customer), and read its attributes",
            )
    for column in getattr(statement, "_raw_columns", ()):
        if _personal(column) is not None:
            raise UnsupportedQuery(
                "a personal column can't be opened from another statement's result",
                hint="select the mapped class: select(Customer).from_statement(...)",
            )


def _personal(column: Any) -> tuple[Any, Any, Entity, Field] | None:
    """Whom a selected personal column is read from, its attribute, entity and field; or None."""
    if "bundle" in column._annotations and any(map(is_sealed, column.get_children())):
        raise misused()
    if not is_sealed(column):
        return None
    inner = column.element if isinstance(column, Label) else column
    owner = inner._annotations.get("parententity")
    if not isinstance(inner, ColumnClause):
        raise misused()
    if owner is None:
        if isinstance(inner.table, Table):
            return None  # a Core column: it yields Sealed, as it does on a connection
        raise misused()
    attribute = getattr(owner.entity, field_of(inner).key)
    known = personal_field(attribute)
    if known is None:
        raise misused()
    return owner, attribute, *known
