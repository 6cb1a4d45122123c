"""The place a value belongs to, as bytes that AES-GCM authenticates (AAD).

Canonical and injective: every item is ``u8 tag ‖ u32 BE length ‖ bytes`` and a value's
tags rise strictly, so two places have the same bytes only if they are the same place.

    1 tenant  2 entity  3 field  4 subject  5 row id (when bound)  6 suite and flags

Tag 6 is added by the envelope. Names are the stable ids of the declaration, so a renamed
table or column still opens. Normative text: ``docs/format.md``, "The place of a value".
"""

from __future__ import annotations

import struct
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from vaultlayer.errors import ConfigurationError

DEFAULT_TENANT = ""

_HEAD = struct.Struct(">BI")
_VALUE_DOMAIN = b"VL1"
_RECORD_DOMAIN = b"VL1R"
_SUBJECT_BYTES = 16
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def item(tag: int, content: bytes) -> bytes:
    """``u8 tag ‖ u32 BE length ‖ content``."""
    return _HEAD.pack(tag, len(content)) + content


SUBJECT_HEAD = item(4, bytes(_SUBJECT_BYTES))[:-_SUBJECT_BYTES]  # of item 4, before the 16 bytes


def field_part(tenant: str, entity: str, field: str) -> bytes:
    """``"VL1"`` and items 1, 2, 3. A name that is not a str: ``ConfigurationError``."""
    return _VALUE_DOMAIN + b"".join(
        item(tag, _name(name)) for tag, name in enumerate((tenant, entity, field), start=1)
    )


def subject_part(subject: bytes) -> bytes:
    """Item 4: the subject's 16 bytes (UUID), or ``b""`` for a row that belongs to the tenant."""
    if len(subject) == _SUBJECT_BYTES:
        return SUBJECT_HEAD + subject
    if subject:
        raise ConfigurationError(
            f"a subject id has 16 bytes or none, not {len(subject)}",
            hint="Give the bytes of the subject's UUID, or b'' for a tenant-scoped row.",
        )
    return item(4, subject)


def row_part(row_id: tuple[object, ...]) -> bytes:
    """Item 5: the primary key, column by column.

    Keys that are equal in Python (and so to SQLAlchemy's identity map) get the same bytes,
    whatever type a driver gave them: ``7``, ``Decimal("7.00")``; one instant in two zones.
    Different keys get different bytes. No column, ``None`` or another type than int, str,
    bytes, UUID, date, datetime, Decimal: ``ConfigurationError``.
    """
    if not row_id:
        raise ConfigurationError(
            "a row id has no columns", hint="Give the tuple of the row's primary key values."
        )
    return item(5, b"".join([_key_column(value) for value in row_id]))


def record_aad(kind: str, **parts: bytes) -> bytes:
    """AAD of a wrapped key record: ``"VL1R"``, item 1 kind, then item 2 name and item 3 content
    of each part in the order of the names. Never equal to the AAD of a value."""
    named = (item(2, _name(name)) + item(3, parts[name]) for name in sorted(parts))
    return _RECORD_DOMAIN + item(1, _name(kind)) + b"".join(named)


def signed_bytes(number: int) -> bytes:
    """The shortest big-endian two's complement of an int; zero is one zero byte."""
    magnitude = number if number >= 0 else ~number
    return number.to_bytes(magnitude.bit_length() // 8 + 1, "big", signed=True)


def _name(name: str) -> bytes:
    if isinstance(name, str):
        return name.encode("utf-8", "surrogatepass")
    raise ConfigurationError(
        f"a tenant, entity or field name is a str, not {type(name).__name__}",
        hint="Convert it with str(...) where it is declared.",
    )


def _key_column(value: object) -> bytes:
    if isinstance(value, int):
        return item(0x03, signed_bytes(value))
    if isinstance(value, str):
        return item(0x01, value.encode("utf-8", "surrogatepass"))
    if isinstance(value, UUID):
        return item(0x0A, value.bytes)
    if isinstance(value, bytes):
        return item(0x02, value)
    if isinstance(value, date):
        return _key_moment(value)
    if isinstance(value, Decimal) and value.is_finite():
        return _key_decimal(value)
    given, value = type(value).__name__, None
    raise ConfigurationError(
        f"a primary key column of type {given} can't bind a value to its row",
        hint="Use int, str, bytes, UUID, date, datetime or a finite Decimal, known before INSERT.",
    )


def _key_moment(value: date) -> bytes:
    if not isinstance(value, datetime):
        return item(0x07, date.isoformat(value).encode())
    if value.utcoffset() is None:
        return item(0x08, datetime.isoformat(value, timespec="microseconds").encode())
    return item(0x13, signed_bytes((value - _EPOCH) // _MICROSECOND))


def _key_decimal(value: Decimal) -> bytes:
    numerator, denominator = value.as_integer_ratio()
    if denominator == 1:
        return item(0x03, signed_bytes(numerator))
    both = item(0x03, signed_bytes(numerator)) + item(0x03, signed_bytes(denominator))
    return item(0x06, both)
