"""Blind indexes: find rows by a sealed value without opening any.

A term is HMAC-SHA-256 (RFC 2104) of a kind's payload under a key of its own per tenant, entity,
field, index and epoch. An index has a hidden column beside the sealed one: the term itself, or for
kinds with several terms a value a random number, by which the shared table (terms.py) knows it.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from time import monotonic
from typing import TYPE_CHECKING, Any

from vaultlayer.access.context import executing, no_access
from vaultlayer.access.grants import NO_REF
from vaultlayer.errors import UnsupportedQuery
from vaultlayer.sealed import SearchTerms
from vaultlayer.search.found import ask_about_found
from vaultlayer.search.kinds import Equality

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection

    from vaultlayer.acting import Access
    from vaultlayer.orm.field import Field
    from vaultlayer.search.kinds import Kind, Question

TERM_BYTES = 32
SHARED_BYTES = 16  # of those in the shared table: half will do (RFC 2104, section 5)


class Index:
    """One blind index of one field."""

    __slots__ = ("field", "key", "kind", "name", "number", "parts", "where")

    def __init__(self, field: Field, kind: Kind) -> None:
        self.field = field
        self.parts: tuple[Field, ...] = (field,)  # a compound's has others (orm/field.py)
        self.kind = kind
        self.key = column_key(field.column.key, kind)
        self.name = kind.name
        self.where = f"{field.label}{kind.suffix}"  # its name in the record of declarations
        self.number = number_of(self.where)

    def __repr__(self) -> str:
        return f"<Index {self.where}>"

    @property
    def is_unique(self) -> bool:
        return self.field.unique and isinstance(self.kind, Equality)

    def stored(self, data: bytes) -> list[bytes]:
        """The payloads of an encoded value."""
        return self.kind.stored(self.field.codec, data)

    def terms(self, key: bytes, payloads: Iterable[bytes]) -> list[bytes]:
        """The payloads' terms under one of the index's keys."""
        length = SHARED_BYTES if self.kind.many else TERM_BYTES
        return [hmac.digest(key, each, "sha256")[:length] for each in payloads]


def number_of(where: str) -> bytes:
    """An index's name in tables: in the shared one, and in that of declarations."""
    return sha256(where.encode()).digest()[:8]


def column_key(sealed: str, kind: Kind) -> str:
    """The name of an index's hidden column, from its sealed column's."""
    return f"{sealed}_bidx{kind.suffix}"


def ask(field: Field, op: str, values: Sequence[Any]) -> tuple[Index, Question]:
    """The index that answers best, exactly if one does, and what it is asked."""
    served: list[tuple[Index, Question]] = []
    for index in field.indexes:
        question = index.kind.ask(field.codec, op, values)
        if question is not None:
            served.append((index, question))
    if not served:
        raise _unserved(field, op)
    return next((each for each in served if each[1].check is None), served[0])


def searches(index: Index, question: Question, noted: int, negated: bool) -> list[SearchTerms]:
    """The parameters of a search, one a group; they are hashed when the statement is sent."""
    return [
        SearchTerms(index, group, 0 if number else noted, negated, hashed)
        for number, group in enumerate(question.groups)
    ]


def hashed(searched: SearchTerms) -> list[bytes]:
    """The bytes to look for. A search is an action: decided and journaled here, before it runs.

    A value has a term under each live index root, whichever of them its row was written with.
    """
    access, connection = executing()
    field = searched.index.field
    if access is None:
        raise no_access(f"{field.label} was searched")
    grant = access.grant(field, "search")
    if grant.denied or monotonic() >= access.deadline:
        grant = access.confirm(grant)
    note(access, grant.prefix, searched.noted)
    tenant = access.tenant if field.tenanted else ""
    keys = index_keys(access, connection, tenant, searched.index)
    terms = [term for key in keys for term in searched.index.terms(key, searched.payloads)]
    ask_about_found(access, connection, searched, terms)
    return terms


def note(access: Access, prefix: bytes, times: int) -> None:
    """Journal something about no one person, so many times."""
    if times != 1:
        access.journal.append_many(prefix, [NO_REF] * times)
        return
    try:
        access.journal.put(NO_REF + prefix)  # in the kernel on return
    except ValueError:
        access.journal.append(prefix, NO_REF)  # or it raises


def index_keys(
    access: Access,
    connection: Connection,
    tenant: str,
    index: Index,
    written_on: Connection | None = None,
) -> list[bytes]:
    """The index's key under each live root, the one to write with first.

    :param written_on: where rows are written, if they are; ``connection`` is the keys' then.
    """
    return access.vault.indexes.keys(connection, tenant, index, written_on)


def together(
    index: Index, by_key: Mapping[str, tuple[Field, bytes | None]]
) -> list[bytes] | None:
    """The payload of a compound's encoded values; None where one of them is NULL, or not there."""
    kind: Any = index.kind
    parts = []
    for key, spec in {index.field.key: kind.normalizer, **kind.normalizers}.items():
        field, data = by_key.get(key, (None, None))
        if field is None or data is None:
            return None
        parts.append((spec, field.codec, data))
    return [kind.joined(parts)]


def _unserved(field: Field, op: str) -> UnsupportedQuery:
    asked = {"in": "==", "range": "<, > or between"}.get(op, op)
    serve = "; ".join(dict.fromkeys(each.kind.hint for each in field.indexes))
    if op in ("startswith", "contains") and any(op in each.kind.hint for each in field.indexes):
        return UnsupportedQuery(
            f"the text is too short for an index of {field.label}",
            hint="search for a longer one, or declare a shorter length",
        )
    declare = {
        "in": 'search=Equality("exact")', "range": "search=Buckets(...)",
        "startswith": "search=Prefix(...)", "contains": "search=Words() or Substring(...)",
    }  # fmt: skip
    return UnsupportedQuery(
        f"no index of {field.label} serves {asked}",
        hint=f"it serves {serve}; declare {declare[op]} for this"
        if serve
        else f"declare the field with {declare[op]} to look it up",
    )

