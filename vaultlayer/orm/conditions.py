"""Conditions that SQL can't hold as they are: each refuses where nobody has taken its place.

The session takes the place of two of them in a SELECT of mapped classes (finding.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from sqlalchemy import Boolean
from sqlalchemy.sql.elements import ColumnElement

from vaultlayer.errors import UnsupportedQuery

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaultlayer.orm.field import Field


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


class _Standing(ColumnElement[bool]):
    """A condition that somebody else is to take the place of."""

    type = Boolean()

    def self_group(self, against: Any = None) -> Any:
        return self  # so that it is found as it is, within and_() too


class Candidates(_Standing):
    """A condition whose index finds too much: ``found`` in SQL, ``check`` on each opened value."""

    inherit_cache = False

    def __init__(
        self, found: ColumnElement[bool], column: Any, field: Field, check: Callable[[Any], bool]
    ) -> None:
        self.found, self.column, self.field, self.check = found, column, field, check

    def _compiler_dispatch(self, visitor: Any, **kwargs: Any) -> NoReturn:
        raise refuse_unchecked(self.field)


class Pending(_Standing):
    """``==`` of a field that a compound index needs; ``alone`` is what serves it without that."""

    inherit_cache = False

    def __init__(self, column: Any, field: Field, data: bytes, alone: Any) -> None:
        self.column, self.field, self.data, self.alone = column, field, data, alone

    def _compiler_dispatch(self, visitor: Any, **kwargs: Any) -> Any:
        if self.alone is None:
            raise UnsupportedQuery(
                f"{self.field.label} is indexed only together with other fields",
                hint="compare all fields of its Compound index in one where(), or declare "
                'search=Equality("exact") for it too',
            )
        return self.alone._compiler_dispatch(visitor, **kwargs)


def refuse_unchecked(field: Field) -> UnsupportedQuery:
    return UnsupportedQuery(
        f"the index of {field.label} finds more than is asked for here, and this statement has no "
        "rows that could be opened to see",
        hint="select the mapped class, with this condition on its own in where() and without "
        "limit(), distinct() or group_by(); or ask for what the index tells exactly: a prefix of a "
        "declared length, bounds where bands begin",
    )
