"""The outer form of a token: RFC 7515's compact form and RFC 8259's JSON, nothing looser.

Two parsers must not read one token in two ways, so what the standards leave to the parser's taste
is refused: names given twice, NaN, base64 with padding or stray bits, parts that are no object.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import jwt

# Servers refuse request headers above 8 to 16 KiB, so no real token is longer.
MOST_CHARACTERS = 16_384
# RFC 8725, section 3.11: other kinds of token signed with the same key are not for us.
ACCESS_TOKEN = "at+jwt"  # noqa: S105  RFC 9068, section 2.1
_TYPES = {None: "", "jwt": "jwt", ACCESS_TOKEN: ACCESS_TOKEN, "application/at+jwt": ACCESS_TOKEN}


def header_of(token: object) -> dict[str, Any] | None:
    """The header, not verified yet; None for what is no compact JWS of ours.

    Extensions that change what the signature covers (``crit``, ``b64``) are not for us either.
    """
    parts = _parts(token)
    header = None if parts is None else _object(parts[0])
    if header is None or "crit" in header or "b64" in header:
        return None
    known = kind_of(header) is not None and isinstance(header.get("kid", ""), str)
    return header if known else None


def kind_of(header: dict[str, Any]) -> str | None:
    """ "at+jwt", "jwt" or "" for no ``typ``; None for another kind."""
    kind = header.get("typ")
    kind = kind.lower() if isinstance(kind, str) else kind
    return _TYPES.get(kind) if kind is None or isinstance(kind, str) else None


def issuer_of(token: object) -> object:
    """Whose token it says it is. Not verified: good only for choosing whom to ask."""
    parts = _parts(token)
    claims = None if parts is None else _object(parts[1])
    return None if claims is None else claims.get("iss")


class StrictJWT(jwt.PyJWT):
    """PyJWT with our JSON."""

    def _decode_payload(self, decoded: dict[str, Any]) -> dict[str, Any]:
        claims = _object(decoded["payload"])
        if claims is None:
            raise jwt.DecodeError
        return claims


def _parts(token: object) -> tuple[bytes, bytes] | None:
    """Header and payload, if all three parts are canonical base64url."""
    if not isinstance(token, str) or len(token) > MOST_CHARACTERS or not token.isascii():
        return None
    parts = token.split(".")
    decoded = [_decoded(part) for part in parts]
    if len(parts) != 3 or decoded[0] is None or decoded[1] is None or decoded[2] is None:
        return None
    return decoded[0], decoded[1]


def _decoded(part: str) -> bytes | None:
    try:
        content = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        return None
    return content if urlsafe_b64encode(content).rstrip(b"=").decode() == part else None


def _object(content: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(
            content, object_pairs_hook=_without_twins, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _refuse_constant(_: str) -> None:
    raise ValueError  # NaN and Infinity are not JSON
