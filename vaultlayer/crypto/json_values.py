"""JSON (RFC 8259), UTF-8, no spaces: only what comes back exactly.

dict with str keys (order kept), list, str, bool, None, finite float, and int up to 640
decimal digits, nested at most 100 deep. 640 digits is what every Python reads whatever its
``int_max_str_digits``. Lone surrogates are kept as in "surrogatepass".
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from vaultlayer.crypto.leaves import Leaf, decoder, wrong_type
from vaultlayer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

JSON_CONTAINERS = (dict, list)

_MAX_DEPTH = 100
_MAX_INT_BITS = 2126  # the largest size whose every number is below 10**640
_ENCODER = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")
)


def json_leaf(containers: list[type]) -> Leaf:
    """JSON whose top is one of ``containers``; ``object`` among them allows every top."""
    any_top = object in containers
    kinds = (dict, list, str, int, float, bool) if any_top else tuple(containers)
    name = "JSON" if any_top else " or ".join(kind.__name__ for kind in kinds)

    def encode(value: object) -> bytes:
        given = type(value)
        problem = _problem(value, 0) if given in kinds else ""
        if given in kinds and not problem:
            return b"\x11" + _ENCODER.encode(value).encode("utf-8", "surrogatepass")
        value = None  # an error report may hold this frame's variables
        if not problem:
            raise wrong_type(name, given)
        raise ConfigurationError(
            f"the JSON to be sealed holds {problem}",
            hint="Convert it first: JSON keeps dict with str keys, list, str, bool, None, "
            "finite float and int up to 640 digits, at most 100 deep.",
        )

    def parse(data: bytes) -> object:
        value = _DECODER.decode(data.decode("utf-8", "surrogatepass"))
        if type(value) not in kinds:
            raise ValueError
        return value

    return Leaf(0x11, name, kinds, encode, decoder(0x11, parse))


def _problem(value: object, depth: int) -> str:
    """What would not come back as it was, in words that name types only; "" for nothing."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return ""
    if isinstance(value, int) and kind is int:
        return "" if value.bit_length() <= _MAX_INT_BITS else "an int of more than 640 digits"
    if isinstance(value, float) and kind is float:
        return "" if math.isfinite(value) else "a float that is not finite"
    if depth == _MAX_DEPTH:
        return "a value more than 100 deep, or one that holds itself"
    if isinstance(value, dict) and kind is dict:
        if any(type(key) is not str for key in value):
            return "a dict key that is not a str"
        return _first_problem(value.values(), depth)
    if isinstance(value, list) and kind is list:
        return _first_problem(value, depth)
    return f"a {kind.__name__}"


def _first_problem(values: Iterable[object], depth: int) -> str:
    return next(filter(None, (_problem(value, depth + 1) for value in values)), "")


def _no_constant(_name: str) -> object:
    raise ValueError  # NaN and the infinities are not JSON


_DECODER = json.JSONDecoder(parse_constant=_no_constant)
