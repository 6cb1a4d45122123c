"""What can be asked of a sealed column in SQL: ``IS NULL``, and what its blind indexes serve."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, select
from sqlalchemy.orm import configure_mappers
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BindParameter,
    ClauseElement,
    ColumnElement,
    Null,
)
from sqlalchemy.sql.sqltypes import BOOLEANTYPE
from sqlalchemy.types import TypeDecorator

from vaultlayer.errors import UnsupportedQuery, VaultLayerError
from vaultlayer.orm.conditions import Candidates, ColumnComparison, Pending

if TYPE_CHECKING:
    from vaultlayer.sealed import SearchTerms

_FIELD = "vaultlayer.field"
_NULLITY = {operators.is_, operators.is_not}
_EQUALITY = {operators.eq, operators.ne}
_TO_NULL = _NULLITY | _EQUALITY
_MEMBERSHIP = {operators.in_op, operators.not_in_op}
_TEXTUAL = {operators.startswith_op: "startswith", operators.contains_op: "contains"}
_RANGES: dict[Any, Any] = {  # the value → low, with it?, high, with it?
    operators.lt: lambda value: (None, False, value, False),
    operators.le: lambda value: (None, False, value, True),
    operators.gt: lambda value: (value, False, None, False),
    operators.ge: lambda value: (value, True, None, False),
}


class PersonalComparator(TypeDecorator.Comparator[Any]):
    """Serves what blind indexes answer; refuses the rest when the statement is built."""

    __slots__ = ()

    def operate(self, op: Any, *other: Any, **kwargs: Any) -> Any:
        refusal: VaultLayerError | None = None
        try:
            served = self._serve(op, other)
            if served is not None:
                return served
        except VaultLayerError as error:
            refusal = error.with_traceback(None)
        other = ()  # a traceback that shows locals must not show it
        raise refusal or _refused(op, self._field())

    def reverse_operate(self, op: Any, other: Any, **kwargs: Any) -> Any:
        if op in _EQUALITY:
            return self.operate(op, other)
        other = None
        raise _refused(op, self._field())

    def _serve(self, op: Any, other: tuple[Any, ...]) -> Any:
        if op is operators.between_op and len(other) == 2:
            return self._ask("range", (other[0], True, other[1], True), other)
        if len(other) != 1:
            return None
        (value,) = other
        if op in _TO_NULL and (value is None or isinstance(value, Null)):
            is_null = op in (operators.is_, operators.eq)
            return super().operate(operators.is_ if is_null else operators.is_not, None)
        if op in _EQUALITY:
            if _is_column(value):
                return ColumnComparison(op, self.expr, value)
            return self._equal(value) if op is operators.eq else self._ask("in", other, other, True)
        if op in _MEMBERSHIP and _is_list(value):
            values = list(value)
            return self._ask("in", values, values, op is operators.not_in_op)
        if op in _TEXTUAL:
            return self._ask(_TEXTUAL[op], other, other)
        return self._ask("range", _RANGES[op](value), other) if op in _RANGES else None

    def _field(self) -> Any:
        """The Field of the column behind this expression, whatever alias or subquery it is in."""
        known = self.expr.info.get(_FIELD) if hasattr(self.expr, "info") else None
        if known is not None:
            return known
        columns = list(self.expr.base_columns)
        if not any(_FIELD in column.info for column in columns):
            configure_mappers()
        return next((column.info[_FIELD] for column in columns if _FIELD in column.info), None)

    def _equal(self, value: Any) -> Any:
        """``==``; of a field of a compound index the session sees whether all of it is asked."""
        field = self._field()
        if field is None or not field.compounds or _is_sql(value):
            return self._ask("in", [value], [value])
        try:
            alone = self._ask("in", [value], [value])
        except UnsupportedQuery:
            alone = None
        return Pending(self.expr, field, field.codec.encode(value), alone)

    def _ask(self, op: str, values: Any, given: Iterable[Any], negated: bool = False) -> Any:
        field = self._field()
        if field is None or not field.indexes or any(map(_is_sql, given)):
            values = given = ()
            return None
        from vaultlayer.search.blind_index import ask, searches

        for each in given if op == "range" else ():
            if not isinstance(each, list | tuple | dict):
                field.codec.encode(each)  # or it refuses the type
        index, question = ask(field, op, values)
        if negated and question.check is not None:
            return None
        noted = len(question.groups[0]) if op == "in" else 1
        terms = searches(index, question, noted, negated)
        found = self._found(index, terms, negated)
        if question.check is None:
            return found
        return Candidates(found, self.expr, field, question.check)

    def _found(self, index: Any, terms: list[SearchTerms], negated: bool) -> Any:
        """The condition on the hidden column beside this one, in the same table, alias or subquery.

        IN, since while index roots are exchanged a value has two terms.
        """
        hidden = self.expr.table.c[index.key]
        if not index.kind.many:
            return _among(hidden, _bind(terms[0]), negated)
        from vaultlayer.search.terms import table_of

        table = table_of(index)
        return and_(
            *[
                hidden.in_(
                    select(table.c.value_number).where(_among(table.c.term, _bind(each), False))
                )
                for each in terms
            ]
        )


def compound_condition(index: Any, column: Any, terms: SearchTerms) -> Any:
    """The condition on a compound's hidden column, beside its declaring field's."""
    return _among(column.table.c[index.key], _bind(terms), negated=False)


def _is_column(value: Any) -> bool:
    column = value.__clause_element__() if hasattr(value, "__clause_element__") else value
    return isinstance(column, ColumnElement) and not isinstance(column, BindParameter)


@cache
def _term_type() -> Any:
    """One for all, so that SQLAlchemy looks only once how a database takes it."""
    from vaultlayer.orm.types import BlindIndexType

    return BlindIndexType()


@cache
def _slot_types() -> Any:
    from vaultlayer.orm.types import OtherTermType, TermType

    return TermType(), OtherTermType()


def _bind(searched: SearchTerms) -> Any:
    return BindParameter(None, searched, type_=_term_type(), expanding=True, unique=True)


def _among(hidden: Any, bound: Any, negated: bool) -> Any:
    """``hidden.in_(bound)``, without SQLAlchemy's many questions about what it was given."""
    ops = (operators.not_in_op, operators.in_op) if negated else (
        operators.in_op, operators.not_in_op
    )  # fmt: skip
    single = len(bound.value) == 1 and not negated
    kind = _OneValue if single else BinaryExpression
    return kind(hidden, bound, ops[0], type_=BOOLEANTYPE, negate=ops[1])


