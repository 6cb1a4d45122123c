"""Values as their type's name and what any language can hold, for the vector files."""

from __future__ import annotations

import enum
import struct
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from uuid import UUID
from zoneinfo import ZoneInfo


def describe(value: object) -> dict[str, object]:
    """``{type name: description}``."""
    if isinstance(value, enum.Enum):
        return {"Enum": value.name}
    if isinstance(value, dict | list):
        return {"JSON": value}
    return {type(value).__name__: _DESCRIBED.get(type(value), str)(value)}


def _clock(value: datetime | time) -> dict[str, object]:
    clock = value.strftime("%H:%M:%S.") + f"{value.microsecond:06}"
    return {"clock": clock, "fold": value.fold, "zone": _zone(value.tzinfo)}


def _datetime(value: datetime) -> dict[str, object]:
    return {"date": value.date().isoformat()} | _clock(value)


def _zone(zone: object) -> dict[str, object] | None:
    if isinstance(zone, ZoneInfo):
        return {"key": zone.key}
    if isinstance(zone, timezone):
        offset, *name = zone.__getinitargs__()
        described = {"offset": offset // timedelta(microseconds=1)}
        return described | ({"name": name[0]} if name else {})
    return None


def _address(address: IPv4Address | IPv6Address) -> dict[str, object]:
    scope = getattr(address, "scope_id", None)
    return {"address": address.packed.hex()} | ({"scope": scope} if scope else {})


def _interface(value: IPv4Interface | IPv6Interface) -> dict[str, object]:
    return {"prefix": value.network.prefixlen} | _address(value)


def _network(value: IPv4Network | IPv6Network) -> dict[str, object]:
    return {"prefix": value.prefixlen} | _address(value.network_address)


_DESCRIBED = {
    str: str,
    bool: bool,
    bytes: bytes.hex,
    float: lambda value: struct.pack(">d", value).hex(),
    UUID: lambda value: value.hex,
    time: _clock,
    datetime: _datetime,
    IPv4Address: _address,
    IPv6Address: _address,
    IPv4Interface: _interface,
    IPv6Interface: _interface,
    IPv4Network: _network,
    IPv6Network: _network,
}


def describe_row(column: object) -> dict[str, str]:
    match column:
        case datetime() if column.tzinfo:
            since = column - datetime(1970, 1, 1, tzinfo=UTC)
            return {"microseconds": str(since // timedelta(microseconds=1))}
        case datetime():
            return {"datetime": column.isoformat(timespec="microseconds")}
        case Decimal() if column % 1:
            return {"fraction": "{}/{}".format(*column.as_integer_ratio())}
        case Decimal():
            return {"int": str(int(column))}
        case UUID():
            return {"uuid": column.hex}
        case bytes():
            return {"bytes": column.hex()}
    return {type(column).__name__: str(column)}
