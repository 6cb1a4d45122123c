"""What the vector files hold: values, places, and everything that must be refused."""

from __future__ import annotations

import enum
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
from zoneinfo import ZoneInfo


class Colour(enum.Enum):
    RED = 1
    GRÜN = "green"


TYPES = {
    kind.__name__: kind
    for kind in (
        *(str, bytes, int, float, bool, Decimal, date, datetime, time, UUID, dict, list),
        *(IPv4Address, IPv6Address, IPv4Network, IPv6Network, IPv4Interface, IPv6Interface),
    )
} | {"Enum": Colour, "JSON": Any}

KEYS = [bytes(range(32)), bytes(range(32, 64))]
ADA = UUID("01234567-89ab-4def-8123-456789abcdef").bytes
GRACE = UUID("fedcba98-7654-4321-8fed-cba987654321").bytes
HERE = {"tenant": "", "entity": "customer", "field": "email", "subject": ADA, "row": None}
ROW = HERE | {"row": (7,)}
PARIS = ZoneInfo("Europe/Paris")
NAN = struct.unpack(">d", bytes.fromhex("fff8000000c0ffee"))[0]

VALUES: list[tuple[str, str, object]] = [
    ("str", "str", "ada@example.com"),
    ("str_empty", "str", ""),
    ("str_unicode", "str", "Zoë 東京 👩‍👩‍👧 \u0000 \u202e"),
    ("str_lone_surrogate", "str", "\ud83d|\ude00\ud800"),
    ("bytes_empty", "bytes", b""),
    ("bytes_like_an_envelope", "bytes", b"\xf9\x01\x00" + bytes(45)),
    ("int_zero", "int", 0),
    ("int_minus_one", "int", -1),
    ("int_127", "int", 127),
    ("int_128", "int", 128),
    ("int_minus_128", "int", -128),
    ("int_minus_129", "int", -129),
    ("int_huge", "int", 3**2000),
    ("float", "float", 0.1),
    ("float_minus_zero", "float", -0.0),
    ("float_nan_payload", "float", NAN),
    ("float_minus_infinity", "float", float("-inf")),
    ("float_subnormal", "float", 5e-324),
    ("bool_true", "bool", True),
    ("bool_false", "bool", False),
    ("decimal", "Decimal", Decimal("12.50")),
    ("decimal_exponent", "Decimal", Decimal("-1.50E+7")),
    ("decimal_tiny", "Decimal", Decimal("0E-999999")),
    ("decimal_minus_zero", "Decimal", Decimal("-0.00")),
    ("decimal_snan", "Decimal", Decimal("-sNaN12")),
    ("decimal_infinity", "Decimal", Decimal("Infinity")),
    ("date_first", "date", date(1, 1, 1)),
    ("date_leap", "date", date(2024, 2, 29)),
    ("datetime_naive", "datetime", datetime(2026, 3, 29, 2, 30, 0, 123456)),
    ("datetime_utc", "datetime", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
    ("datetime_zone_fold", "datetime", datetime(2025, 10, 26, 2, 30, fold=1, tzinfo=PARIS)),
    (
        "datetime_offset_seconds",
        "datetime",
        datetime(9999, 12, 31, 23, 59, 59, 999999, timezone(timedelta(seconds=-1234.5))),
    ),
    ("time_naive", "time", time(23, 59, 59, 999999)),
    ("time_named_offset", "time", time(1, 2, 3, tzinfo=timezone(timedelta(hours=9), "日本"))),
    ("uuid", "UUID", UUID("12345678-1234-5678-1234-567812345678")),
    ("ipv4_address", "IPv4Address", IPv4Address("192.0.2.1")),
    ("ipv6_address", "IPv6Address", IPv6Address("2001:db8::1")),
    ("ipv6_address_scope", "IPv6Address", IPv6Address("fe80::1%eth0")),
    ("ipv4_network", "IPv4Network", IPv4Network("198.51.100.0/24")),
    ("ipv6_network", "IPv6Network", IPv6Network("2001:db8::/32")),
    ("ipv4_interface", "IPv4Interface", IPv4Interface("192.0.2.7/24")),
    ("ipv6_interface_scope", "IPv6Interface", IPv6Interface("fe80::7%en1/64")),
    ("ip_either", "IPv4Address | IPv6Address", IPv4Address("203.0.113.9")),
    ("json_dict", "dict", {"b": [1, -2.5, None, True], "a": {"é\n": "\ud800"}, "": 10**639}),
    ("json_list", "list", []),
    ("json_any", "JSON", "text"),
    ("enum", "Enum", Colour.GRÜN),
    ("int_or_str", "int | str", "7"),
]

PLACES: list[tuple[str, dict[str, Any]]] = [
    ("tenant", {"tenant": "Ärzte GmbH"}),
    ("another_tenant", {"tenant": "b"}),
    ("tenant_scoped_row", {"subject": b""}),
    ("row_int", {"row": (7,)}),
    ("row_whole_decimal", {"row": (Decimal("7.00"),)}),
    ("row_fraction", {"row": (Decimal("-2.50"),)}),
    ("row_composite", {"row": ("a", b"b", UUID(bytes=GRACE), -(2**70))}),
    ("row_dates", {"row": (date(987, 6, 5), datetime(2026, 1, 1, 12, fold=1))}),
    ("row_instant", {"row": (datetime(2026, 7, 1, 12, tzinfo=PARIS),)}),
    ("row_and_padding", {"row": ("x" * 100,), "padded": True}),
]

PADDED = (0, 13, 14, 15, 125, 126, 127, 128, 254, 255, 1000, 5000)


NOT_SEALED = [
    ("text", "ada@example.com"),
    ("text_empty", ""),
    ("text_of_hex", "f90100"),
    ("text_whose_first_character_is_u00f9", "\u00f9\u0001\u0000" + "\u0000" * 60),
    ("bytes_empty", b""),
    ("bytes_of_text", b"ada@example.com, who lives in a long street in London"),
    ("bytes_of_another_magic", b"\xf8\x01\x00" + bytes(60)),
]

MOVES: list[tuple[str, dict[str, Any]]] = [
    ("to_another_tenant", {"tenant": "b"}),
    ("to_another_entity", {"entity": "employee"}),
    ("to_another_field", {"field": "name"}),
    ("to_another_subject", {"subject": GRACE}),
    ("to_no_subject", {"subject": b""}),
    ("across_a_boundary_left", {"tenant": "c", "entity": "ustomer"}),
    ("across_a_boundary_right", {"entity": "custome", "field": "remail"}),
]

MOVED_ROWS: list[tuple[str, tuple[object, ...]]] = [
    ("another_row", (8,)),
    ("a_row_of_another_type", ("7",)),
    ("a_longer_row_id", (7, 7)),
]

BAD_PADDING = [
    ("without_marker", b"\x01ada".ljust(16, b"\x01")),
    ("of_zeros_only", bytes(16)),
    ("shorter_than_the_bucket", b"\x01ada\x80".ljust(15, b"\0")),
    ("one_bucket_too_long", b"\x01ada\x80".ljust(32, b"\0")),
    ("empty", b""),
]

BAD_VALUES = [
    ("unknown_type_00", "str", b"\x00ada"),
    ("unknown_type_13", "str", b"\x13ada"),
    ("unknown_type_ff", "str", b"\xffada"),
    ("of_another_type", "str", b"\x03\x07"),
    ("of_another_alternative", "int | str", b"\x05\x01"),
    ("str_invalid_utf8", "str", b"\x01\xff"),
    ("str_overlong_utf8", "str", b"\x01\xc0\x80"),
    ("str_beyond_unicode", "str", b"\x01\xf4\x90\x80\x80"),
    ("int_empty", "int", b"\x03"),
    ("int_too_long", "int", b"\x03\x00\x7f"),
    ("int_too_long_negative", "int", b"\x03\xff\x80"),
    ("float_seven_bytes", "float", b"\x04" + bytes(7)),
    ("float_nine_bytes", "float", b"\x04" + bytes(9)),
    ("bool_two", "bool", b"\x05\x02"),
    ("bool_long", "bool", b"\x05\x01\x00"),
    ("decimal_lower_case", "Decimal", b"\x061e+5"),
    ("decimal_not_canonical", "Decimal", b"\x06100E-1"),
    ("decimal_plus", "Decimal", b"\x06+1"),
    ("decimal_underscore", "Decimal", b"\x061_0"),
    ("decimal_space", "Decimal", b"\x06 1"),
    ("decimal_leading_zero", "Decimal", b"\x0601"),
    ("decimal_arabic_digit", "Decimal", "\x06\u0661".encode()),
    ("decimal_word", "Decimal", b"\x06ada"),
    ("date_30_february", "date", b"\x07\x07\xe8\x02\x1e"),
    ("date_year_zero", "date", b"\x07\x00\x00\x01\x01"),
    ("date_long", "date", b"\x07\x07\xe8\x02\x01\x00"),
    ("datetime_without_zone", "datetime", b"\x08\x07\xe8\x02\x01" + bytes(8)),
    ("time_hour_24", "time", b"\x09\x18" + bytes(8)),
    ("time_fold_two", "time", b"\x09" + bytes(7) + b"\x02\x00"),
    ("time_microsecond_million", "time", b"\x09" + bytes(3) + b"\x00\x0f\x42\x40\x00\x00"),
    ("time_zone_none_and_more", "time", b"\x09" + bytes(8) + b"\x00\x00"),
    ("time_zone_kind_four", "time", b"\x09" + bytes(8) + b"\x04"),
    ("time_offset_short", "time", b"\x09" + bytes(8) + b"\x01" + bytes(7)),
    ("time_offset_long", "time", b"\x09" + bytes(8) + b"\x01" + bytes(9)),
    (
        "time_offset_24_hours",
        "time",
        b"\x09" + bytes(8) + b"\x01" + struct.pack(">q", 86400 * 10**6),
    ),
    ("uuid_fifteen_bytes", "UUID", b"\x0a" + bytes(15)),
    ("ipv4_five_bytes", "IPv4Address", b"\x0b" + bytes(5)),
    ("ipv6_fifteen_bytes", "IPv6Address", b"\x0c" + bytes(15)),
    ("ipv4_network_host_bits", "IPv4Network", b"\x0d\x08\x0a\x00\x00\x01"),
    ("ipv4_network_prefix_33", "IPv4Network", b"\x0d\x21" + bytes(4)),
    ("ipv6_network_host_bits", "IPv6Network", b"\x0e\x40" + bytes(15) + b"\x01"),
    ("ipv6_interface_prefix_129", "IPv6Interface", b"\x10\x81" + bytes(16)),
    ("ipv4_interface_empty", "IPv4Interface", b"\x0f"),
    ("json_nan", "dict", b'\x11{"a":NaN}'),
    ("json_infinity", "list", b"\x11[-Infinity]"),
    ("json_trailing", "list", b"\x11[]]"),
    ("json_list_for_a_dict", "dict", b"\x11[]"),
    ("json_text_for_a_list", "list", b'\x11"a"'),
    ("json_byte_order_mark", "list", b"\x11\xef\xbb\xbf[]"),
    ("json_empty", "JSON", b"\x11"),
    ("enum_invalid_utf8", "bool", b"\x12\xff"),
]