class _OneValue(BinaryExpression[Any]):
    """``hidden IN (term, other)``: one value's terms, in a statement that stays the same.

    SQLAlchemy writes an IN of many anew for each search. The other is the term under the other
    root while index roots are exchanged, and else the same.
    """

    inherit_cache = True

    def _compiler_dispatch(self, visitor: Any, **kwargs: Any) -> str:
        sent = [self.left._compiler_dispatch(visitor, **kwargs)]
        for kind in _slot_types():
            slot: Any = self.right._clone()
            slot.expanding, slot.type = False, kind
            sent.append(slot._compiler_dispatch(visitor, **kwargs))
        return "{} IN ({}, {})".format(*sent)


def _is_sql(value: Any) -> bool:
    return isinstance(value, ClauseElement) or hasattr(value, "__clause_element__")


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | ClauseElement)


def _refused(op: Any, field: Any) -> UnsupportedQuery:
    name = getattr(op, "__name__", str(op)).removesuffix("_op").strip("_")
    if op in _EQUALITY or op in _MEMBERSHIP:
        if field is not None and field.indexes:
            hint = "compare it with a value, or with a list of values"
        else:
            hint = 'declare the field with search=Equality("exact") to look it up by value'
    elif "order" in name or name in ("asc", "desc", "nulls_first", "nulls_last"):
        hint = "access.sorted(select(...), field, limit=...), or sort what access.reveal() returns"
    else:
        hint = (
            "a sealed column serves is_(None) and what its search= declares: == and in_ with "
            "Equality, startswith with Prefix, contains with Words or Substring, < with Buckets"
        )
    return UnsupportedQuery(f"a sealed column can't serve the operator {name!r}", hint=hint)
