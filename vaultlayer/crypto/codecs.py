"""Python values as bytes and back: exactly the same type and value, or a refusal.

The first byte names the type, so a decoder never guesses. ``Codec.decode`` and
``Codec.encode`` are plain functions kept on the instance: the read path calls them per value.
Normative text: ``docs/format.md``, "Values".
"""

from __future__ import annotations

import types
import typing
from contextlib import suppress
from enum import Enum, Flag
from typing import TYPE_CHECKING, Any

from vaultlayer.crypto.json_values import JSON_CONTAINERS, json_leaf
from vaultlayer.crypto.leaves import SCALARS, Leaf, enum_leaf, wrong_type
from vaultlayer.crypto.refusals import damaged
from vaultlayer.errors import ConfigurationError, VaultLayerError

if TYPE_CHECKING:
    from collections.abc import Callable

_UNIONS = (typing.Union, types.UnionType)
TEXT = 0x01  # the type byte of a str, for readers that decode one themselves
_JSON_SCALARS = (str, int, float, bool, type(None), Any, object)


class Codec:
    """Encodes and decodes the values of one personal field.

    ``encode(value) -> bytes``: type byte, then the value. Another type than declared, or a
    value that would not come back exactly: ``ConfigurationError``, which names types only.
    ``decode(data) -> value``: anything but an encoding of the declared type: ``IntegrityError``.
    """

    __slots__ = ("decode", "encode", "name")

    def __init__(
        self, name: str, encode: Callable[[object], bytes], decode: Callable[[bytes], object]
    ) -> None:
        self.name = name
        self.encode = encode
        self.decode = decode

    def __repr__(self) -> str:
        return f"Codec({self.name})"


def codec_for(python_type: object) -> Codec:
    """The codec of a declared type: a scalar, an Enum, JSON (dict, list, Any), or a union.

    ``None`` in a union is left out: NULL stays NULL and is never sealed.
    """
    leaves = _leaves(python_type)
    if len(leaves) == 1:
        return Codec(leaves[0].name, leaves[0].encode, leaves[0].decode)
    return _union(leaves)


def renewing(
    python_type: object, former_type: object, into: Callable[[Any], object]
) -> tuple[Codec, Callable[[bytes], bytes]]:
    """The codec of a field whose type was another one, and what makes an encoding the present one.

    The codec reads either; a former value is handed out as ``into`` makes it. The type byte tells
    them apart, so two types that share one are refused.
    """
    codec, former = codec_for(python_type), codec_for(former_type)
    former_bytes = {bytes([leaf.type_byte]) for leaf in _leaves(former_type)}
    if former_bytes & {bytes([leaf.type_byte]) for leaf in _leaves(python_type)}:
        raise ConfigurationError(
            f"{former.name} and {codec.name} can't be told apart when stored",
            hint="Declare a second field, and copy the values into it.",
        )

    # An error report may hold this frame's variables, so they are emptied on the way out.
    def renew(data: bytes) -> bytes:
        if data[:1] not in former_bytes:
            return data
        made: object = None
        with suppress(Exception):  # its text might show the value
            made = into(former.decode(data))
        try:
            return codec.encode(made)
        except ConfigurationError:
            data, made = b"", None
            raise _unconverted(former, codec) from None

    return Codec(codec.name, codec.encode, lambda data: codec.decode(renew(data))), renew


def _unconverted(former: Codec, codec: Codec) -> ConfigurationError:
    return ConfigurationError(
        f"a stored {former.name} can't be made {codec.name}",
        hint="Correct into=, which formerly=Former(...) declares.",
    )


def _leaves(python_type: object) -> list[Leaf]:
    members = _members(python_type)
    tops = [_json_container(member) for member in members]
    leaves = [_leaf(member) for member, top in zip(members, tops, strict=True) if top is None]
    if any(tops):
        leaves.append(json_leaf([top for top in tops if top is not None]))
    if len({leaf.type_byte for leaf in leaves}) != len(leaves) or not leaves:
        raise ConfigurationError(
            f"the alternatives of {python_type!r} can't be told apart when stored",
            hint="Declare one Enum, or a field for each alternative.",
        )
    return leaves


def _union(leaves: list[Leaf]) -> Codec:
    name = " | ".join(leaf.name for leaf in leaves)
    encoders = {kind: leaf.encode for leaf in leaves for kind in leaf.also}
    encoders |= {kind: leaf.encode for leaf in leaves for kind in leaf.types}
    decoders = {bytes([leaf.type_byte]): leaf.decode for leaf in leaves}

    # An error report may hold these frames' variables, so they are emptied on the way out.
    def encode(value: object) -> bytes:
        try:
            if type(value) in encoders:
                return encoders[type(value)](value)
            raise wrong_type(name, type(value))
        except ConfigurationError:
            value = None
            raise

    def decode(data: bytes) -> object:
        try:
            if data[:1] in decoders:
                return decoders[data[:1]](data)
            raise damaged()
        except VaultLayerError:
            data = b""
            raise

    return Codec(name, encode, decode)


def _members(python_type: object) -> list[object]:
    if typing.get_origin(python_type) not in _UNIONS:
        return [python_type]
    return [kind for kind in typing.get_args(python_type) if kind is not type(None)]


def _json_container(kind: object) -> type | None:
    """``dict`` or ``list``, ``object`` for any JSON, ``None`` where ``kind`` is not JSON."""
    if kind is Any:
        return object
    origin = typing.get_origin(kind) or kind
    if origin not in JSON_CONTAINERS:
        return None
    arguments = typing.get_args(kind)
    keys = arguments[:1] if origin is dict else ()
    if any(key is not str for key in keys) or not all(map(_is_json, arguments)):
        raise ConfigurationError(
            f"{kind!r} holds what JSON can't",
            hint="JSON has str keys and str, int, float, bool, None, list and dict values.",
        )
    return typing.cast("type", origin)


def _is_json(kind: object) -> bool:
    if typing.get_origin(kind) in _UNIONS:
        return all(map(_is_json, typing.get_args(kind)))
    return kind in _JSON_SCALARS or _json_container(kind) is not None


def _leaf(kind: object) -> Leaf:
    if isinstance(kind, type):
        if kind in SCALARS:
            return SCALARS[kind]
        if issubclass(kind, Enum) and not issubclass(kind, Flag):
            return enum_leaf(kind)
    raise ConfigurationError(
        f"no codec for {getattr(kind, '__name__', kind)!s}",
        hint="A personal field holds str, bytes, int, float, bool, Decimal, date, datetime, time, "
        "UUID, an ipaddress type, dict, list, or an Enum; convert to one of these first.",
    )
