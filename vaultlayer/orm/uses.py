"""Where a sealed column may stand in a statement: selected as it is, under IS NULL, in count().

Anywhere else the database would work on the envelope's bytes: a function, a cast or a sort gives
an answer that means nothing, and a value compared with it would be sent in plain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BinaryExpression, ColumnClause, Label, UnaryExpression
from sqlalchemy.sql.functions import FunctionElement, count
from sqlalchemy.sql.selectable import CompoundSelect, FromClause, GenerativeSelect, Select

from vaultlayer.errors import UnsupportedQuery
from vaultlayer.orm.types import PersonalType

if TYPE_CHECKING:
    from collections.abc import Iterator

_NULLITY = {operators.is_, operators.is_not}


def is_sealed(element: Any) -> bool:
    return isinstance(getattr(element, "type", None), PersonalType)


def refuse_misuse(statement: Any) -> None:
    """Refuse a SELECT, UPDATE or DELETE that has a sealed column where it can't serve."""
    for criterion in criteria(statement):
        _check(criterion)
    if isinstance(statement, GenerativeSelect):
        _refuse_ordering(statement)
    if isinstance(statement, Select):
        for column in statement._raw_columns:
            _check_selected(column)
    elif isinstance(statement, CompoundSelect):
        for each in statement.selects:
            refuse_misuse(each)


def criteria(statement: Any) -> Iterator[Any]:
    yield from getattr(statement, "_where_criteria", ())
    yield from getattr(statement, "_having_criteria", ())
    for _, on, _, _ in getattr(statement, "_setup_joins", ()):
        if on is not None and not hasattr(on, "property"):  # not a relationship
            yield on
    for source in getattr(statement, "_from_obj", ()):
        on = getattr(source, "onclause", None)
        if on is not None:
            yield on


def _check(element: Any) -> None:
    """Refuse a sealed column in an expression, however deep."""
    if isinstance(element, ColumnClause):
        if is_sealed(element):
            raise misused()
        return
    if isinstance(element, BinaryExpression) and element.operator in _NULLITY:
        if not is_sealed(element.left):
            _check(element.left)
        return
    if isinstance(element, Select | CompoundSelect):
        refuse_misuse(element)
        return
    if isinstance(element, count) and all(map(_is_column, element.clauses)):
        return
    for child in element.get_children():
        _check(child)


def _check_selected(column: Any) -> None:
    """A selected column may be sealed itself; an expression may not have one within."""
    element = column.element if isinstance(column, Label) else column
    is_source = isinstance(element, FromClause) and not isinstance(element, FunctionElement)
    if is_source or isinstance(element, ColumnClause) or "bundle" in element._annotations:
        return
    _check(element)


def _is_column(element: Any) -> bool:
    return isinstance(element, ColumnClause)


def _refuse_ordering(statement: Any) -> None:
    named = None
    for clause in (*statement._order_by_clauses, *statement._group_by_clauses):
        element = clause
        while hasattr(element, "element") and not isinstance(element.element, str):
            element = element.element
        name = getattr(element, "element", None)
        if isinstance(name, str):
            named = _sealed_names(statement) if named is None else named
        if (named and name in named) or _has_sealed(element):
            raise UnsupportedQuery(
                "ORDER BY and GROUP BY can't use a sealed column: envelopes have no order",
                hint="order by another column, or access.sorted(select(...), field, limit=...); "
                "group what access.reveal() returns",
            )


def _has_sealed(element: Any) -> bool:
    if isinstance(element, ColumnClause | Label | UnaryExpression) and is_sealed(element):
        return True
    return not isinstance(element, ColumnClause) and any(
        map(_has_sealed, element.get_children())
    )


def _sealed_names(statement: Any) -> set[str]:
    """The names by which ORDER BY "name" would find a sealed column."""
    names: set[str] = set()
    for column in getattr(statement, "_raw_columns", ()):
        within = column.c if isinstance(column, FromClause) else [column]
        names.update(each.key for each in within if is_sealed(each))
    return names


def misused() -> UnsupportedQuery:
    return UnsupportedQuery(
        "a sealed column can't be used in an expression, DISTINCT, UNION, subquery or CTE: there "
        "the database would work on its envelope, and the row it belongs to is lost",
        hint="select the mapped class or its plain attribute, find rows by == or in_() with "
        "search=Equality(...), and combine the values in Python",
    )
