"""Section 6 of docs/format.md, read from that text alone: values as plain descriptions.

They come out as tests/vectors/*.json hold them, so nothing here leans on how Python's own
types read or print.
"""

import json
import re
import struct


class RefusedError(Exception):
    """Named as in docs/format.md, "Errors"."""


def damaged():
    return RefusedError("IntegrityError")


def utf8(text):
    return text.encode("utf-8", "surrogatepass")


def text(data):
    return data.decode("utf-8", "surrogatepass")


def integer(number):
    """Section 6, 0x03, by trying every length."""
    length = 1
    while not -(1 << 8 * length - 1) <= number < 1 << 8 * length - 1:
        length += 1
    return (number % (1 << 8 * length)).to_bytes(length, "big")


def value_of(plaintext, declared):
    try:
        kind, reader = READERS[plaintext[0]]
        value = reader(plaintext[1:])
    except (LookupError, ValueError, struct.error):
        raise damaged() from None
    if kind == "JSON":
        kinds = {dict: "dict", list: "list"}
        fits = "JSON" in declared or kinds.get(type(value), "") in declared
    else:
        fits = kind in declared
    if not fits:
        raise damaged()
    return {kind: value}


def read_int(data):
    number = int.from_bytes(data, "big", signed=True)
    require(data == integer(number))
    return str(number)


def read_bool(data):
    require(data in (b"\0", b"\1"))
    return data == b"\1"


DECIMAL = re.compile(
    r"-?(Infinity|s?NaN([1-9][0-9]*)?|(0|[1-9][0-9]*)(\.([0-9]+))?(E([+-])(0|[1-9][0-9]*))?)"
)


def read_decimal(data):
    """General Decimal Arithmetic, "to-scientific-string", read and written again."""
    written = data.decode("ascii")
    match = DECIMAL.fullmatch(written)
    require(match)
    whole, fraction, sign, exponent = match[3], match[5] or "", match[7], int(match[8] or 0)
    if whole is not None:
        digits = (whole + fraction).lstrip("0") or "0"
        scale = (-exponent if sign == "-" else exponent) - len(fraction)
        minus = "-" if written[0] == "-" else ""
        require(written == minus + scientific(digits, scale))
    return written


def scientific(digits, scale):
    adjusted = scale + len(digits) - 1
    if scale <= 0 and adjusted >= -6:
        if scale == 0:
            return digits
        digits = digits.rjust(1 - scale, "0")
        return f"{digits[:scale]}.{digits[scale:]}"
    point = "." if len(digits) > 1 else ""
    return f"{digits[0]}{point}{digits[1:]}E{adjusted:+}"


def read_json(data):
    def refuse(name):
        raise ValueError(name)

    return json.loads(text(data), parse_constant=refuse)


def read_hex(length):
    def read(data):
        require(len(data) == length)
        return data.hex()

    return read


def read_date(data):
    year, month, day = struct.unpack(">HBB", data)
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    require(1 <= year <= 9999 and 1 <= month <= 12)
    require(1 <= day <= (31, 28 + leap, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[month - 1])
    return f"{year:04}-{month:02}-{day:02}"


def read_time(data):
    hour, minute, second, microsecond, fold = struct.unpack(">BBBIB", data[:8])
    require(hour < 24 and minute < 60 and second < 60 and microsecond < 10**6 and fold < 2)
    clock = f"{hour:02}:{minute:02}:{second:02}.{microsecond:06}"
    return {"clock": clock, "fold": fold, "zone": read_zone(data[8:])}


def read_zone(data):
    kind, rest = data[0], data[1:]
    if kind == 0:
        require(not rest)
        return None
    if kind == 3:
        return {"key": rest.decode("utf-8")}
    require(kind in (1, 2))
    require(kind == 2 or len(rest) == 8)
    offset = struct.unpack(">q", rest[:8])[0]
    require(abs(offset) < 24 * 3600 * 10**6)
    return {"offset": offset} if kind == 1 else {"offset": offset, "name": text(rest[8:])}


def read_datetime(data):
    return {"date": read_date(data[:4])} | read_time(data[4:])


def read_ip(size, prefixed=False, network=False):
    def read(data):
        described = {}
        if prefixed:
            require(data[0] <= 8 * size)
            described["prefix"], data = data[0], data[1:]
        if network:
            host_bits = 8 * size - described["prefix"]
            require(int.from_bytes(data[:size], "big") % 2**host_bits == 0)
        require(len(data) == size or (size == 16 and len(data) > size))
        described["address"] = data[:size].hex()
        if data[size:]:
            described["scope"] = text(data[size:])
        return described

    return read


def require(condition):
    if not condition:
        raise ValueError


READERS = {
    0x01: ("str", text),
    0x02: ("bytes", bytes.hex),
    0x03: ("int", read_int),
    0x04: ("float", read_hex(8)),
    0x05: ("bool", read_bool),
    0x06: ("Decimal", read_decimal),
    0x07: ("date", read_date),
    0x08: ("datetime", read_datetime),
    0x09: ("time", read_time),
    0x0A: ("UUID", read_hex(16)),
    0x0B: ("IPv4Address", read_ip(4)),
    0x0C: ("IPv6Address", read_ip(16)),
    0x0D: ("IPv4Network", read_ip(4, prefixed=True, network=True)),
    0x0E: ("IPv6Network", read_ip(16, prefixed=True, network=True)),
    0x0F: ("IPv4Interface", read_ip(4, prefixed=True)),
    0x10: ("IPv6Interface", read_ip(16, prefixed=True)),
    0x11: ("JSON", read_json),
    0x12: ("Enum", text),
}
