"""Dates and times with their time zone, exactly as Python holds them.

    date      u16 year | u8 month | u8 day
    time      u8 hour | u8 minute | u8 second | u32 microsecond | u8 fold | zone
    datetime  date | time

    zone      00                             naive
              01 | i64 offset                fixed offset east of UTC, in microseconds
              02 | i64 offset | name         the same with a name, UTF-8
              03 | key                       IANA time zone key, UTF-8

Integers are big-endian. The wall clock is what is stored: a later change of the zone's rules
changes the instant it means, as it does for the Python object.
"""

from __future__ import annotations

import struct
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from pickle import PicklingError
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from vaultlayer.errors import ConfigurationError

_DATE = struct.Struct(">HBB")
_TIME = struct.Struct(">BBBIB")
_OFFSET = struct.Struct(">q")
_MICROSECOND = timedelta(microseconds=1)


def render_date(value: date) -> bytes:
    return _DATE.pack(value.year, value.month, value.day)


def parse_date(data: bytes) -> date:
    return date(*_DATE.unpack(data))


def render_time(value: time | datetime) -> bytes:
    clock = _TIME.pack(value.hour, value.minute, value.second, value.microsecond, value.fold)
    return clock + _render_zone(value.tzinfo)


def parse_time(data: bytes) -> time:
    hour, minute, second, microsecond, fold = _TIME.unpack_from(data)
    zone = _parse_zone(data[_TIME.size :])
    return time(hour, minute, second, microsecond, zone, fold=fold)


def render_datetime(value: datetime) -> bytes:
    return render_date(value) + render_time(value)


def parse_datetime(data: bytes) -> datetime:
    return datetime.combine(parse_date(data[: _DATE.size]), parse_time(data[_DATE.size :]))


def _render_zone(zone: tzinfo | None) -> bytes:
    if zone is None:
        return b"\x00"
    if type(zone) is timezone:
        offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]  # pickle's own view
        packed = _OFFSET.pack(offset // _MICROSECOND)
        return b"\x02" + packed + _utf8(name[0]) if name else b"\x01" + packed
    if type(zone) is ZoneInfo and _has_key(zone):
        return b"\x03" + _utf8(zone.key)
    raise ConfigurationError(
        f"a time zone of type {type(zone).__name__} would not come back as it was",
        hint="Use zoneinfo.ZoneInfo(key) or datetime.timezone.",
    )


def _has_key(zone: ZoneInfo) -> bool:
    """Whether ``ZoneInfo(key)`` gives the same zone; false for those read from a file."""
    try:
        zone.__reduce__()
    except PicklingError:
        return False
    return True


def _parse_zone(data: bytes) -> tzinfo | None:
    kind, rest = data[:1], data[1:]
    if data == b"\x00":
        return None
    if kind == b"\x01":
        return timezone(_offset(rest))
    if kind == b"\x02":
        name = rest[_OFFSET.size :].decode("utf-8", "surrogatepass")
        return timezone(_offset(rest[: _OFFSET.size]), name)
    if kind == b"\x03":
        return _zone_of(rest.decode("utf-8"))
    raise ValueError


def _zone_of(key: str) -> ZoneInfo:
    try:
        return ZoneInfo(key)
    except (ZoneInfoNotFoundError, OSError):
        pass
    raise ConfigurationError(
        "this machine does not know the time zone of a stored value",
        hint="Install the tzdata package of the machine that wrote it, or a newer one.",
    )


def _offset(data: bytes) -> timedelta:
    microseconds: int = _OFFSET.unpack(data)[0]
    return timedelta(microseconds=microseconds)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
