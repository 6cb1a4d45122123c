"""Blind indexes: find rows by a sealed value without opening any.

A term is HMAC-SHA-256 (RFC 2104) of the normalised value under a key of its own per tenant,
entity, field and index. Whoever has the database sees which rows are equal, and no more.
"""

from __future__ import annotations

import hmac
import unicodedata
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from vaultlayer.access.context import executing, no_access
from vaultlayer.access.grants import NO_REF
from vaultlayer.errors import ConfigurationError
from vaultlayer.sealed import SearchTerms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy import Connection

    from vaultlayer.acting import Access
    from vaultlayer.orm.field import Field


def _email(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip().casefold()


def _phone(text: str) -> str:
    digits = "".join(character for character in text if character.isdecimal())
    return f"+{digits}" if text.lstrip().startswith("+") else digits


def _casefold(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


NORMALIZERS: dict[str, Callable[[str], str]] = {
    "exact": str,
    "casefold": _casefold,
    "email": _email,
    "phone": _phone,
}


@dataclass(frozen=True, slots=True)
class Equality:
    """``search=Equality("email")``: serves ``==``, ``!=`` and ``in_`` exactly.

    Normalizers: ``exact`` (any type), ``casefold``, ``email``, ``phone`` (texts).
    The index leaks which rows hold equal values: don't use it on fields with few values.
    """

    normalizer: str = "exact"

    def __post_init__(self) -> None:
        if self.normalizer not in NORMALIZERS:
            raise ConfigurationError(
                f"there is no normalizer {self.normalizer!r}",
                hint=f"known ones: {', '.join(sorted(NORMALIZERS))}",
            )

    @property
    def name(self) -> str:
        """Part of the index key, so that terms made under other rules can never match."""
        return f"equality/{self.normalizer}/1"


def terms(field: Any, values: Iterable[Any]) -> SearchTerms:
    """Searched values, normalised; they are hashed when the statement is sent."""
    texts = [_normalized(field, field.codec.encode(value)) for value in values]
    return SearchTerms(field, texts, hashed)


def hashed(searched: SearchTerms) -> list[bytes]:
    """The bytes to look for. A search is an action: decided and journaled here, before it runs.

    A value has a term under each live index root, whichever of them its row was written with.
    """
    access, connection = executing()
    if access is None:
        raise no_access(f"{searched.field.label} was searched")
    grant = access.grant(searched.field, "search")
    if grant.denied or monotonic() >= access.deadline:
        grant = access.confirm(grant)
    access.journal.append_many(grant.prefix, [NO_REF] * len(searched))
    tenant = access.tenant if searched.field.tenanted else ""
    keys = _keys(access, connection, tenant, searched.field)
    return [_hash(key, text) for text in searched.texts for key in keys]


def index_terms(
    access: Access, connection: Connection, field: Field, tenant: str, data: bytes | None
) -> list[bytes]:
    """An encoded value's terms: what the blind-index column stores beside it comes first.

    The others are the ones that it may be stored under while index roots are exchanged.
    """
    if data is None:
        return []
    text = _normalized(field, data)
    return [_hash(key, text) for key in _keys(access, connection, tenant, field)]


def term_under(field: Field, key: bytes, data: bytes) -> bytes:
    """An encoded value's term under one of its index's keys."""
    return _hash(key, _normalized(field, data))


def _keys(access: Access, connection: Connection | None, tenant: str, field: Any) -> list[bytes]:
    return access.vault.index_keys(connection, tenant, field, field.search.name)


def _normalized(field: Any, data: bytes) -> bytes:
    """The encoded value under the index's normalizer; texts only, but for ``exact``."""
    normalize = NORMALIZERS[field.search.normalizer]
    if normalize is str:
        return data
    value = field.codec.decode(data)
    if not isinstance(value, str):
        kind, value = type(value).__name__, None
        raise ConfigurationError(
            f"{field.label} is indexed by {field.search.normalizer!r}, which is for texts",
            hint=f'for {kind} use Equality("exact")',
        )
    return bytes(field.codec.encode(normalize(value)))


def _hash(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")
