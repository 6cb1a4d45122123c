"""Sealing what is stored anew: values under their person's active key, terms under the active root.

What already is, is left alone, so that a killed run is simply run again.
"""

from __future__ import annotations

import os
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.sql import bindparam

from vaultlayer.crypto.binding import field_part, row_part, subject_part
from vaultlayer.crypto.envelope import FLAG_ROW, NONCE_BYTES, open_sealed, resealed
from vaultlayer.errors import VaultLayerError
from vaultlayer.keys import states, tables
from vaultlayer.keys.keyring import RECORD
from vaultlayer.keys.records import open_subject_keys
from vaultlayer.lifecycle.reindex import Reindexing
from vaultlayer.lifecycle.rewrite import Rewriting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Engine, Table

    from vaultlayer.keys.keyring import SubjectKey
    from vaultlayer.orm.entity import Entity
    from vaultlayer.orm.field import Field
    from vaultlayer.vault import Vault

_S = tables.subject_key.c
_OF_SUBJECTS = RECORD.where(
    _S.tenant == bindparam("tenant"), _S.subject.in_(bindparam("subjects", expanding=True))
)
SAMPLE = 100  # values opened as proof

Change = tuple[tuple[Any, ...], ...]


@dataclass(slots=True)
class Tally:
    """What a look at all rows found."""

    values: int = 0
    stale_values: int = 0
    terms: int = 0
    stale_terms: int = 0
    damaged: int = 0
    sampled: int = 0
    opened: int = 0


@dataclass(slots=True)
class _Keys:
    """The keys of one chunk: their states, those unwrapped, and which is each subject's active."""

    states: dict[bytes, str]
    opened: dict[bytes, SubjectKey]
    active: dict[tuple[str, bytes], bytes]


class _Place(NamedTuple):
    """Where a row belongs, and the parts of its values' place that say so."""

    tenant: str
    subject: bytes
    subject_part: bytes
    row_part: bytes


