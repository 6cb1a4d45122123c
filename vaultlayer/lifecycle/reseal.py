"""Sealing what is stored anew: values under their person's active key, terms under the active root.

What already is, is left alone, so that a killed run is simply run again.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, repeat
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from vaultlayer.crypto.envelope import FLAG_ROW, resealed
from vaultlayer.crypto.refusals import damaged
from vaultlayer.errors import VaultLayerError
from vaultlayer.keys import states
from vaultlayer.lifecycle.chunk_keys import Placing, fetch
from vaultlayer.lifecycle.forms import Forms, odd_flags
from vaultlayer.lifecycle.models import stored
from vaultlayer.lifecycle.reindex import Reindexing
from vaultlayer.lifecycle.rewrite import Rewriting
from vaultlayer.write_path import fresh_nonces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Engine, Table

    from vaultlayer.lifecycle.chunk_keys import ChunkKeys, Place
    from vaultlayer.lifecycle.rewrite import Change
    from vaultlayer.orm.entity import Entity
    from vaultlayer.orm.field import Field
    from vaultlayer.vault import Vault

SAMPLE = 100  # values opened as proof


@dataclass(slots=True)
class Tally:
    """What a look at all rows found."""

    values: int = 0
    stale_values: int = 0
    terms: int = 0
    stale_terms: int = 0
    damaged: int = 0
    former: int = 0  # in a form that is declared no more
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
        self._unchanged = (None,) * len(fields)
        self._unindexed = (None,) * len(self._indexes)
        self._forms = Forms(fields)
        odd = [odd_flags(field, every=terms) for field in fields]
        self._odd = odd if any(odd) else None
        cls = entity.mapper.class_
        self._placing = Placing(entity)
        names = self._placing.names
        keys_columns = list(table.primary_key)
        index = [table.c[index.key] for index in self._indexes]
        columns = [getattr(cls, name).label(f"of_{name}") for name in names]
        columns += [stored(field.column).label(f"v{n}") for n, field in enumerate(fields)]
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
            every = self._terms or self._sample or self._odd is not None
            keys = fetch(self._vault.keys, keys_on, placed, values, every=every)
            self._reindexing.look(connection, [row[last:] for row in rows] if self._terms else ())
            if self._sample and self.tally.sampled < SAMPLE:
                self._open_one(keys, placed, values)
            made = self._resealed(keys, placed, values) if self._keys else repeat(self._unchanged)
            for row, place, sealed, news in zip(rows, placed, values, made, strict=False):
                if self._terms:
                    news += self._reindexed(keys_on, keys, place, sealed, row[last:])
                else:
                    news += self._unindexed
                if any(news):
                    changed.append((row[:first], sealed, news))
        return changed

    def _resealed(
        self, keys: ChunkKeys, placed: Sequence[Place], values: Sequence[Sequence[Any]]
    ) -> list[tuple[Any, ...]]:
        """The rows' values under their active keys, None where they are already.

        A row's values mostly begin alike, so what their beginning says is looked up once.
        """
        known, exchanges, odd = keys.states, keys.exchanges(), self._odd
        nonces = fresh_nonces(len(self._fields) * len(values))
        rows: list[tuple[Any, ...]] = []
        seen: list[str | None] = []
        for whose, sealed in zip(placed, values, strict=True):
            tenant, _, subject, row = whose
            heads, header = self._forms.heads[tenant], None
            news: list[bytes | None] = [None] * len(sealed)
            for n, value in enumerate(sealed):
                if value is None:
                    continue
                if odd is not None and value[2:3] in odd[n]:
                    news[n] = self._renewed(keys, whose, n, value)
                    continue
                if value[:19] != header:
                    header = value[:19]
                    state, exchange = known.get(header[3:]), exchanges.get(header[3:])
                    if exchange is not None:
                        place = subject + row if header[2] & FLAG_ROW else subject
                seen.append(state)
                if exchange is not None:
                    try:
                        news[n] = resealed(*exchange, heads[n] + place, value, next(nonces))
                    except VaultLayerError:
                        self.tally.damaged += 1
            rows.append(tuple(news))
        self.tally.values += len(seen) - seen.count(states.ERASED)
        self.tally.stale_values += seen.count(states.DECRYPT_ONLY)
        self.tally.damaged += seen.count(None)  # what is no envelope names no key
        return rows

    def _renewed(self, keys: ChunkKeys, place: Place, n: int, value: bytes) -> bytes | None:
        """A value in the form that is declared, under the active key; None if it is already."""
        state, key = keys.states.get(value[3:19]), keys.opened.get(value[3:19])
        if state == states.ERASED:
            return None
        self.tally.values += 1
        self.tally.stale_values += state == states.DECRYPT_ONLY
        try:
            if key is None:
                raise damaged()
            active = keys.opened[keys.active[place[0], place[1]]]
            new = self._forms.renewed(key, active, place, n, value)
            self.tally.former += new is not None
            if new is None and state == states.DECRYPT_ONLY:
                bound, (nonce,) = self._forms.bound(place, n, value), fresh_nonces(1)
                new = resealed(key.cipher, active.cipher, active.key_id, bound, value, nonce)
        except VaultLayerError:
            self.tally.damaged += 1
            return None
        return new

    def _reindexed(
        self, connection: Connection, keys: ChunkKeys, place: Place, sealed: Sequence[Any],
        terms: Sequence[Any],
    ) -> tuple[Any, ...]:  # fmt: skip
        """The row's terms under the active root, None where they are already."""
        opened: dict[Field, bytes | None] = {}
        for n, (field, value) in enumerate(zip(self._fields, sealed, strict=True)):
            if field.indexes or field.compounds:
                opened[field] = self._opened(keys, place, n, value)
        news: list[Any] = []
        for index, term in zip(self._indexes, terms, strict=True):
            news.append(None)
            if opened[index.field] is not None:
                news[-1] = self._reindexing.fresh(connection, *place[:2], index, term, opened)
                self.tally.terms += 1
                self.tally.stale_terms += news[-1] is not None
        return tuple(news)

    def _opened(self, keys: ChunkKeys, place: Place, n: int, value: Any) -> bytes | None:
        """None: NULL, a person who is gone, or damaged."""
        key = keys.opened.get(value[3:19]) if value is not None else None
        try:
            return self._forms.open(key, place, n, value) if key else None
        except VaultLayerError:
            self.tally.damaged += 1
            return None

    def _open_one(self, keys: ChunkKeys, placed: Sequence[Place], values: Sequence[Any]) -> None:
        """A value of this chunk, as a sample that what is stored opens."""
        found = (
            (place, n, value, keys.opened[value[3:19]])
            for place, sealed in zip(placed, values, strict=True)
            for n, value in enumerate(sealed)
            if value is not None and value[3:19] in keys.opened
        )
        for place, n, value, key in islice(found, SAMPLE - self.tally.sampled):
            self.tally.sampled += 1
            with suppress(VaultLayerError):
                self._fields[n].codec.decode(self._forms.open(key, place, n, value))
                self.tally.opened += 1
