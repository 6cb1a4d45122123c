"""Plaintext → sealed: every row opened, compared, and sealed again where the two differ.

What is sealed and equal is left alone, so a killed run is simply run again; what a version of the
application that knows only the plaintext wrote meanwhile differs, and so is found. A row is
written only if both columns still hold what was compared.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from vaultlayer.crypto.envelope import FLAG_PADDED, FLAG_ROW, open_sealed, seal
from vaultlayer.crypto.refusals import damaged
from vaultlayer.errors import VaultLayerError
from vaultlayer.lifecycle.chunk_keys import Heads, Placing, fetch
from vaultlayer.lifecycle.models import bare, stored
from vaultlayer.lifecycle.reindex import Reindexing
from vaultlayer.lifecycle.rewrite import Rewriting
from vaultlayer.write_path import fresh_nonces

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Connection, Engine, Table

    from vaultlayer.acting import Access
    from vaultlayer.keys.keyring import SubjectKey
    from vaultlayer.lifecycle.chunk_keys import ChunkKeys, Place
    from vaultlayer.lifecycle.rewrite import Change
    from vaultlayer.orm.entity import Entity
    from vaultlayer.orm.field import Field

Bounds = tuple[Any, Any]  # of the first column of the primary key: from, and below; None: open


@dataclass(slots=True)
class Compared:
    """``values`` looked at: so many ``differ``, and so many are of rows that belong to nobody."""

    values: int = 0
    differ: int = 0
    nobodys: int = 0

    @property
    def left(self) -> int:
        return self.differ + self.nobodys


class Filling:
    """One table's fields that are migrated."""

    def __init__(
        self, access: Access, entity: Entity, table: Table, fields: Sequence[Field],
        bounds: Bounds = (None, None), writes: bool = True,
    ) -> None:  # fmt: skip
        self.compared = Compared()
        self._writes = writes
        self._access, self._vault = access, access.vault
        self._entity, self._table, self._fields = entity, table, fields
        self._hollow: list[tuple[Any, ...]] = []  # rows whose plaintext went, and whose sealed not
        self._heads = Heads(fields)
        self._encoders = [field.codec.encode for field in fields]
        self._padded = [FLAG_PADDED if field.padded else 0 for field in fields]
        self._placing = Placing(entity)
        self._indexes = [index for field in fields for index in field.indexes]
        self._reindexing = Reindexing(self._vault, self._indexes)
        self._prefixes = [access.grant(field, "administer").prefix for field in fields]
        cls, keys = entity.mapper.class_, list(table.primary_key)
        names = [*self._placing.names, *filter(None, [entity.region_key])]
        groups = [
            [key.label(f"k{n}") for n, key in enumerate(keys)],
            [getattr(cls, name).label(f"of_{name}") for name in names],
            [stored(field.column).label(f"v{n}") for n, field in enumerate(fields)],
            [stored(table.c[field.twin_key]).label(f"p{n}") for n, field in enumerate(fields)],
            [table.c[index.key].label(f"t{n}") for n, index in enumerate(self._indexes)],
        ]
        self._cuts, at = [], 0
        for group in groups:
            self._cuts.append(slice(at, at + len(group)))
            at += len(group)
        low, high = bounds
        within = [keys[0] >= low] if low is not None else []
        within += [keys[0] < high] if high is not None else []
        columns = [column for group in groups for column in group]
        self._query = sa.select(*columns).select_from(cls).where(*within)
        self._keys = keys

    def rewriting(self, engine: Engine) -> Rewriting:
        table = self._table
        return Rewriting(
            engine, table, self._query, self._keys, [field.column for field in self._fields],
            [table.c[index.key] for index in self._indexes], self.changes,
            self._reindexing.beside if any(each.kind.many for each in self._indexes) else None,
            [table.c[field.twin_key] for field in self._fields], self._writes,
        )  # fmt: skip

    def changes(self, connection: Connection, rows: Sequence[Any]) -> list[Change]:
        """What is to be sealed of these rows (see ``Rewriting``); when only looking, nothing."""
        pks, places, sealed, plain, terms = ([row[cut] for row in rows] for cut in self._cuts)
        width = len(self._placing.names)
        placed = [self._placing.place(each[:width]) for each in places]
        with self._vault.key_connection(connection) as keys_on:
            keys = fetch(
                self._vault.keys, keys_on, placed, sealed, every=True, sealing=self._writes
            )
            wanted = [
                self._differing(keys, place, *each)
                for place, *each in zip(placed, sealed, plain, strict=True)
            ]
            if not self._writes:
                self._note(keys, ())
                return []
            self._reindexing.look(connection, terms)
            regions = [each[width] if self._entity.region_key else None for each in places]
            active = self._active(keys_on, keys, placed, wanted, regions)
            self._note(keys, active.values())
            news = self._sealed(active, placed, wanted)
            changed: list[Change] = []
            for pk, place, old, now, term, given, made in zip(
                pks, placed, sealed, plain, terms, wanted, news, strict=True
            ):
                if any(old[n] is not None and data is None for n, data in given.items()):
                    self._hollow.append(tuple(pk))
                if self._indexes:
                    made += self._indexed(keys_on, place, term, given)
                if any(made):
                    changed.append((pk, (*old, *now), made))
        return changed

    def empty(self, engine: Engine) -> None:
        """Take out what is sealed of values whose plaintext is gone."""
        target = bare(self._table)
        hollow, self._hollow = self._hollow, []
        pk = [target.c[key.name] for key in self._keys]
        for field in self._fields if hollow else ():
            sealed, plain = target.c[field.column.name], self._table.c[field.twin_key].name
            gone = {sealed.name: None}
            gone |= {self._table.c[index.key].name: None for index in field.indexes}
            same = [key == sa.bindparam(f"k{n}", type_=key.type) for n, key in enumerate(pk)]
            statement = sa.update(target).where(
                *same, target.c[plain].is_(None), sealed.is_not(None)
            )
            given = [{f"k{n}": value for n, value in enumerate(each)} for each in hollow]
            with engine.begin() as connection:
                connection.execute(statement.values(gone), given)

    def _differing(
        self, keys: ChunkKeys, place: Place, sealed: Sequence[Any], plain: Sequence[Any]
    ) -> dict[int, bytes | None]:
        """Field's place → the encoded plaintext that its sealed value isn't."""
        if (place[0], place[1]) in keys.gone:
            return {}  # erased: there is nothing to be sealed
        found: dict[int, bytes | None] = {}
        nobodys = not place[1] and self._entity.subject_key is not None
        for n, (encode, old, now) in enumerate(zip(self._encoders, sealed, plain, strict=True)):
            data = None if now is None else encode(now)
            self.compared.values += data is not None
            if data is None and old is None:
                continue
            if data is None or old is None or not self._equal(keys, place, n, old, data):
                if data is not None and nobodys:
                    self.compared.nobodys += 1
                    continue
                self.compared.differ += 1
                found[n] = data
        return found

    def _equal(
        self, keys: ChunkKeys, place: Place, n: int, sealed: bytes, data: bytes
    ) -> bool:
        with suppress(VaultLayerError):  # what doesn't open is sealed again
            opened = self._opened(keys, place, n, sealed)
            same = self._fields[n].codec.decode
            return opened == data or same(opened) == same(data)  # 1.5 and 1.50
        return False

    def _opened(self, keys: ChunkKeys, place: Place, n: int, sealed: bytes) -> bytes:
        key = keys.opened.get(sealed[3:19])
        if key is None:
            raise damaged()
        tenant, _, subject, row = place
        bound = subject + row if sealed[2] & FLAG_ROW else subject
        return open_sealed(key.cipher, self._heads[tenant][n] + bound, sealed)

    def _active(
        self, connection: Connection, keys: ChunkKeys, placed: Sequence[Place],
        wanted: Sequence[Any], regions: Sequence[str | None],
    ) -> dict[tuple[str, bytes], SubjectKey]:  # fmt: skip
        """The keys to seal with, made for people who have none.

        They aren't held until the rows are written: whoever is erased meanwhile has no plaintext
        any more, and so the row isn't written.
        """
        found: dict[tuple[str, bytes], SubjectKey] = {}
        groups: dict[tuple[str, str | None], set[bytes]] = defaultdict(set)
        for (tenant, subject, *_), new, region in zip(placed, wanted, regions, strict=True):
            if new:
                key_id = keys.active.get((tenant, subject))
                if key_id is None:
                    groups[tenant, region].add(subject)
                else:
                    found[tenant, subject] = keys.opened[key_id]
        for (tenant, region), people in groups.items():
            made = self._vault.keys.active(connection, tenant, people, region=region)
            found.update({(tenant, subject): key for subject, key in made.items()})
        return found

    def _note(self, keys: ChunkKeys, active: Iterable[SubjectKey]) -> None:
        """Journal whose values are opened and sealed, before any is."""
        refs = {key.log_ref for key in (*keys.opened.values(), *active)}
        for prefix in self._prefixes if refs else ():
            self._access.journal.append_many(prefix, list(refs))

    def _sealed(
        self, active: dict[tuple[str, bytes], SubjectKey], placed: Sequence[Place],
        wanted: Sequence[dict[int, bytes | None]],
    ) -> Iterator[tuple[bytes | None, ...]]:  # fmt: skip
        """The rows' new envelopes, None for what stays."""
        nonces = fresh_nonces(sum(map(len, wanted)))
        nothing = (None,) * len(self._fields)
        for (tenant, subject, bound, row), given in zip(placed, wanted, strict=True):
            if not given:
                yield nothing
                continue
            key, heads = active[tenant, subject], self._heads[tenant]
            cipher, key_id = key.cipher, key.key_id
            bound, row_flag = bound + row, FLAG_ROW if row else 0
            news: list[bytes | None] = [None] * len(self._fields)
            for n, data in given.items():
                if data is not None:
                    flags = row_flag | self._padded[n]
                    news[n] = seal(cipher, key_id, heads[n] + bound, data, flags, next(nonces))
            yield tuple(news)

    def _indexed(
        self, connection: Connection, place: Place, terms: Sequence[Any],
        given: dict[int, bytes | None],
    ) -> tuple[bytes | None, ...]:
        values = {self._fields[n]: data for n, data in given.items() if data is not None}
        return tuple(
            self._reindexing.fresh(connection, *place[:2], index, term, values)
            if index.field in values
            else None
            for index, term in zip(self._indexes, terms, strict=True)
        )