class Resealing:
    """One table's sealed columns. ``keys`` and ``terms`` say what is to be made new."""

    def __init__(
        self, vault: Vault, entity: Entity, table: Table, fields: Sequence[Field],
        *, keys: bool, terms: bool, sample: bool = False,
    ) -> None:  # fmt: skip
        self.tally = Tally()
        self._vault, self._entity, self._fields = vault, entity, fields
        self._keys, self._terms, self._sample = keys, terms, sample
        self._indexes = [index for field in fields for index in field.indexes]
        self._reindexing = Reindexing(vault, self._indexes)
        self._unchanged = (None,) * (len(fields) + len(self._indexes))
        self._heads: dict[tuple[str, Field], bytes] = {}
        cls = entity.mapper.class_
        wanted = (entity.tenant_key, entity.subject_key, *entity.row_keys)
        self._names = [name for name in dict.fromkeys(wanted) if name]
        keys_columns = list(table.primary_key)
        index = [table.c[index.key] for index in self._indexes]
        columns = [getattr(cls, name).label(f"of_{name}") for name in self._names]
        columns += [field.column.label(f"v{n}") for n, field in enumerate(fields)]
        columns += [column.label(f"t{n}") for n, column in enumerate(index)]
        pk = [column.label(f"k{n}") for n, column in enumerate(keys_columns)]
        self._query = sa.select(*pk, *columns).select_from(cls)
        self._places = len(pk), len(pk) + len(self._names), len(pk) + len(self._names) + len(fields)
        self._table, self._key_columns, self._index = table, keys_columns, index

    def rewriting(self, engine: Engine) -> Rewriting:
        sealed = [field.column for field in self._fields]
        return Rewriting(
            engine, self._table, self._query, self._key_columns, sealed, self._index, self.changes,
            self._reindexing.beside if any(each.kind.many for each in self._indexes) else None,
        )

    def changes(self, connection: Connection, rows: Sequence[Any]) -> list[Change]:
        """What is to be changed of these rows (see ``Rewriting``)."""
        first, middle, last = self._places
        placed = [self._place(row[first:middle]) for row in rows]
        values = [row[middle:last] for row in rows]
        changed: list[Change] = []
        with self._vault.key_connection(connection) as keys_on:
            keys = self._fetch(keys_on, placed, values)
            self._reindexing.look(connection, [row[last:] for row in rows] if self._terms else ())
            if self._sample and self.tally.sampled < SAMPLE:
                self._open_one(keys, placed, values)
            for row, place, sealed in zip(rows, placed, values, strict=True):
                news = self._resealed(keys, place, sealed) if self._keys else self._unchanged
                if self._terms:
                    news = news[: len(sealed)] + self._reindexed(
                        keys_on, keys, place, sealed, row[last:]
                    )
                if any(news):
                    changed.append((tuple(row[:first]), tuple(sealed), news))
        return changed

    def _place(self, found: Sequence[Any]) -> _Place:
        named = dict(zip(self._names, found, strict=True))
        entity = self._entity
        subject = named.get(entity.subject_key) if entity.subject_key else None
        of = subject.bytes if subject is not None else b""
        row_id = entity.row_id(named)
        return _Place(
            entity.tenant_of(named), of, subject_part(of), row_part(row_id) if row_id else b""
        )

    def _fetch(
        self, connection: Connection, placed: Sequence[_Place], values: Sequence[Sequence[Any]]
    ) -> _Keys:
        by_tenant: dict[str, set[bytes]] = defaultdict(set)
        for place in placed:
            by_tenant[place.tenant].add(place.subject)
        rows: list[Any] = []
        for tenant, subjects in by_tenant.items():
            whose = {"tenant": tenant, "subjects": sorted(subjects)}
            rows += connection.execute(_OF_SUBJECTS, whose).all()
        found = {row.key_id: row.state for row in rows}
        active = {(r.tenant, r.subject): r.key_id for r in rows if r.state == states.ACTIVE}
        used = {value[3:19] for row in values for value in row if value is not None}
        stale = {row.subject for row in rows if row.state == states.DECRYPT_ONLY}
        wanted = [
            row
            for row in rows
            if states.opens(row)
            and (
                (row.key_id in used and (self._terms or self._sample or row.state != states.ACTIVE))
                or (row.state == states.ACTIVE and row.subject in stale)
            )
        ]
        keks = {
            kek_id: self._vault.keys.keks.by_id(connection, kek_id)
            for kek_id in {row.kek_id for row in wanted}
        }
        return _Keys(found, open_subject_keys(wanted, keks, 0.0), active)

    def _resealed(self, keys: _Keys, place: _Place, sealed: Sequence[Any]) -> tuple[Any, ...]:
        """The row's values under the active key, None where they are already."""
        news: list[Any] = list(self._unchanged)
        nonces = os.urandom(NONCE_BYTES * len(sealed))  # one call a row
        for n, (field, value) in enumerate(zip(self._fields, sealed, strict=True)):
            state = self._state(keys, value)
            if state != states.DECRYPT_ONLY:
                continue
            self.tally.stale_values += 1
            new = keys.opened[keys.active[place.tenant, place.subject]]
            cipher = keys.opened[value[3:19]].cipher
            nonce = nonces[n * NONCE_BYTES : (n + 1) * NONCE_BYTES]
            bound = self._bound(place, field, value)
            try:
                news[n] = resealed(cipher, new.cipher, new.key_id, bound, value, nonce)
            except VaultLayerError:
                self.tally.damaged += 1
        return tuple(news)

    def _state(self, keys: _Keys, value: Any) -> str | None:
        """The state of the key of a stored value, counted; None for what can't be opened."""
        if value is None:
            return None
        state = keys.states.get(value[3:19])  # what is no envelope names no key
        self.tally.values += state != states.ERASED
        self.tally.damaged += state is None
        return state

    def _reindexed(
        self, connection: Connection, keys: _Keys, place: _Place, sealed: Sequence[Any],
        terms: Sequence[Any],
    ) -> tuple[Any, ...]:  # fmt: skip
        """The row's terms under the active root, None where they are already."""
        opened: dict[Field, bytes | None] = {}
        for field, value in zip(self._fields, sealed, strict=True):
            if field.indexes or field.compounds:
                opened[field] = self._opened(keys, place, field, value)
        news: list[Any] = []
        for index, term in zip(self._indexes, terms, strict=True):
            news.append(None)
            if opened[index.field] is not None:
                owner = place.tenant, place.subject
                news[-1] = self._reindexing.fresh(connection, *owner, index, term, opened)
                self.tally.terms += 1
                self.tally.stale_terms += news[-1] is not None
        return tuple(news)

    def _opened(self, keys: _Keys, place: _Place, field: Field, value: Any) -> bytes | None:
        """None: NULL, a person who is gone, or damaged."""
        key = keys.opened.get(value[3:19]) if value is not None else None
        try:
            return open_sealed(key.cipher, self._bound(place, field, value), value) if key else None
        except VaultLayerError:
            self.tally.damaged += 1
            return None

    def _bound(self, place: _Place, field: Field, value: bytes) -> bytes:
        bound = self._head(place.tenant, field) + place.subject_part
        return bound + place.row_part if value[2] & FLAG_ROW else bound

    def _open_one(self, keys: _Keys, placed: Sequence[_Place], values: Sequence[Any]) -> None:
        """A value of this chunk, as a sample that what is stored opens."""
        found = (
            (place, field, value, keys.opened[value[3:19]])
            for place, sealed in zip(placed, values, strict=True)
            for field, value in zip(self._fields, sealed, strict=True)
            if value is not None and value[3:19] in keys.opened
        )
        for place, field, value, key in islice(found, SAMPLE - self.tally.sampled):
            self.tally.sampled += 1
            with suppress(VaultLayerError):
                field.codec.decode(open_sealed(key.cipher, self._bound(place, field, value), value))
                self.tally.opened += 1

    def _head(self, tenant: str, field: Field) -> bytes:
        head = self._heads.get((tenant, field))
        if head is None:
            owner = tenant if field.tenanted else ""
            head = self._heads[tenant, field] = field_part(owner, field.entity, field.name)
        return head
