"""What one audit record may hold, and how it becomes bytes.

Records are canonical JSON (RFC 8785): keys sorted, no spaces, UTF-8, integers only.
They hold names, codes and pseudonyms (``log_ref``), never a value, a key or a token.
``event.schema.json`` beside this file says which records there are, and what each holds.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaultlayer.crypto.digest import digest
from vaultlayer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 1
SCHEMA = Path(__file__).with_name("event.schema.json")

_ACTOR = frozenset({"iss", "sub", "client", "roles", "tenant", "token"})
_CONTEXT = frozenset({"actor", "purpose", "basis", "reason", "policy", "request", "trace"})
_ADDRESS = re.compile(r"[^\s<>()\",;:]+@[^\s<>()\",;:]+")
_MAX_NAME = 256
_MAX_REASON = 200
_MAX_ROLES = 32
_SAFE_INTEGER = 2**53 - 1  # RFC 8785 section 3.2.2.3: beyond it, readers may round

_encode = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
).encode


def canonical(record: Mapping[str, object]) -> bytes:
    """The RFC 8785 form of a record made of str, int, bool, None, list and dict (ASCII keys)."""
    return _encode(record).encode()


def check_plain(value: object) -> None:
    """Refuse what has no exact canonical form: floats, big integers, lone surrogates, others."""
    if isinstance(value, dict):
        if not all(isinstance(key, str) and key.isascii() for key in value):
            raise ConfigurationError("the names in an audit event are ASCII strings")
        check_plain(list(value.values()))
    elif isinstance(value, list):
        for item in value:
            check_plain(item)
    elif isinstance(value, str):
        if not _encodable(value):
            raise ConfigurationError("an audit event holds a text that has no UTF-8 form")
    elif isinstance(value, int):
        if abs(value) > _SAFE_INTEGER:
            raise ConfigurationError("an audit event holds an integer beyond 2**53")
    elif value is not None:
        kind = type(value).__name__
        raise ConfigurationError(
            f"an audit event can't hold a {kind}", hint="record strings, integers, booleans, lists"
        )


def timestamp(seconds: float) -> str:
    """Unix seconds as RFC 3339 in UTC with microseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def clip(text: object, limit: int = _MAX_NAME) -> str:
    """A bounded, encodable text; what is cut is replaced by a digest so names stay distinct."""
    plain = text if isinstance(text, str) else str(text)
    if not _encodable(plain):
        plain = plain.encode("utf-8", "backslashreplace").decode()
    if len(plain) <= limit:
        return plain
    return f"{plain[: limit - 18]}…{hashlib.sha256(plain.encode()).hexdigest()[:17]}"


def access_context(context: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an event that is known when an access opens, checked and bounded.

    ``actor`` holds ``sub`` and where known ``iss, client, tenant, token, roles``; beside it
    stand ``purpose`` (required), ``basis``, ``reason``, ``policy`` (digest), ``request`` and
    ``trace``. Names are cut at 256 characters, the reason at 200, the roles at 32; empty ones
    are left out. E-mail addresses are not kept: see ``pseudonym``.
    """
    actor = context.get("actor") or {}
    unknown = (context.keys() - _CONTEXT) | (actor.keys() - _ACTOR)
    if unknown:
        raise ConfigurationError(
            f"an access's audit context has unknown names: {', '.join(sorted(unknown))}",
            hint=f"known: {', '.join(sorted(_CONTEXT | _ACTOR))}",
        )
    if not (actor.get("sub") and context.get("purpose")):
        raise ConfigurationError(
            "an access's audit context lacks actor.sub or purpose",
            hint="every record names who acts, and for what",
        )
    texts = {
        name: clip(_without_addresses(value), _MAX_REASON if name == "reason" else _MAX_NAME)
        for name, value in context.items()
        if value and name != "actor"
    }
    names = {
        name: clip(pseudonym(value)) for name, value in actor.items() if value and name != "roles"
    }
    return {**texts, "actor": {**names, "roles": _roles(actor.get("roles") or ())}}


def pseudonym(name: str) -> str:
    """An actor's name as the log keeps it: an opaque id as it is, an e-mail address as a digest.

    Some identity providers use the address as ``sub``. Its digest (128 bits of SHA-256) is the
    same in every record, so that a question by the address finds them.
    """
    return digest(name) if "@" in name else name


def trace_id() -> str:
    """The id of the OpenTelemetry trace at hand, 32 hexadecimal digits; "" where there is none.

    The library is asked only where the application has imported it.
    """
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return ""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else ""


def _without_addresses(text: object) -> object:
    if isinstance(text, str) and "@" in text:
        return _ADDRESS.sub("[e-mail address]", text)
    return text


def _roles(roles: Any) -> list[str]:
    names = sorted({clip(role) for role in roles})
    more = len(names) - _MAX_ROLES
    return [*names[:_MAX_ROLES], f"…{more} more"] if more > 0 else names


def _encodable(text: str) -> bool:
    """Whether the text has a UTF-8 form: it holds no lone surrogate."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
