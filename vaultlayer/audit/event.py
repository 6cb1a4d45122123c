"""What one audit record holds, and how it becomes bytes.

Records are canonical JSON (RFC 8785): keys sorted, no spaces, UTF-8, integers only.
They hold names, codes and pseudonyms (``log_ref``), never a value, a key or a token.
"""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64encode
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from struct import Struct
from typing import TYPE_CHECKING, Any

from vaultlayer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

VERSION = 1
REFS_PER_EVENT = 256  # keeps a line under about 8 KiB
NO_REF = bytes(16)  # a slot about no one person: a search, a refusal before any row is known
SLOT = Struct("<16sI")  # log_ref, spec number; the number is stored last and marks the slot as used
OUTCOMES = frozenset({"allow", "mask", "deny"})

_ACTOR = frozenset({"iss", "sub", "client", "roles", "tenant"})
_CONTEXT = frozenset({"actor", "purpose", "reason", "policy", "request", "trace"})
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
    """Refuse what has no exact canonical form here: floats, big integers, other types."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not (isinstance(key, str) and key.isascii()):
                raise ConfigurationError("an audit event's names must be ASCII strings")
            check_plain(item)
    elif isinstance(value, list):
        for item in value:
            check_plain(item)
    elif isinstance(value, int) and abs(value) > _SAFE_INTEGER:
        raise ConfigurationError("an audit event holds an integer beyond 2**53", "Record a string.")
    elif not (value is None or isinstance(value, str | int)):
        raise ConfigurationError(
            f"an audit event can't hold a {type(value).__name__}",
            "Record strings, integers, booleans, lists and dictionaries.",
        )


def timestamp(seconds: float) -> str:
    """Unix seconds as RFC 3339 in UTC with microseconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def clip(text: object, limit: int = _MAX_NAME) -> str:
    """A bounded, encodable text; what is cut is replaced by a digest so names stay distinct."""
    plain = str(text).encode("utf-8", "backslashreplace").decode()
    if len(plain) <= limit:
        return plain
    return f"{plain[: limit - 18]}…{hashlib.sha256(plain.encode()).hexdigest()[:17]}"


def access_context(context: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an event known when an access opens, checked and bounded.

    ``actor`` holds ``sub`` and where known ``iss, client, tenant, roles``; beside it
    ``purpose`` (required), ``reason``, ``policy`` (digest), ``request``, ``trace``.
    """
    actor = dict(context.get("actor") or {})
    unknown = (context.keys() - _CONTEXT) | (actor.keys() - _ACTOR)
    if unknown:
        raise ConfigurationError(
            f"an access's audit context has unknown names: {', '.join(sorted(unknown))}",
            f"Known: {', '.join(sorted(_CONTEXT | _ACTOR))}.",
        )
    if not (actor.get("sub") and context.get("purpose")):
        raise ConfigurationError("an access's audit context needs actor.sub and purpose")
    roles = sorted(clip(role) for role in actor.pop("roles", ()))
    names = {name: clip(value) for name, value in actor.items() if value}
    more = [f"…{len(roles) - _MAX_ROLES} more"] if len(roles) > _MAX_ROLES else []
    cleaned: dict[str, Any] = {
        name: clip(value) for name, value in context.items() if name != "actor" and value
    }
    if "reason" in cleaned:
        cleaned["reason"] = clip(context["reason"], _MAX_REASON)
    cleaned["actor"] = names | {"roles": roles[:_MAX_ROLES] + more}
    return cleaned


@dataclass(frozen=True, slots=True)
class Spec:
    """What a spec number in a slot stands for: who does what with which fields."""

    number: int
    access: int
    context: Mapping[str, Any]
    entity: str
    fields: tuple[str, ...]
    action: str
    outcome: str
    reason: str

    def event(self) -> dict[str, Any]:
        """The parts of the event that all its slots share, without the fields."""
        event = {**self.context, "event": self.action, "decision": self.outcome}
        event["entity"] = self.entity
        if self.reason:
            event["reason_code"] = self.reason
        return event


def events_of(
    slots: bytes, specs: Mapping[int, Spec], journal: Mapping[str, object]
) -> list[dict[str, Any]]:
    """The events that tell what ``slots`` (a multiple of 20 bytes, empty ones skipped) tell.

    One event per access, entity, action, outcome, reason code and exact set of fields:
    an event says of each of its refs that all its fields, and no others, were touched.
    """
    kinds: dict[tuple[object, ...], list[tuple[Spec, list[bytes]]]] = {}
    events: list[dict[str, Any]] = []
    for number, refs in _refs_by_spec(slots).items():
        spec = specs.get(number)
        if spec is None:
            continue
        kind = (spec.access, spec.entity, spec.action, spec.outcome, spec.reason)
        kinds.setdefault(kind, []).append((spec, refs))
    for reads in kinds.values():
        for fields, counts in _by_field_set(reads):
            events += _parts(reads[0][0].event() | {"fields": fields}, counts, journal)
    return events


def _refs_by_spec(slots: bytes) -> dict[int, list[bytes]]:
    refs: dict[int, list[bytes]] = {}
    add: dict[int, Any] = {}
    for ref, number in SLOT.iter_unpack(slots):
        try:
            add[number](ref)
        except KeyError:
            refs[number] = [ref]
            add[number] = refs[number].append
    return refs


def _by_field_set(
    reads: Iterable[tuple[Spec, list[bytes]]],
) -> Iterator[tuple[list[str], dict[bytes, int]]]:
    """Refs and how many values were touched of each, by the exact set of fields touched."""
    columns: list[tuple[set[str], list[bytes], int]] = []  # fields, refs, values per ref
    for spec, refs in reads:
        for place, (names, other, width) in enumerate(columns):
            if other == refs:  # the usual case: every field of the same rows, in the same order
                columns[place] = (names | set(spec.fields), refs, width + len(spec.fields))
                break
        else:
            columns.append((set(spec.fields), refs, len(spec.fields)))
    touched: dict[bytes, int] = {}  # ref -> bit set of columns
    counts: Counter[bytes] = Counter()
    for bit, (_, refs, width) in enumerate(columns):
        for ref, times in Counter(refs).items():
            touched[ref] = touched.get(ref, 0) | 1 << bit
            counts[ref] += times * width
    groups: dict[int, dict[bytes, int]] = {}
    for ref, bits in touched.items():
        groups.setdefault(bits, {})[ref] = counts[ref]
    for bits, group in groups.items():
        names = set().union(*(c[0] for bit, c in enumerate(columns) if bits >> bit & 1))
        yield sorted(names), group


def _parts(
    event: dict[str, Any], counts: Mapping[bytes, int], journal: Mapping[str, object]
) -> Iterator[dict[str, Any]]:
    refs = list(counts)
    parts = -(-len(refs) // REFS_PER_EVENT)
    for part in range(parts):
        some = refs[part * REFS_PER_EVENT : (part + 1) * REFS_PER_EVENT]
        number = {"part": part + 1, "parts": parts} if parts > 1 else {}
        yield {
            **event,
            **number,
            "refs": ref_texts([ref for ref in some if ref != NO_REF]),
            "count": sum(counts[ref] for ref in some),
            "journal": journal,
        }


def ref_texts(refs: Sequence[bytes]) -> list[str]:
    """Each 16-byte ref as 22 characters of base64url, encoded in one call."""
    pad = bytes(2)  # 18 bytes are 24 characters; the last two only hold padding
    text = urlsafe_b64encode(b"".join([ref + pad for ref in refs])).decode()
    return [text[start : start + 22] for start in range(0, len(text), 24)]
