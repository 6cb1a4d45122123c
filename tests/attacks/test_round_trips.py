"""Awkward values come back from a real database exactly: type, value and bits."""

from __future__ import annotations

import ipaddress
import math
import os
import struct
import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

NAN = struct.unpack(">d", bytes.fromhex("7ff80000000004d2"))[0]
BERLIN = ZoneInfo("Europe/Berlin")
VALUES = [
    ("text", ""),
    ("text", "\ud800 lone \udfff surrogates"),
    ("text", "nul \0, \u2028, e\u0301, 👩‍👩‍👧"),
    ("text", "x" * 3_000_000),
    ("picture", b""),
    ("picture", bytes(range(256))),
    ("picture", os.urandom(5 << 20)),
    ("whole", -(10**400)),
    ("whole", 0),
    ("real", -0.0),
    ("real", NAN),
    ("real", -math.inf),
    ("real", 5e-324),
    ("flag", False),
    ("money", Decimal("1.10")),
    ("money", Decimal("-0E-7")),
    ("money", Decimal("NaN123")),
    ("day", date(1, 1, 1)),
    ("moment", datetime(2024, 10, 27, 2, 30, fold=1)),
    ("moment", datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=BERLIN)),
    ("moment", datetime(2024, 7, 1, 1, 2, 3, 4, tzinfo=timezone(timedelta(seconds=-3723)))),
    ("moment", datetime.max),
    ("clock", time(23, 59, 59, 999_999, tzinfo=UTC)),
    ("key", uuid.UUID(int=2**128 - 1)),
    ("ip", ipaddress.ip_address("fe80::1%eth0")),
    ("ip", ipaddress.ip_address("203.0.113.7")),
    ("settings", {"a": [1, None, True, 1.5, {"ü": ""}], "": {}}),
]


def exact(value):
    """What makes two values the same for good: also a NaN's bits, a zone's key, a fold."""
    if isinstance(value, float):
        return struct.pack(">d", value)
    if isinstance(value, Decimal):
        return value.as_tuple()
    if isinstance(value, datetime | time):
        return repr(value), value.fold
    return value


@pytest.mark.parametrize("case", range(len(VALUES)))
def test_a_value_comes_back_exactly(any_shop, case):
    """Through flush, commit and a new session, by attribute, batch and column."""
    shop, (field, value) = any_shop, VALUES[case]
    (pk,) = shop.add(shop.Everything(**{field: value}))
    for way in ("attribute", "reveal", "column"):
        found = shop.read(shop.Everything, pk, field, way)
        assert type(found) is type(value)
        assert exact(found) == exact(value)


@pytest.mark.smoke
def test_null_stays_null_and_an_enum_its_member(shop):
    """NULL is stored as NULL and read as None, though every field beside it has a value."""
    (pk,) = shop.add(shop.Everything(colour=shop.Colour.DEEP_BLUE))
    assert shop.read(shop.Everything, pk, "colour") is shop.Colour.DEEP_BLUE
    assert shop.sql("SELECT text FROM everything") == [(None,)]
    for way in ("attribute", "reveal", "column"):
        assert shop.read(shop.Everything, pk, "text", way) is None
