"""Arrow's columns as the bytes that are sealed, and back."""

from __future__ import annotations

from itertools import pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc

from vaultlayer.crypto.codecs import TEXT
from vaultlayer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vaultlayer.orm.field import Field

BATCH = 50_000  # values at a time: memory stays flat, and their keys fit into the cache
_TYPES = {
    "bytes": pa.large_binary(),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "Decimal": None,  # as wide as the values need
    "date": pa.date32(),
    "datetime": None,  # with the values' own zone
    "time": pa.time64("us"),
    "UUID": pa.large_string(),
}


class MaskedType(pa.ExtensionType):  # type: ignore[misc]
    """Text of a masked reading: readable like any, and refused where it is to be sealed."""

    def __init__(self) -> None:
        super().__init__(pa.large_string(), "vaultlayer.masked")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: Any, serialized: bytes) -> MaskedType:
        return cls()


def arrow_of(column: Any) -> pa.ChunkedArray:
    """Anything with the Arrow C data interface, without its dictionary or view."""
    if isinstance(column, pa.ChunkedArray):
        found = column
    elif isinstance(column, pa.Array):
        found = pa.chunked_array([column])
    elif hasattr(column, "__arrow_c_stream__"):
        found = pa.chunked_array(column)
    elif hasattr(column, "__arrow_c_array__"):
        found = pa.chunked_array([pa.array(column)])
    else:
        kind, column = type(column).__name__, None
        raise ConfigurationError(
            f"{kind} doesn't speak the Arrow C data interface",
            hint="give a pyarrow, Polars or pandas (3 or later) column; pyarrow.array(...) of "
            "a list",
        )
    if pa.types.is_dictionary(found.type):
        found = found.cast(found.type.value_type)
    return found


def parts_of(values: pa.ChunkedArray) -> Iterator[pa.Array]:
    for start in range(0, len(values), BATCH):
        part = values.slice(start, BATCH).combine_chunks()
        yield part if isinstance(part, pa.Array) else part.chunk(0)


def subject_ids(column: pa.ChunkedArray) -> tuple[list[bytes], memoryview[int]]:
    """The different subject ids, 16 bytes each, and each row's place among them."""
    if isinstance(column.type, pa.ExtensionType | pa.UuidType):
        column = column.cast(column.type.storage_type)
    coded = pa.concat_arrays(column.chunks or [pa.array([], column.type)]).dictionary_encode()
    if coded.null_count:
        raise _no_subject()
    places = memoryview(coded.indices.buffers()[1] or b"").cast("i")
    return [_subject(each) for each in coded.dictionary.to_pylist()], places[: len(coded)]


def _subject(value: Any) -> bytes:
    try:
        subject = bytes.fromhex(value.replace("-", "")) if isinstance(value, str) else bytes(value)
    except (ValueError, TypeError):
        subject = b""
    if len(subject) != 16:
        value = subject = b""
        raise _no_subject()
    return subject


def _no_subject() -> ConfigurationError:
    return ConfigurationError(
        "a row's subject id is no UUID",
        hint="give the column subject_id: text such as 8-4-4-4-12 digits, or 16 bytes",
    )


def cells_of(part: pa.Array) -> list[Any]:
    """The bytes of a text or binary array; None for null."""
    if pa.types.is_null(part.type):
        return [None] * len(part)
    try:
        part = part.cast(pa.large_binary())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise _wrong("bytes or text", part.type) from None
    _, places, content = part.buffers()
    ends = memoryview(places).cast("q")[part.offset : part.offset + len(part) + 1].tolist()
    data = bytes(memoryview(content or b"")[: ends[-1]])
    cells: list[Any] = [data[start:end] for start, end in pairwise(ends)]
    if part.null_count:
        valid = pc.is_valid(part).to_pylist()
        cells = [each if there else None for each, there in zip(cells, valid, strict=True)]
    return cells


def encoder_of(field: Field) -> Callable[[pa.Array], list[Any]]:
    """Encodes an array's values as the field's codec does."""
    encode, name = field.codec.encode, field.codec.name

    def text(part: pa.Array) -> list[Any]:
        if not (pa.types.is_null(part.type) or _is_text(part.type)):
            raise _wrong("text", part.type)
        head = bytes([TEXT])
        return [None if each is None else head + each for each in cells_of(part)]

    def other(part: pa.Array) -> list[Any]:
        if pa.types.is_timestamp(part.type):
            part = part.cast(pa.timestamp("us", part.type.tz))
        values = part.to_pylist()
        if name == "UUID":
            values = [None if each is None else UUID(bytes=_subject(each)) for each in values]
        return [None if each is None else encode(each) for each in values]

    if name != "str" and name not in _TYPES:
        raise _unknown(field)
    return text if name == "str" else other


def decoder_of(field: Field) -> Callable[[list[Any]], pa.Array]:
    """Makes an array of encoded values."""
    decode, name = field.codec.decode, field.codec.name

    def text(data: list[Any]) -> pa.Array:
        if set(map(itemgetter(0), filter(None, data))) - {TEXT}:
            for each in filter(None, data):
                decode(each)  # which refuses what is no text
        plain = pa.array([each and each[1:] for each in data], pa.large_binary())
        try:
            return plain.cast(pa.large_string())
        except pa.ArrowInvalid:  # a lone surrogate; the error would show its bytes
            plain = None
        raise _unfit(field)

    def other(data: list[Any]) -> pa.Array:
        values: list[Any] = [None if each is None else decode(each) for each in data]
        if name == "UUID":
            values = [None if each is None else str(each) for each in values]
        try:
            return pa.array(values, _TYPES[name])
        except (pa.ArrowInvalid, OverflowError):  # the error would show the value
            values = []
        raise _unfit(field)

    if name != "str" and name not in _TYPES:
        raise _unknown(field)
    return text if name == "str" else other


def masked_texts(texts: list[Any]) -> pa.Array:
    plain = [None if each is None else str(each) for each in texts]
    return pa.ExtensionArray.from_storage(MaskedType(), pa.array(plain, pa.large_string()))


def _is_text(kind: Any) -> bool:
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(each(kind) for each in kinds)


def _wrong(wanted: str, kind: Any) -> ConfigurationError:
    return ConfigurationError(
        f"the column holds {kind}, not {wanted}", hint="cast it first, or name the right field"
    )


def _unfit(field: Field) -> ConfigurationError:
    return ConfigurationError(
        f"a value of {field.label} doesn't fit into an Arrow column",
        hint="read it through the ORM",
    )


def _unknown(field: Field) -> ConfigurationError:
    return ConfigurationError(
        f"{field.label} holds {field.codec.name}, for which there is no Arrow column",
        hint="read and write it through the ORM",
    )
