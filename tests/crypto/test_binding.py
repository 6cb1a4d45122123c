"""A place has one encoding, and no two places share one."""

from __future__ import annotations

import struct
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultlayer.crypto.binding import (
    DEFAULT_TENANT,
    field_part,
    record_aad,
    row_part,
    signed_bytes,
    subject_part,
)
from vaultlayer.errors import ConfigurationError

# Short alphabets, so that hypothesis meets equal and nearly equal parts.
NAMES = st.text("ab\x00\x01\udc00", max_size=3)
SUBJECTS = st.sampled_from([b"", bytes(16), b"\x05\x00\x00\x00\x00".ljust(16, b"a")])
COLUMNS = st.one_of(
    st.integers(-300, 300),
    st.integers(),
    st.text("ab1", max_size=2),
    st.binary(max_size=2),
    st.uuids(),
    st.dates(),
    st.datetimes(),
    st.datetimes(timezones=st.timezones()),
    st.decimals(-9, 9, allow_nan=False, places=1),
)
ROWS = st.lists(COLUMNS, min_size=1, max_size=3).map(tuple)
PLACES = st.tuples(NAMES, NAMES, NAMES, SUBJECTS, st.none() | ROWS)


def instants(row):
    """Aware datetimes as their instant: in one zone Python's == leaves fold out."""
    if row is None:
        return None
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    aware = [isinstance(column, datetime) and column.tzinfo is not None for column in row]
    return [("at", column - epoch) if at else column for column, at in zip(row, aware, strict=True)]


def place_bytes(tenant, entity, field, subject, row) -> bytes:
    bound = field_part(tenant, entity, field) + subject_part(subject)
    return bound if row is None else bound + row_part(row)


def test_the_layout_of_a_place_is_the_documented_one():
    """Tag, 32-bit length, content; tags 1 to 5."""
    subject = uuid4().bytes
    built = place_bytes(DEFAULT_TENANT, "customer", "é", subject, (7, "x"))
    assert built == (
        b"VL1\x01\0\0\0\0\x02\0\0\0\x08customer\x03\0\0\0\x02\xc3\xa9\x04\0\0\0\x10" + subject
        + b"\x05\0\0\0\x0c\x03\0\0\0\x01\x07\x01\0\0\0\x01x"
    )  # fmt: skip


@given(PLACES, PLACES)
def test_different_places_never_share_bytes(one, other):
    """Equal bytes exactly when every part is equal."""
    equal = one[:4] == other[:4] and instants(one[4]) == instants(other[4])
    assert (place_bytes(*one) == place_bytes(*other)) == equal


@given(ROWS, ROWS)
def test_row_ids_are_equal_exactly_when_python_says_so(one, other):
    """The encoding follows equality of the keys, as SQLAlchemy's identity map does."""
    assert (row_part(one) == row_part(other)) == (instants(one) == instants(other))


@given(PLACES)
def test_a_place_can_be_read_back(place):
    """Its items parse one after the other, tags rising strictly: nothing is ambiguous."""
    data, tags = place_bytes(*place)[3:], []
    while data:
        tag, length = struct.unpack(">BI", data[:5])
        assert len(data) >= 5 + length
        tags.append(tag)
        data = data[5 + length :]
    assert tags == ([1, 2, 3, 4] if place[4] is None else [1, 2, 3, 4, 5])


class Driver(UUID):
    """Some drivers return their own subclass of UUID."""


class Kind(IntEnum):
    SEVEN = 7


NOON = datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Paris"))
NAIVE = datetime(2026, 1, 1, 1, 30)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (7, Decimal("7.00")),
        (-(2**80), Decimal(-(2**80))),
        (Decimal("2.5"), Decimal("2.50")),
        (Decimal("-0"), 0),
        (1, True),
        (7, Kind.SEVEN),
        (UUID(int=5), Driver(int=5)),
        (NOON, NOON.astimezone(UTC)),
        (NOON, NOON.astimezone(timezone(timedelta(hours=-3, seconds=1)))),
        (NAIVE, NAIVE.replace(fold=1)),
    ],
)
def test_one_key_in_two_types_is_one_row(one, other):
    """What a driver returns need not be the type that was inserted."""
    assert one == other
    assert row_part((one,)) == row_part((other,))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (7, "7"),
        ("7", b"7"),
        (b"\x07", 7),
        (UUID(int=5), UUID(int=5).bytes),
        (date(2026, 1, 1), datetime(2026, 1, 1)),
        (datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC)),
        (datetime(2026, 1, 1), datetime(2026, 1, 1, 0, 0, 0, 1)),
        (date(2026, 1, 1), "2026-01-01"),
        (Decimal("0.5"), Decimal("-0.5")),
        (Decimal("0.5"), Decimal("1.5")),
    ],
)
def test_different_keys_are_different_rows(one, other):
    """Types that never compare equal never share bytes."""
    assert row_part((one,)) != row_part((other,))


@pytest.mark.parametrize(
    "row_id",
    [(), (None,), (1, None), (1.0,), (Decimal("NaN"),), (Decimal("Infinity"),), (Fraction(1, 2),),
     (timedelta(1),), ((1,),), (NotImplemented,)],
    ids=repr,
)  # fmt: skip
def test_what_has_no_canonical_form_is_refused(row_id):
    """A key not yet known, or of a type without one exact encoding."""
    with pytest.raises(ConfigurationError):
        row_part(row_id)


@pytest.mark.parametrize("length", [1, 15, 17, 32])
def test_a_subject_has_16_bytes_or_none(length):
    """So that a name or an e-mail address can't be passed for a subject id."""
    with pytest.raises(ConfigurationError, match=f"not {length}"):
        subject_part(bytes(length))


@pytest.mark.parametrize("tenant", [None, 7, b"a", uuid4()])
def test_names_are_str(tenant):
    """A tenant that is no str is refused, not converted: 7 and "7" would be one tenant."""
    with pytest.raises(ConfigurationError, match="is a str"):
        field_part(tenant, "customer", "email")


PARTS = st.dictionaries(st.text("ab", min_size=1, max_size=2), st.binary(max_size=3), max_size=3)


@given(NAMES, PARTS, NAMES, PARTS)
def test_records_are_bound_injectively_and_apart_from_values(kind, parts, kind2, parts2):
    """Equal bytes exactly when kind and parts are equal; never the bytes of a place."""
    one, other = record_aad(kind, **parts), record_aad(kind2, **parts2)
    assert (one == other) == ((kind, parts) == (kind2, parts2))
    assert one[:4] != field_part(kind, "", "")[:4]


def test_the_order_of_keywords_does_not_matter():
    """A record's parts are sorted by name, so every caller builds the same bytes."""
    assert (
        record_aad("kek", a=b"1", b=b"2")
        == record_aad("kek", b=b"2", a=b"1")
        == (b"VL1R\x01\0\0\0\x03kek\x02\0\0\0\x01a\x03\0\0\0\x011\x02\0\0\0\x01b\x03\0\0\0\x012")
    )


@given(st.integers())
def test_whole_numbers_take_the_fewest_bytes(number):
    """They read back, and one byte less would not hold them."""
    data = signed_bytes(number)
    assert int.from_bytes(data, "big", signed=True) == number
    if len(data) > 1:
        with pytest.raises(OverflowError):
            number.to_bytes(len(data) - 1, "big", signed=True)
