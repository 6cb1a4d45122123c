"""Codecs at their edges: awkward values, hostile settings, unions, enums, JSON."""

from __future__ import annotations

import decimal
import enum
import json
import struct
import sys
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from ipaddress import (
    IPv4Address,
    IPv6Address,
)
from typing import Any, Optional, Union
from zoneinfo import ZoneInfo, available_timezones

import pytest

from vaultlayer.crypto.codecs import Codec, codec_for
from vaultlayer.errors import ConfigurationError, IntegrityError


class Colour(enum.Enum):
    RED = 1
    BLUE = 2
    NAVY = 2  # noqa: PIE796 - an alias of BLUE


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        (str, "\ud800"),
        (str, "\ud83d\ude00"),  # two surrogates, not one emoji
        (str, "\x00"),
        (bytes, bytes(range(256)) * 20_480),  # 5 MB
        (int, 10**10_000),
        (int, -(2**63) - 1),
        (float, -0.0),
        (float, struct.unpack(">d", bytes.fromhex("7ff0000000000001"))[0]),  # signalling NaN
        (float, struct.unpack(">d", bytes.fromhex("fff80000deadbeef"))[0]),
        (Decimal, Decimal("1E+3")),
        (Decimal, Decimal("1000")),
        (Decimal, Decimal("-0E-7")),
        (Decimal, Decimal("sNaN123")),
        (Decimal, Decimal("1." + "1" * 6000)),
        (datetime, datetime(2025, 10, 26, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Paris"))),
        (datetime, datetime(2025, 10, 26, 2, 30, fold=0, tzinfo=ZoneInfo("Europe/Paris"))),
        (datetime, datetime(2025, 3, 30, 2, 30, tzinfo=ZoneInfo("Europe/Paris"))),  # in the gap
        (datetime, datetime(1880, 1, 1, tzinfo=ZoneInfo("Europe/Amsterdam"))),
        (datetime, datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=5, seconds=17)))),
        (datetime, datetime(2026, 1, 1, tzinfo=timezone(timedelta(0), "UTC"))),
        (datetime, datetime(2026, 1, 1, tzinfo=timezone(timedelta(0), ""))),
        (datetime, datetime.max),
        (time, time(12, tzinfo=ZoneInfo("Asia/Tokyo"), fold=1)),
        (time, time(0)),
        (IPv6Address, IPv6Address("::ffff:192.0.2.1")),
        (dict, {"b": 1, "a": 2}),
        (dict, {"float": 1.0, "int": 1, "bool": True}),
        (list, [1e16, 5e-324, -0.0, 0.1 + 0.2]),
        (list, [10**640 // 3, "\u2028", "\ud83d\ude00"]),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_awkward_values_come_back_exactly(declared, value, fingerprint):
    """The values that lesser encodings change."""
    codec = codec_for(declared)
    assert fingerprint(codec.decode(codec.encode(value))) == fingerprint(value)


def test_utc_comes_back_as_the_same_object():
    """``timezone.utc`` is a singleton that code compares with ``is``."""
    codec = codec_for(datetime)
    assert codec.decode(codec.encode(datetime(2026, 1, 1, tzinfo=UTC))).tzinfo is UTC


def test_every_time_zone_of_this_machine_comes_back():
    """Each IANA key that Python knows here."""
    codec = codec_for(time)
    for key in available_timezones():
        value = time(12, tzinfo=ZoneInfo(key))
        assert codec.decode(codec.encode(value)).tzinfo is value.tzinfo


def test_a_float_takes_an_int_it_holds_exactly():
    """And it comes back as a float; the smallest int it can't hold is refused."""
    codec = codec_for(float)
    for number in (0, -1, 2**53, 2**60, 10**22):
        back = codec.decode(codec.encode(number))
        assert type(back) is float
        assert back == number


def test_json_of_640_digits_is_read_under_the_strictest_limit():
    """The largest accepted int reads back wherever int_max_str_digits is set."""
    codec = codec_for(list)
    data = codec.encode([2**2126 - 1])
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        assert codec.decode(data) == [2**2126 - 1]
        with pytest.raises(ConfigurationError, match="640 digits"):
            codec.encode([2**2126])
    finally:
        sys.set_int_max_str_digits(before)


def test_deeply_nested_json_from_elsewhere_is_damaged_not_a_crash():
    """A reader meets 100,000 open brackets and refuses."""
    with pytest.raises(IntegrityError):
        codec_for(list).decode(b"\x11" + b"[" * 100_000)


def test_the_decimal_context_changes_nothing():
    """Precision, capitals and traps of the process do not touch what is stored."""
    codec, value = codec_for(Decimal), Decimal("1.23456789E+30")
    stored = codec.encode(value)
    with decimal.localcontext(decimal.Context(prec=2, capitals=0, traps=[])):
        assert codec.encode(value) == stored
        assert codec.decode(stored).as_tuple() == value.as_tuple()
        for wrong in (b"\x06ada", b"\x061e+5"):
            with pytest.raises(IntegrityError):
                codec.decode(wrong)


def test_enum_members_are_kept_by_name(assert_no_frame_holds):
    """A changed value stays readable; an alias comes back as its member; a removed one tells."""
    codec = codec_for(Colour)
    assert codec.decode(codec.encode(Colour.NAVY)) is Colour.BLUE
    changed = codec_for(enum.Enum("Colour", {"BLUE": "another value"}))
    assert changed.decode(codec.encode(Colour.BLUE)).value == "another value"
    with pytest.raises(ConfigurationError, match="no longer has") as refused:
        changed.decode(codec.encode(Colour.RED))
    assert "RED" not in str(refused.value)
    assert_no_frame_holds(refused, codec.encode(Colour.RED))


@pytest.mark.parametrize(
    ("declared", "values"),
    [
        (str | None, ["a", ""]),
        (Optional[str], ["a"]),  # noqa: UP045
        (Union[int, str], [7, "7"]),  # noqa: UP007
        (float | int, [7, 7.0]),
        (float | str, [7.0, "7"]),
        (bool | int, [True, 1]),
        (date | datetime, [date(2026, 1, 1), datetime(2026, 1, 1)]),
        (IPv4Address | IPv6Address, [IPv4Address(1), IPv6Address(1)]),
        (dict | list, [{"a": 1}, [1]]),
        (dict[str, Any] | list[Any] | str, [{"a": 1}, [1], "a"]),
        (Colour | str, [Colour.RED, "RED"]),
        (dict[str, int | None], [{"a": None}]),
        (dict[str, list[dict[str, float]]], [{"a": [{"b": 1.5}]}]),
        (list, [[1]]),
        (Any, [{"a": 1}, "a", 7, 7.5, True, []]),
        (Any | None, [{"a": 1}]),
    ],
    ids=str,
)
def test_unions_keep_apart_what_they_hold(declared, values, fingerprint):
    """Each alternative comes back as itself; None is left to SQL NULL."""
    codec = codec_for(declared)
    for value in values:
        assert fingerprint(codec.decode(codec.encode(value))) == fingerprint(value)
    with pytest.raises(ConfigurationError, match="NoneType"):
        codec.encode(None)
    with pytest.raises(IntegrityError):
        codec.decode(b"\x0a" + bytes(16))


def test_a_float_in_a_union_takes_an_exact_int_too(assert_no_frame_holds):
    """Unless an alternative is int itself."""
    assert codec_for(float | str).encode(7) == codec_for(float).encode(7.0)
    with pytest.raises(ConfigurationError, match="no exact float") as refused:
        codec_for(float | str).encode(2**53 + 1)
    assert_no_frame_holds(refused, 2**53 + 1)


def test_codecs_are_called_without_layers():
    """A single type's decode is the function itself, kept on the instance."""
    codec = codec_for(str | None)
    assert isinstance(codec, Codec)
    assert codec.decode is codec_for(str).decode
    assert repr(codec) == "Codec(str)"
    assert repr(codec_for(int | str)) == "Codec(int | str)"


def test_json_is_plain_json():
    """Other languages read it with their own parser."""
    value = {"é": [1, 2.5, None, True, "a\n"]}
    assert json.loads(codec_for(dict).encode(value)[1:]) == value
