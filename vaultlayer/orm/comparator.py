"""What can be asked of a sealed column in SQL: ``IS NULL``, and equality where it is indexed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn

from sqlalchemy import Boolean, bindparam
from sqlalchemy.orm import configure_mappers
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BindParameter, ClauseElement, ColumnElement, Null
from sqlalchemy.types import TypeDecorator

from vaultlayer.errors import UnsupportedQuery, VaultLayerError

if TYPE_CHECKING:
    from vaultlayer.sealed import SearchTerms

_FIELD = "vaultlayer.field"
_NULLITY = {operators.is_, operators.is_not}
_EQUALITY = {operators.eq, operators.ne}
_MEMBERSHIP = {operators.in_op, operators.not_in_op}


class PersonalComparator(TypeDecorator.Comparator[Any]):
    """Serves what the blind index answers exactly; refuses the rest when the statement is built."""

    __slots__ = ()

    def operate(self, op: Any, *other: Any, **kwargs: Any) -> Any:
        refusal: VaultLayerError | None = None
        if len(other) == 1:
            value = other[0]
            if op in _NULLITY | _EQUALITY and (value is None or isinstance(value, Null)):
                is_null = op in (operators.is_, operators.eq)
                return super().operate(operators.is_ if is_null else operators.is_not, None)
            if op in _EQUALITY and _is_column(value):
                return ColumnComparison(op, self.expr, value)
            try:
                if op in _EQUALITY:  # IN, since while index roots are exchanged there are two terms
                    among = operators.in_op if op is operators.eq else operators.not_in_op
                    searched = self._terms([value])
                    return among(self._index(), _bind(searched))
                if op in _MEMBERSHIP and _is_list(value):
                    searched = self._terms(value)
                    return op(self._index(), _bind(searched))
            except VaultLayerError as error:
                refusal = error.with_traceback(None)
        value = other = ()  # a traceback that shows locals must not show it
        raise refusal or _refused(op, self._field())

    def reverse_operate(self, op: Any, other: Any, **kwargs: Any) -> Any:
        if op in _EQUALITY:
            return self.operate(op, other)
        other = None
        raise _refused(op, self._field())

    def _field(self) -> Any:
        """The Field of the column behind this expression, whatever alias or subquery it is in."""
        columns = list(self.expr.base_columns)
        if not any(_FIELD in column.info for column in columns):
            configure_mappers()
        return next((column.info[_FIELD] for column in columns if _FIELD in column.info), None)

    def _terms(self, values: Iterable[Any]) -> SearchTerms:
        field, values = self._field(), list(values)
        unsearchable = field is None or field.search is None
        if unsearchable or any(isinstance(value, ClauseElement) for value in values):
            values = []
            raise _refused(operators.eq, field)
        from vaultlayer.search.blind_index import terms

        return terms(field, values)

    def _index(self) -> Any:
        """The blind-index column beside this one, in the same table, alias or subquery."""
        return self.expr.table.c[f"{self.expr.key}_bidx"]


class ColumnComparison(ColumnElement[bool]):
    """``column == column``: an answer for SQLAlchemy, refused in a statement.

    SQLAlchemy keeps columns in dicts and lists and compares them to find them there. What it
    asks then is the truth of this expression: are both the same column?
    """

    inherit_cache = False
    type = Boolean()

    def __init__(self, op: Any, left: Any, right: Any) -> None:
        self._are = bool(op(hash(left), hash(right)))

    def __bool__(self) -> bool:
        return self._are

    def _compiler_dispatch(self, visitor: Any, **kwargs: Any) -> NoReturn:
        raise UnsupportedQuery(
            "a sealed column can't be compared with a column",
            hint="compare it with a value, or with a list of values",
        )


def _is_column(value: Any) -> bool:
    column = value.__clause_element__() if hasattr(value, "__clause_element__") else value
    return isinstance(column, ColumnElement) and not isinstance(column, BindParameter)


def _bind(searched: SearchTerms) -> Any:
    from vaultlayer.orm.types import BlindIndexType

    return bindparam(None, searched, type_=BlindIndexType(), expanding=True, unique=True)


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | ClauseElement)


def _refused(op: Any, field: Any) -> UnsupportedQuery:
    name = getattr(op, "__name__", str(op)).removesuffix("_op").strip("_")
    if op in _EQUALITY or op in _MEMBERSHIP:
        if field is not None and field.search is not None:
            hint = "compare it with a value, or with a list of values"
        else:
            hint = 'declare the field with search=Equality("exact") to look it up by value'
    elif "order" in name or name in ("asc", "desc", "nulls_first", "nulls_last"):
        hint = "load the rows and sort what access.reveal() returns"
    else:
        hint = "a sealed column serves == and in_ (with search=Equality(...)) and is_(None)"
    return UnsupportedQuery(f"a sealed column can't serve the operator {name!r}", hint=hint)
