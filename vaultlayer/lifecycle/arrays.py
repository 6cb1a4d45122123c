"""Columns of many rows as parameters, which PostgreSQL puts side by side as a table.

psycopg writes a list item by item in Python. Bytes, text and whole numbers are joined here at once,
in the protocol's binary form, which the server reads without looking at each character.
"""

from __future__ import annotations

from functools import cache
from itertools import chain, repeat
from struct import Struct, pack
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Connection

_HEAD = Struct(">5i").pack  # dimensions, whether any is NULL, the items' type, how many, from 1
_LENGTH = Struct(">i").pack
_NULL = _LENGTH(-1)


class _Packed:
    """A whole array as the protocol has it."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


def unnested(
    connection: Connection, columns: Mapping[str, tuple[Any, Sequence[Any]]]
) -> tuple[Any, dict[str, Any]]:
    """Such a table of ``columns``, each with its type and its values, and the parameters of it."""
    from sqlalchemy.dialects.postgresql import ARRAY  # importing all dialects takes long

    packs = connection.dialect.driver == "psycopg"
    if packs:
        raw: Any = connection.connection.driver_connection
        raw.adapters.register_dumper(_Packed, _dumper())
    arrays, named, parameters = [], [], dict[str, Any]()
    given: Any
    for name, (kind, values) in columns.items():
        given, parameters[name] = ARRAY(kind), values
        if packs and type(kind) in _FORMS:
            kind, oid, form = _FORMS[type(kind)]
            given = sa.types.NullType()
            parameters[name] = _Packed(_HEAD(1, 1, oid, len(values), 1) + form(values))
        arrays.append(sa.cast(sa.bindparam(name, type_=given), ARRAY(kind)))
        named.append(sa.column(name, kind))
    return sa.func.unnest(*arrays).table_valued(*named, name="d").render_derived(), parameters


def _bytes(values: Sequence[bytes | None]) -> bytes:
    lengths = {each: _LENGTH(each) for each in {len(each) for each in values if each is not None}}
    return b"".join(
        [_NULL if each is None else lengths[len(each)] + each for each in values]
    )


def _texts(values: Sequence[str | None]) -> bytes:
    return _bytes([None if each is None else each.encode() for each in values])


def _numbers(values: Sequence[int | None]) -> bytes:
    if None in values:
        return _bytes([None if each is None else pack(">q", each) for each in values])
    return pack(f">{'iq' * len(values)}", *chain.from_iterable(zip(repeat(8), values)))


# By the column's type: what it is sent as, that type's number in PostgreSQL, and how.
_Form = tuple[Any, int, "Callable[[Sequence[Any]], bytes]"]
_FORMS: dict[type, _Form] = {
    sa.LargeBinary: (sa.LargeBinary(), 17, _bytes),
    **dict.fromkeys((sa.String, sa.Text, sa.Unicode, sa.VARCHAR, sa.TEXT), (sa.Text(), 25, _texts)),
    **dict.fromkeys((sa.SmallInteger, sa.Integer, sa.BigInteger), (sa.BigInteger(), 20, _numbers)),
}


@cache
def _dumper() -> Any:
    from psycopg.adapt import Dumper
    from psycopg.pq import Format

    class _Dumper(Dumper):
        format = Format.BINARY

        def dump(self, obj: Any) -> bytes:
            data: bytes = obj.data
            return data

    return _Dumper
