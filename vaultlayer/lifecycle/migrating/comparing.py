"""Rewriting rows whose plaintext must still be what was looked at, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from vaultlayer.crypto.envelope import NONCE_BYTES
from vaultlayer.lifecycle.models import bare
from vaultlayer.lifecycle.rewrite import CHUNK, Rewriting, _after, _unnested

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

_NONCE = slice(19, 31)  # of an envelope
_FROM = 20  # the same in SQL


@dataclass(slots=True)
class Compared:
    """``values`` looked at: so many ``differ``, and so many are of rows that belong to nobody."""

    values: int = 0
    differ: int = 0
    nobodys: int = 0

    @property
    def left(self) -> int:
        return self.differ + self.nobodys


@dataclass(frozen=True, slots=True)
class Comparing(Rewriting):
    """``plain``: the plaintext columns, in the order of ``sealed``. What a change goes by are the
    envelopes and then the plaintext: each must be there still, NULL as NULL."""

    plain: Sequence[Any] = ()
    makes_keys: bool = False

    def _changes(self) -> Iterator[tuple[int, list[tuple[tuple[Any, ...], ...]]]]:
        """As for any rewriting; where keys are made too, in a transaction that writes."""
        if not self.makes_keys:
            yield from Rewriting._changes(self)
            return
        last: tuple[Any, ...] | None = None
        ordered = self.query.order_by(*self.keys).limit(CHUNK)
        while True:
            with self.engine.begin() as connection:
                if connection.dialect.name == "sqlite":  # the one writer, before it looks
                    connection.execute(sa.delete(bare(self.table)).where(sa.false()))
                rows = connection.execute(_after(ordered, self.keys, last)).all()
                changes = self.change(connection, rows) if rows else []
            if rows:
                last = tuple(rows[-1][: len(self.keys)])
                yield len(rows), changes
            if len(rows) < CHUNK:
                return

    def _statement(
        self, connection: Connection, changes: list[tuple[tuple[Any, ...], ...]]
    ) -> tuple[Any, Any]:
        target = bare(self.table)
        keys = [target.c[column.name] for column in self.table.primary_key]
        plain = [target.c[column.name] for column in self.plain]
        sealed = [target.c[column.name] for column in self.sealed]
        columns = [*sealed, *(target.c[column.name] for column in self.terms)]
        typed = {f"k{n}": key.type for n, key in enumerate(keys)}
        typed |= {f"p{n}": column.type for n, column in enumerate(plain)}
        names = [*typed, *_names("o", sealed), *_names("n", columns)]
        given = [
            (
                *key, *olds[len(sealed) :],
                *[None if old is None else bytes(old[_NONCE]) for old in olds[: len(sealed)]],
                *news,
            )
            for key, olds, news in changes
        ]  # fmt: skip
        if connection.dialect.name == "postgresql":
            source: Any = _unnested(names, list(typed.values()))
            parameters: Any = dict(zip(names, map(list, zip(*given, strict=True)), strict=True))
            new = {name: source.c[name] for name in names}
        else:
            parameters = [dict(zip(names, row, strict=True)) for row in given]
            new = {name: sa.bindparam(name, type_=typed.get(name)) for name in names}
        met = [key == new[f"k{n}"] for n, key in enumerate(keys)]
        met += [
            column.is_not_distinct_from(new[f"p{n}"])
            for n, column in enumerate(plain)
            if not isinstance(column.type, sa.JSON)  # which PostgreSQL can't compare
        ]
        met += [
            sa.func.substr(column, _FROM, NONCE_BYTES).is_not_distinct_from(new[f"o{n}"])
            for n, column in enumerate(sealed)
        ]
        values = {c.name: sa.func.coalesce(new[f"n{n}"], c) for n, c in enumerate(columns)}
        return sa.update(target).where(*met).values(values), parameters


def _names(letter: str, columns: Sequence[Any]) -> list[str]:
    return [f"{letter}{n}" for n in range(len(columns))]
