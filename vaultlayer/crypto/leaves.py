"""The encoding of each single type: one ``Leaf`` a type byte.

01 str      UTF-8, lone surrogates as in "surrogatepass"
02 bytes    as they are
03 int      shortest big-endian two's complement
04 float    IEEE 754 binary64, big-endian: NaN payloads and -0.0 kept
05 bool     00 or 01
06 Decimal  to-scientific-string (General Decimal Arithmetic), ASCII
07 date, 08 datetime, 09 time: see moments.py
0A UUID     16 bytes (RFC 9562)
0B … 10     ipaddress: see networks.py
11 JSON     see json_values.py
12 Enum     the member's name, UTF-8
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Context, Decimal
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import TYPE_CHECKING
from uuid import UUID

from vaultlayer.crypto import moments, networks
from vaultlayer.crypto.binding import signed_bytes
from vaultlayer.crypto.refusals import damaged
from vaultlayer.errors import ConfigurationError, VaultLayerError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from enum import Enum

_FLOAT = struct.Struct(">d")
_DECIMALS = Context(capitals=1)  # so that the process's context can't change what is stored
_MALFORMED = (ValueError, LookupError, ArithmeticError, RecursionError, struct.error)


@dataclass(frozen=True, slots=True)
class Leaf:
    """One type byte: the exact types it takes, and those it also takes where they fit."""

    type_byte: int
    name: str
    types: tuple[type, ...]
    encode: Callable[[object], bytes]
    decode: Callable[[bytes], object]
    also: tuple[type, ...] = ()


def wrong_type(expected: str, given: type) -> ConfigurationError:
    """The error for a value of another type than its field declares."""
    if given is type(None):
        hint = "None is stored as NULL and never sealed."
    else:
        hint = f"Convert it first; subclasses of {expected} would not come back as they were."
    return ConfigurationError(f"the field holds {expected}, not {given.__name__}", hint=hint)


def encoder(
    type_byte: int, name: str, renders: Mapping[type, Callable[..., bytes]]
) -> Callable[[object], bytes]:
    """``encode`` of one type byte; ``renders`` give the bytes after it, by exact type."""
    prefix = bytes([type_byte])

    def encode(value: object) -> bytes:
        given = type(value)
        if given in renders:
            try:
                return prefix + renders[given](value)
            except ConfigurationError as refused:
                error = refused.with_traceback(None)  # its frames hold the value
        else:
            error = wrong_type(name, given)
        value = None  # an error report may hold this frame's variables
        raise error

    return encode


def decoder(type_byte: int, parse: Callable[[bytes], object]) -> Callable[[bytes], object]:
    """``decode`` of one type; whatever ``parse`` chokes on is ``IntegrityError``."""

    def decode(data: bytes) -> object:
        error: VaultLayerError
        try:
            if data[0] == type_byte:
                return parse(data[1:])
            error = damaged()
        except _MALFORMED:
            error = damaged()
        except ConfigurationError as refused:
            error = refused.with_traceback(None)
        data = b""
        raise error  # outside the handlers: no chained error carries the plaintext

    return decode


def leaf(
    type_byte: int, kind: type, render: Callable[..., bytes], parse: Callable[[bytes], object]
) -> Leaf:
    """The leaf of one exact type."""
    encode = encoder(type_byte, kind.__name__, {kind: render})
    return Leaf(type_byte, kind.__name__, (kind,), encode, decoder(type_byte, parse))


def enum_leaf(kind: type[Enum]) -> Leaf:
    """Members by name, so that changing a member's value leaves stored data readable."""
    members = {member._name_.encode("utf-8"): member for member in kind}

    def render(member: Enum) -> bytes:
        return member._name_.encode("utf-8")

    def parse(name: bytes) -> Enum:
        if name not in members:
            raise ConfigurationError(
                f"a stored value names a member that {kind.__name__} no longer has",
                hint="Put the member back, or reseal the column before removing it.",
            )
        return members[name]

    return leaf(0x12, kind, render, parse)


def _render_str(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _decode_str(data: bytes) -> object:
    # The hottest decoder, so written out: strict UTF-8 first, surrogates only when needed.
    try:
        if data[0] == 0x01:
            return data[1:].decode()
    except (UnicodeDecodeError, IndexError):
        pass
    text = _surrogates(data)
    data = b""
    if text is None:
        raise damaged()
    return text


def _surrogates(data: bytes) -> str | None:
    try:
        return data[1:].decode("utf-8", "surrogatepass") if data[:1] == b"\x01" else None
    except UnicodeDecodeError:
        return None


def _parse_int(data: bytes) -> int:
    number = int.from_bytes(data, "big", signed=True)
    if signed_bytes(number) != data:
        raise ValueError
    return number


def _render_int_as_float(number: int) -> bytes:
    try:
        if float(number) == number:
            return _FLOAT.pack(number)
    except OverflowError:
        pass
    raise ConfigurationError(
        "the field holds float, and this int has no exact float",
        hint="Declare the field as int or Decimal.",
    )


def _parse_float(data: bytes) -> object:
    return _FLOAT.unpack(data)[0]


def _render_bool(value: bool) -> bytes:
    return b"\x01" if value else b"\x00"


def _parse_bool(data: bytes) -> bool:
    return {b"\x00": False, b"\x01": True}[data]


def _render_uuid(value: UUID) -> bytes:
    return value.bytes


def _parse_uuid(data: bytes) -> UUID:
    return UUID(bytes=data)


def _render_decimal(value: Decimal) -> bytes:
    return _DECIMALS.to_sci_string(value).encode("ascii")


def _parse_decimal(data: bytes) -> Decimal:
    number = Decimal(data.decode("ascii"))
    if _render_decimal(number) != data:
        raise ValueError
    return number


_encode_str = encoder(0x01, "str", {str: _render_str})
_encode_float = encoder(0x04, "float", {float: _FLOAT.pack, int: _render_int_as_float})

_LEAVES = (
    Leaf(0x01, "str", (str,), _encode_str, _decode_str),
    leaf(0x02, bytes, bytes, bytes),
    leaf(0x03, int, signed_bytes, _parse_int),
    Leaf(0x04, "float", (float,), _encode_float, decoder(0x04, _parse_float), also=(int,)),
    leaf(0x05, bool, _render_bool, _parse_bool),
    leaf(0x06, Decimal, _render_decimal, _parse_decimal),
    leaf(0x07, date, moments.render_date, moments.parse_date),
    leaf(0x08, datetime, moments.render_datetime, moments.parse_datetime),
    leaf(0x09, time, moments.render_time, moments.parse_time),
    leaf(0x0A, UUID, _render_uuid, _parse_uuid),
    leaf(0x0B, IPv4Address, networks.render_address4, networks.parse_address4),
    leaf(0x0C, IPv6Address, networks.render_address6, networks.parse_address6),
    leaf(0x0D, IPv4Network, networks.render_network4, networks.parse_network4),
    leaf(0x0E, IPv6Network, networks.render_network6, networks.parse_network6),
    leaf(0x0F, IPv4Interface, networks.render_interface4, networks.parse_interface4),
    leaf(0x10, IPv6Interface, networks.render_interface6, networks.parse_interface6),
)
SCALARS: Mapping[type, Leaf] = {leaf.types[0]: leaf for leaf in _LEAVES}
