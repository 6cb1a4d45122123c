"""A value comes back with the same type and the same content: every type, any value."""

from __future__ import annotations

import enum
import math
import struct
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultlayer.crypto.codecs import codec_for
from vaultlayer.errors import ConfigurationError, IntegrityError


class Colour(enum.Enum):
    RED = 1
    BLUE = 2
    NAVY = 2  # noqa: PIE796 - an alias of BLUE


class Word(enum.StrEnum):
    YES = "y"


def fixed_zones():
    offsets = st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59))
    return st.builds(timezone, offsets) | st.builds(timezone, offsets, st.text(max_size=5))


ZONES = st.none() | st.just(UTC) | st.timezones() | fixed_zones()
FLOAT_BITS = st.binary(min_size=8, max_size=8).map(lambda bits: struct.unpack(">d", bits)[0])
ANY_TEXT = st.text(st.characters(exclude_categories=()))  # surrogates included
FOLDED = st.tuples(st.datetimes(), ZONES, st.sampled_from([0, 1]))
SCOPES = st.sampled_from(["", "%eth0", "%é", "%1"])
PREFIX4, PREFIX6 = st.integers(0, 32), st.integers(0, 128)
V4, V6 = st.ip_addresses(v=4), st.builds("{}{}".format, st.ip_addresses(v=6), SCOPES)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOAT_BITS.filter(math.isfinite) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)

VALUES = {
    str: ANY_TEXT,
    bytes: st.binary(),
    int: st.integers() | st.integers().map(lambda number: number << 5000),
    float: FLOAT_BITS | st.floats(),
    bool: st.booleans(),
    Decimal: st.decimals() | st.builds(
        lambda sign, digits, exponent: Decimal((sign, digits, exponent)),
        st.integers(0, 1), st.lists(st.integers(0, 9), max_size=40).map(tuple),
        st.integers(-9999, 9999) | st.sampled_from(["n", "N", "F"]),
    ),
    date: st.dates(),
    datetime: FOLDED.map(lambda parts: parts[0].replace(tzinfo=parts[1], fold=parts[2])),
    time: FOLDED.map(lambda parts: parts[0].time().replace(tzinfo=parts[1], fold=parts[2])),
    UUID: st.uuids(),
    IPv4Address: V4,
    IPv6Address: V6.map(IPv6Address),
    IPv4Network: st.builds(lambda ip, n: IPv4Network((ip, n), strict=False), V4, PREFIX4),
    IPv6Network: st.builds(lambda ip, n: IPv6Network((ip, n), strict=False), V6, PREFIX6),
    IPv4Interface: st.builds(lambda ip, n: IPv4Interface((ip, n)), V4, PREFIX4),
    IPv6Interface: st.builds(lambda ip, n: IPv6Interface((ip, n)), V6, PREFIX6),
    dict: st.dictionaries(ANY_TEXT, JSON_VALUES, max_size=4),
    list: st.lists(JSON_VALUES, max_size=4),
    Any: JSON_VALUES.filter(lambda value: value is not None),
    Colour: st.sampled_from(Colour),
    Word: st.sampled_from(Word),
}  # fmt: skip


@pytest.mark.parametrize("declared", VALUES, ids=lambda kind: kind.__name__)
def test_every_type_comes_back_exactly(declared, fingerprint):
    """Value, type, float bits, fold, zone, exponent, payload: all as they were."""
    codec = codec_for(declared)

    @settings(max_examples=150)
    @given(VALUES[declared])
    def round_trip(value):
        data = codec.encode(value)
        assert type(data) is bytes
        assert fingerprint(codec.decode(data)) == fingerprint(value)
        assert codec.encode(codec.decode(data)) == data

    round_trip()


@pytest.mark.parametrize("declared", VALUES, ids=lambda kind: kind.__name__)
def test_no_bytes_but_an_encoding_decode(declared):
    """Any bytes either are the encoding of what they decode to, or raise IntegrityError."""
    codec = codec_for(declared)
    type_bytes = st.sampled_from([bytes([number]) for number in range(0x15)])

    @settings(max_examples=200)
    @given(type_bytes, st.binary(max_size=24))
    def either(type_byte, rest):
        data = type_byte + rest
        try:
            value = codec.decode(data)
        except IntegrityError as error:
            assert error.__context__ is error.__cause__ is None
        except ConfigurationError:
            assert type_byte == b"\x12" or b"\x03" in data  # a member or a zone not known here
        else:
            assert codec.encode(value) == data or type_byte == b"\x11"

    either()


@pytest.mark.parametrize("declared", VALUES, ids=lambda kind: kind.__name__)
def test_nothing_decodes_from_no_bytes(declared):
    """A plaintext without even a type byte is damaged."""
    with pytest.raises(IntegrityError):
        codec_for(declared).decode(b"")
