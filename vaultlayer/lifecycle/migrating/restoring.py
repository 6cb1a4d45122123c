"""Sealed → plaintext: the way back after the switch, and the way out.

Every sealed value is opened, decided as ``export`` and journaled. A plaintext value is written
only while the sealed one is still the one that was opened; rows in which nothing is sealed keep
what they have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from vaultlayer.crypto.envelope import NONCE_BYTES
from vaultlayer.lifecycle.chunk_keys import fetch
from vaultlayer.lifecycle.migrating.filling import Filling
from vaultlayer.lifecycle.migrating.stages import VERIFIED
from vaultlayer.lifecycle.models import bare
from vaultlayer.lifecycle.rewrite import NONCE, NONCE_FROM, Rewriting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Engine

    from vaultlayer.lifecycle.migrating.move import Move
    from vaultlayer.lifecycle.rewrite import Change


@dataclass(frozen=True, slots=True)
class _Writing(Rewriting):
    """Writes the plaintext columns, by the sealed ones alone."""

    def _statement(self, connection: Connection, changes: list[Change]) -> tuple[Any, Any]:
        target = bare(self.table)
        keys = [target.c[column.name] for column in self.table.primary_key]
        sealed = [target.c[column.name] for column in self.sealed]
        plain = [target.c[column.name] for column in self.plain]
        met = [key == sa.bindparam(f"k{n}", type_=key.type) for n, key in enumerate(keys)]
        nonces = [sa.func.substr(column, NONCE_FROM, NONCE_BYTES) for column in sealed]
        met += [
            nonce.is_not_distinct_from(sa.bindparam(f"o{n}")) for n, nonce in enumerate(nonces)
        ]
        values = {
            column.name: sa.func.coalesce(sa.bindparam(f"n{n}", type_=column.type), column)
            for n, column in enumerate(plain)
        }
        given = [
            {
                **{f"k{n}": each for n, each in enumerate(key)},
                **{f"o{n}": old and old[NONCE] for n, old in enumerate(olds)},
                **{f"n{n}": new for n, new in enumerate(news)},
            }
            for key, olds, news in changes
        ]
        return sa.update(target).where(*met).values(values), given


class Restoring(Filling):
    """The same comparison as ``Filling``, written the other way round."""

    def rewriting(self, engine: Engine) -> Rewriting:
        table, access = self._table, self._access
        self._prefixes = [
            access.confirm(access.grant(field, "export")).prefix for field in self._fields
        ]
        return _Writing(
            engine, table, self._query, self._keys, [field.column for field in self._fields],
            (), self.changes, None, [table.c[field.twin_key] for field in self._fields],
        )  # fmt: skip

    def changes(self, connection: Connection, rows: Sequence[Any]) -> list[Change]:
        """Whose plaintext isn't what is sealed; a masked export is refused before."""
        pks, places, sealed, plain, _ = ([row[cut] for row in rows] for cut in self._cuts)
        width = len(self._placing.names)
        placed = [self._placing.place(each[:width]) for each in places]
        with self._vault.key_connection(connection) as keys_on:
            keys = fetch(self._vault.keys, keys_on, placed, sealed, every=True)
        self._note(keys, ())
        changed: list[Change] = []
        for pk, place, old, now in zip(pks, placed, sealed, plain, strict=True):
            news: list[Any] = [None] * len(self._fields)
            for n, (field, value) in enumerate(zip(self._fields, old, strict=True)):
                if value is None or place[:2] in keys.gone:
                    continue
                self.compared.values += 1
                opened = field.codec.decode(self._opened(keys, place, n, value))
                if now[n] is None or now[n] != opened:
                    news[n] = opened
            if any(new is not None for new in news):
                self.compared.differ += sum(new is not None for new in news)
                changed.append((tuple(pk), tuple(old), tuple(news)))
        return changed if self._writes else []


def restore(move: Move) -> None:
    """Make the plaintext of a step's fields what is sealed, prove it, and have it read again."""
    for field in move.fields:
        grant = move.access.confirm(move.access.grant(field, "export"))
        if grant.masked:  # a mask must not take the value's place
            raise move.access.refused(field, "export", "masked")
    move.compare(Restoring, "opening", write=True)
    if move.prove(Restoring, "values whose plaintext isn't what is sealed"):
        move.set(VERIFIED, "plaintext is read again")
