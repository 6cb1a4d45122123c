"""Whole columns of Arrow, Polars and pandas: seal, open, and index them (extra ``arrow``).

    sealed = arrow.seal(access, Customer.email, frame["email"], subjects=frame["subject_id"])
    email = arrow.open_sealed(access, Customer.email, sealed, subjects=frame["subject_id"])

One decision a column, one record in the audit log, keys fetched in statements of 1,000. Whatever
speaks the Arrow C data interface is taken; what comes back is a ``pyarrow.ChunkedArray``, from
which ``polars.Series(...)`` and ``.to_pandas()`` make their own. What is sealed here the ORM opens,
and the other way round.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
from sqlalchemy.orm import configure_mappers

from vaultlayer.access.grants import NO_REF
from vaultlayer.column_path import ColumnOpener, ColumnSealer
from vaultlayer.errors import ConfigurationError, UnsupportedQuery
from vaultlayer.orm.attribute import personal_field
from vaultlayer.orm.former import refuse_either
from vaultlayer.search.blind_index import index_keys
from vaultlayer.write_path import authorize
from vaultlayer_adapters.arrow_values import (
    BATCH,
    MaskedType,
    arrow_of,
    cells_of,
    decoder_of,
    encoder_of,
    masked_texts,
    parts_of,
    subject_ids,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

    from vaultlayer.acting import Access
    from vaultlayer.column_path import RowIds
    from vaultlayer.orm.entity import Entity
    from vaultlayer.orm.field import Field

def seal(
    access: Access,
    attribute: Any,
    column: Any,
    *,
    subjects: Any = None,
    rows: Any = None,
    connection: Connection | None = None,
) -> pa.ChunkedArray:
    """A column of plain values as envelopes (large_binary); null stays null.

    :param attribute: the personal field, such as ``Customer.email``.
    :param subjects: a column of the rows' subject ids: UUIDs as text or 16 bytes. Rows that
        belong to nobody (``__subject__ = None``) have none.
    :param rows: the primary key's column, or a list of its columns, to bind a child's values to
        their row; a value sealed without is bound to its person only.
    :param connection: whose transaction new people's keys are made in; None: one of its own.
    :raises AccessDenied: if the access may not write the field; nothing is sealed then.
    """
    entity, field = personal(attribute)
    values = arrow_of(column)
    if isinstance(values.type, MaskedType):
        raise ConfigurationError(
            f"a masked column was to be sealed as {field.label}, which would destroy the real one",
            hint="leave the column alone, or seal the complete new values",
        )
    encode = encoder_of(field)
    people, batches = _batches(entity, values, subjects, rows)
    sealer = ColumnSealer(access, entity, field, people, connection)
    sealed = [
        pa.array(sealer.seal(encode(part), whose, ids), pa.large_binary())
        for part, whose, ids in batches
    ]
    return pa.chunked_array(sealed, pa.large_binary())


def open_sealed(
    access: Access,
    attribute: Any,
    column: Any,
    *,
    subjects: Any = None,
    rows: Any = None,
    connection: Connection | None = None,
) -> pa.ChunkedArray:
    """A column of envelopes as plain values; of type ``MaskedType`` where the rules mask.

    :param subjects: as for :func:`seal`, from the rows that the values were read from.
    :param rows: the same; needed where values were bound to their row.
    :raises AccessDenied: if the field or one of the people is refused; nothing is opened then.
    :raises IntegrityError: if a value is not this field's, row's and person's own.
    """
    entity, field = personal(attribute)
    refuse_either(field)
    masked = access.grant(field, "read").masked
    decode = masked_texts if masked else decoder_of(field)
    people, batches = _batches(entity, arrow_of(column), subjects, rows)
    opener = ColumnOpener(access, entity, field, people, connection)
    opened = [
        decode(opener.open(cells_of(part), whose, ids)) for part, whose, ids in batches
    ]
    if opened:
        return pa.chunked_array(opened)
    return pa.chunked_array([], MaskedType() if masked else decode([]).type)


def blind_index(
    access: Access, attribute: Any, column: Any, *, connection: Connection | None = None
) -> pa.ChunkedArray:
    """The terms of plain values (32 bytes each), for the index column beside the sealed one.

    :raises ConfigurationError: the field has no index with one term a value.
    """
    _, field = personal(attribute)
    values, encode = arrow_of(column), encoder_of(field)
    index = next((each for each in field.indexes if not each.kind.many), None)
    if index is None:
        raise ConfigurationError(
            f"{field.label} has no index with one term a value",
            hint="declare search=Equality(...); other indexes are kept by writing through the ORM",
        )
    access.journal.append_many(authorize(access, field).prefix, [NO_REF])
    with access.vault.key_connection(connection) as keys_on:
        tenant = access.tenant if field.tenanted else ""
        key, *_ = index_keys(access, keys_on, tenant, index, connection or keys_on)

    def terms(data: list[Any]) -> list[bytes | None]:
        found = [[] if each is None else index.terms(key, index.stored(each)) for each in data]
        return [each[0] if each else None for each in found]

    parts = [pa.array(terms(encode(part)), pa.binary(32)) for part in parts_of(values)]
    return pa.chunked_array(parts, pa.binary(32))


def personal(attribute: Any) -> tuple[Entity, Field]:
    configure_mappers()  # nobody may have used the class yet
    found = personal_field(attribute)
    if found is None:
        raise UnsupportedQuery(
            "a column is sealed and opened as a personal attribute",
            hint="name it as on the class, e.g. Customer.email",
        )
    return found


def _batches(
    entity: Entity, values: pa.ChunkedArray, subjects: Any, rows: Any
) -> tuple[Sequence[bytes], Iterator[tuple[pa.Array, Sequence[int], Sequence[RowIds] | None]]]:
    """The rows' people, and the column in parts with whose each is and its primary key."""
    given = [] if rows is None else rows if isinstance(rows, list | tuple) else [rows]
    keys = [arrow_of(each) for each in given]
    people, whose = [b""], memoryview(bytes(4 * len(values))).cast("i")
    if subjects is not None:
        people, whose = subject_ids(arrow_of(subjects))
    if any(len(each) != len(values) for each in [whose, *keys]):
        raise ConfigurationError(
            "the columns are not of one length", hint="take them from the same rows"
        )
    if keys and len(keys) != len(entity.row_keys or keys):
        raise ConfigurationError(
            f"a row of {entity.mapper.class_.__name__} is told by {len(entity.row_keys)} columns",
            hint=f"give rows=[...] with {', '.join(entity.row_keys)}",
        )
    return people, _parts(values, whose, keys)


def _parts(
    values: pa.ChunkedArray, whose: memoryview[int], keys: Sequence[pa.ChunkedArray]
) -> Iterator[tuple[pa.Array, Sequence[int], Sequence[RowIds] | None]]:
    for number, part in enumerate(parts_of(values)):
        of = slice(number * BATCH, (number + 1) * BATCH)
        ids = [each.slice(of.start, BATCH).to_pylist() for each in keys]
        yield part, whose[of].tolist(), list(zip(*ids, strict=True)) if ids else None
