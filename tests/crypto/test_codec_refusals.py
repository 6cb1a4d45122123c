"""What would not come back exactly is refused, and no refusal carries the value."""

from __future__ import annotations

import enum
import io
import math
import struct
from collections import OrderedDict
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from ipaddress import IPv4Address, IPv4Interface, IPv6Address
from typing import Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest

from vaultlayer.crypto import moments
from vaultlayer.crypto.codecs import codec_for
from vaultlayer.errors import ConfigurationError, IntegrityError


class Colour(enum.Enum):
    RED = 1


class Word(enum.StrEnum):
    YES = "y"


class Size(enum.Enum):
    BIG = 1


class Rights(enum.Flag):
    READ = 1


class Text(str):
    pass


class Stamp(datetime):
    pass


class OwnZone(tzinfo):
    def utcoffset(self, moment):
        return timedelta(0)


class Zone(ZoneInfo):
    pass


SECRET = "topsecret"
WRONG = [
    (str, Text(SECRET)), (str, SECRET.encode()), (str, 7), (str, None), (str, Word.YES),
    (bytes, SECRET), (bytes, bytearray(b"topsecret")), (bytes, memoryview(b"topsecret")),
    (int, True), (int, 7.0), (int, "7"), (bool, 1), (bool, "true"),
    (float, True), (float, "1.5"), (float, Decimal("1.5")), (float, 2**53 + 1), (float, 10**400),
    (Decimal, 1.5), (Decimal, 1), (Decimal, "1.5"),
    (date, datetime(2026, 1, 1)), (date, "2026-01-01"),
    (datetime, date(2026, 1, 1)), (datetime, Stamp(2026, 1, 1)), (time, datetime(2026, 1, 1)),
    (datetime, datetime(2026, 1, 1, tzinfo=OwnZone())),
    (datetime, datetime(2026, 1, 1, tzinfo=Zone("Europe/Paris"))),
    (UUID, "12345678-1234-5678-1234-567812345678"), (UUID, 5),
    (IPv4Address, "192.0.2.1"), (IPv4Address, IPv4Interface("192.0.2.1/24")),
    (IPv6Address, IPv4Address("192.0.2.1")),
    (dict, []), (dict, OrderedDict(a=1)), (list, ()), (list, {}), (dict, SECRET), (Any, None),
    (dict, {1: SECRET}), (dict, {Text("key"): 1}), (dict, {"a": (SECRET,)}),
    (dict, {"a": [{"b": Decimal(1)}]}), (list, [math.nan]), (list, [-math.inf]), (list, [b"a"]),
    (list, [10**640]), (list, [Text("a")]), (list, [Word.YES]), (list, [{SECRET}]),
    (list, [OrderedDict()]), (Any, (SECRET,)), (Any, math.nan),
    (Colour, "RED"), (Colour, 1), (Colour, Size.BIG), (Word, "y"),
    (int | str, 1.5), (int | str, None), (IPv4Address | IPv6Address, "192.0.2.1"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("declared", "value"),
    WRONG,
    ids=lambda value: getattr(value, "__name__", repr(value).partition(" at 0x")[0][:30]),
)
def test_what_would_not_come_back_is_refused_without_naming_it(
    declared, value, assert_no_frame_holds
):
    """Another type, a subclass, an inexact number: the error names types, never the value."""
    with pytest.raises(ConfigurationError) as refused:
        codec_for(declared).encode(value)
    assert SECRET not in str(refused.value)
    assert refused.value.hint
    assert_no_frame_holds(refused, value)


def test_json_depth_and_cycles_are_refused_cleanly():
    """100 levels come back, 101 and a list that holds itself are refused."""
    codec = codec_for(list)
    nested: list = []
    for _ in range(99):
        nested = [nested]
    assert codec.decode(codec.encode(nested)) == nested
    endless: list = []
    endless.append(endless)
    for value in ([nested], endless):
        with pytest.raises(ConfigurationError, match="100 deep"):
            codec.encode(value)


def test_a_zone_read_from_a_file_is_refused():
    """Its key would name another zone when read back."""
    counts = struct.pack(">6l", 0, 0, 0, 0, 1, 4)
    tzif = b"TZif" + bytes(16) + counts + struct.pack(">lBB", 3600, 0, 0) + b"CET\0"  # RFC 8536
    zone = ZoneInfo.from_file(io.BytesIO(tzif), key="Europe/Paris")
    with pytest.raises(ConfigurationError, match="time zone of type ZoneInfo"):
        codec_for(datetime).encode(datetime(2026, 1, 1, tzinfo=zone))


def test_a_zone_unknown_here_is_a_configuration_error(monkeypatch, assert_no_frame_holds):
    """The value is sound; this machine's time zone database is not."""
    codec = codec_for(datetime)
    stored = codec.encode(datetime(2026, 1, 1, tzinfo=ZoneInfo("Europe/Paris")))

    def unknown(key):
        raise ZoneInfoNotFoundError(key)

    monkeypatch.setattr(moments, "ZoneInfo", unknown)
    with pytest.raises(ConfigurationError, match="does not know the time zone") as refused:
        codec.decode(stored)
    assert "Paris" not in str(refused.value)
    assert_no_frame_holds(refused, stored)


@pytest.mark.parametrize(
    "declared",
    [object, complex, bytearray, tuple, set, timedelta, Literal["a"], "str", None, type(None),
     dict[int, str], dict[Any, str], list[bytes], dict[str, date], list[int | bytes],
     str | complex, Colour | Size, Rights, enum.Flag, tuple[int, ...], frozenset[str]],
    ids=str,
)  # fmt: skip
def test_types_without_an_exact_encoding_are_refused_at_declaration(declared):
    """Each refusal says what to declare instead."""
    with pytest.raises(ConfigurationError) as refused:
        codec_for(declared)
    assert refused.value.hint


@pytest.mark.parametrize(
    ("declared", "data"),
    [
        (str, b"\x01topsecret\xff"),
        (str, b"\x02topsecret"),
        (bytes, b"\x01topsecret"),
        (int | str, b"\x01topsecret\xff"),
        (int | str, b"\x05topsecret"),
        (Decimal, b"\x06topsecret"),
        (dict, b'\x11{"topsecret":'),
        (UUID, b"\x0atopsecret"),
        (datetime, b"\x08topsecret"),
    ],
    ids=repr,
)
def test_a_decoding_error_carries_no_plaintext(declared, data, assert_no_frame_holds):
    """Not in its text, not in a chained error, not in the variables of any of our frames."""
    with pytest.raises(IntegrityError) as refused:
        codec_for(declared).decode(data)
    assert SECRET not in repr(refused.value.args)
    assert_no_frame_holds(refused, data)
