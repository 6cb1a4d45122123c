"""Sealing what is stored anew: values under their person's active key, terms under the active root.

What already is, is left alone, so that a killed run is simply run again.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from vaultlayer.crypto.binding import field_part
from vaultlayer.crypto.envelope import FLAG_ROW, NONCE_BYTES, open_sealed, resealed
from vaultlayer.errors import VaultLayerError
from vaultlayer.keys import states
from vaultlayer.lifecycle.chunk_keys import Placing, fetch
from vaultlayer.lifecycle.reindex import Reindexing
from vaultlayer.lifecycle.rewrite import Rewriting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Engine, Table

    from vaultlayer.lifecycle.chunk_keys import ChunkKeys, Place
    from vaultlayer.orm.entity import Entity
    from vaultlayer.orm.field import Field
    from vaultlayer.vault import Vault

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
        self._placing = Placing(entity)
        names = self._placing.names
        keys_columns = list(table.primary_key)
        index = [table.c[index.key] for index in self._indexes]
        columns = [getattr(cls, name).label(f"of_{name}") for name in names]
        columns += [field.column.label(f"v{n}") for n, field in enumerate(fields)]
        columns += [column.label(f"t{n}") for n, column in enumerate(index)]
        pk = [column.label(f"k{n}") for n, column in enumerate(keys_columns)]
        self._query = sa.select(*pk, *columns).select_from(cls)
        self._places = len(pk), len(pk) + len(names), len(pk) + len(names) + len(fields)
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
        placed = [self._placing.place(row[first:middle]) for row in rows]
        values = [row[middle:last] for row in rows]
        changed: list[Change] = []
        with self._vault.key_connection(connection) as keys_on:
            every = self._terms or self._sample
            keys = fetch(self._vault.keys, keys_on, placed, values, every=every)
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
                    changed.append((row[:first], sealed, news))
        return changed

    def _resealed(self, keys: ChunkKeys, place: Place, sealed: Sequence[Any]) -> tuple[Any, ...]:
        """The row's values under the active key, None where they are already."""
        news: list[Any] = list(self._unchanged)
        nonces = os.urandom(NONCE_BYTES * len(sealed))  # one call a row
        key_id = new = None
        for n, value in enumerate(sealed):
            if value is None:
                continue
            if value[3:19] != key_id:  # a row's values mostly share their key
                key_id = value[3:19]  # what is no envelope names no key
                state = keys.states.get(key_id)
                new = None
                if state == states.DECRYPT_ONLY:
                    old = keys.opened[key_id].cipher
                    new = keys.opened[keys.active[place[0], place[1]]]
            if new is None:
                self.tally.values += state != states.ERASED
                self.tally.damaged += state is None
                continue
            self.tally.values += 1
            self.tally.stale_values += 1
            bound = self._bound(place, self._fields[n], value)
            nonce = nonces[n * NONCE_BYTES : (n + 1) * NONCE_BYTES]
            try:
                news[n] = resealed(old, new.cipher, new.key_id, bound, value, nonce)
            except VaultLayerError:
                self.tally.damaged += 1
        return tuple(news)

    def _reindexed(
        self, connection: Connection, keys: ChunkKeys, place: Place, sealed: Sequence[Any],
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
                news[-1] = self._reindexing.fresh(connection, *place[:2], index, term, opened)
                self.tally.terms += 1
                self.tally.stale_terms += news[-1] is not None
        return tuple(news)

    def _opened(self, keys: ChunkKeys, place: Place, field: Field, value: Any) -> bytes | None:
        """None: NULL, a person who is gone, or damaged."""
        key = keys.opened.get(value[3:19]) if value is not None else None
        try:
            return open_sealed(key.cipher, self._bound(place, field, value), value) if key else None
        except VaultLayerError:
            self.tally.damaged += 1
            return None

    def _bound(self, place: Place, field: Field, value: bytes) -> bytes:
        tenant, _, subject, row = place
        head = self._heads.get((tenant, field)) or self._head(tenant, field)
        return head + subject + row if value[2] & FLAG_ROW else head + subject

    def _open_one(self, keys: ChunkKeys, placed: Sequence[Place], values: Sequence[Any]) -> None:
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
        owner = tenant if field.tenanted else ""
        head = self._heads[tenant, field] = field_part(owner, field.entity, field.name)
        return head
