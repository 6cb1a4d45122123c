"""How each index was made, as the database knows it: an index made otherwise is refused.

Another normalizer, version, length or band gives other terms, which find nothing of what is
stored. So what terms are made with is recorded at the first write, held against the declarations
when a vault is attached and at the first use in each process, and changed by ``vaultlayer keys
reseal`` alone, which makes all terms anew.

Records are added without waiting for anybody, so an index may have several; all say the same.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import sqlalchemy as sa
from sqlalchemy import Column, String, Table, inspect
from sqlalchemy.exc import SQLAlchemyError

from vaultlayer.crypto.digest import digest
from vaultlayer.crypto.envelope import OVERHEAD
from vaultlayer.errors import ConfigurationError
from vaultlayer.keys import tables
from vaultlayer.orm.former import refuse_former_terms
from vaultlayer.search.blind_index import number_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import URL, Connection, RootTransaction

    from vaultlayer.search.blind_index import Index
    from vaultlayer.vault import Vault

declared = Table(
    "vaultlayer_index",
    tables.metadata,
    Column("declaration", tables._Id, primary_key=True),
    Column("index_number", tables._Bytes(8).with_variant(sa.VARBINARY(8), *tables.MYSQL),
           nullable=False, index=True),
    Column("made_with", String(64), nullable=False),
)  # fmt: skip
_C = declared.c
_OF = sa.select(_C.made_with).where(_C.index_number == sa.bindparam("number")).distinct()
_EMPTY = OVERHEAD + 1  # bytes of what an erased person's NOT NULL column holds


class Indexes:
    """``vault.indexes``: what one process has seen of the records, and the indexes' keys."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._asked: set[URL] = set()  # databases, when they were attached
        self._sound: set[tuple[Any, Index, bool]] = set()
        self._made_in: WeakValueDictionary[tuple[Any, bytes], RootTransaction] = (
            WeakValueDictionary()
        )

    def keys(
        self, connection: Connection | None, tenant: str, index: Index, written_on: Any
    ) -> list[bytes]:
        """The 32-byte keys of a blind index; the first is the one to write with."""
        field = index.field
        if connection is not None and (connection.engine, index, written_on is not None) in (
            self._sound
        ):
            ready = self._vault.keys.roots.ready(tenant, field.entity, field.name, index.name)
            if ready is not None and field.former is None:
                return ready
        with self._vault.key_connection(connection) as keys_on:
            data = written_on or connection or keys_on
            self._check(keys_on, data, index, written_on is not None)
            names = [(field.entity, field.name), *([field.former] if field.former else ())]
            return [
                key
                for entity, name in names
                for key in self._vault.keys.index_keys(keys_on, tenant, entity, name, index.name)
            ]

    def refuse_changed(self, declared: Iterable[tuple[str, str]]) -> None:
        """ConfigurationError when an index was made otherwise; once a database that can be asked.

        :param declared: where each index is, and what its terms are made with. Where classes
            differ about one, its first use tells.
        """
        engine, url = self._vault.databases.own()
        url = engine.url if engine is not None else url
        if url is None or url in self._asked:
            return
        try:
            made = self._vault.databases.run(_made) or {}
        except (SQLAlchemyError, ImportError, OSError):
            return  # asked again at the first use
        names: dict[str, set[str]] = {}
        for where, name in declared:
            names.setdefault(where, set()).add(_short(name))
        for where, known in names.items():
            if made.get(number_of(where), set()) - known:
                raise _changed(where)
        self._asked.add(url)

    def forget(self) -> None:
        """Look at the records again: they were changed."""
        self._sound.clear()

    def _check(self, keys_on: Connection, data: Connection, index: Index, writing: bool) -> None:
        """ConfigurationError when what is stored was indexed otherwise than is declared now."""
        known = (keys_on.engine, index, writing)
        if known in self._sound:
            return
        if not writing:
            refuse_former_terms(index)
        made = list(keys_on.scalars(_OF, {"number": index.number}))
        if any(each != made_with(index) for each in made):
            raise _changed(index.where)
        maker = keys_on.get_transaction()
        if not made:
            refuse_unindexed(data, index)
            if writing:
                record(keys_on, [index])
                if maker is not None:
                    self._made_in[known[0], index.number] = maker
        if not writing or (made and self._made_in.get((known[0], index.number)) is not maker):
            self._sound.add(known)


def made_with(index: Index) -> str:
    """All that its terms depend on, but the key."""
    return _short(index.name)


def _short(name: str) -> str:
    return name if len(name) <= 64 else digest(name)


def record(keys_on: Connection, indexes: Iterable[Index]) -> None:
    rows = [
        {"declaration": os.urandom(16), "index_number": each.number, "made_with": made_with(each)}
        for each in indexes
    ]
    if rows:
        keys_on.execute(sa.insert(declared), rows)


def record_again(keys_on: Connection, indexes: Iterable[Index]) -> None:
    """All terms were made anew: what they are made with is what is declared."""
    indexes = list(indexes)
    numbers = [index.number for index in indexes]
    keys_on.execute(sa.delete(declared).where(_C.index_number.in_(numbers)))
    record(keys_on, indexes)


def differing(keys_on: Connection, indexes: Iterable[Index]) -> list[Index]:
    """The indexes whose terms were made otherwise than is declared now."""
    made = _made(keys_on)
    return [each for each in indexes if made.get(each.number, set()) - {made_with(each)}]


def _made(keys_on: Connection) -> dict[bytes, set[str]]:
    """An index's number → how its terms were made, of all that are recorded."""
    if not inspect(keys_on).has_table(declared.name):
        return {}
    made: dict[bytes, set[str]] = {}
    for number, name in keys_on.execute(sa.select(_C.index_number, _C.made_with).distinct()):
        made.setdefault(bytes(number), set()).add(name)
    return made


def refuse_unindexed(data: Connection, index: Index) -> None:
    """Refuse an index that was declared after rows had been stored without it."""
    table = index.field.column.table
    sealed: list[Any] = [sa.column(part.column.name) for part in index.parts]
    hidden: Any = sa.column(table.c[index.key].name)
    bare: Any = sa.table(table.name, *sealed, hidden, schema=table.schema)
    there = [each.is_not(None) & (sa.func.length(each) > _EMPTY) for each in sealed]
    missed = sa.select(sa.literal(1)).select_from(bare).where(hidden.is_(None), *there)
    if data.execute(missed.limit(1)).first() is not None:
        raise ConfigurationError(
            f"the index {index.where} lacks rows that were stored before it was declared, so a "
            "search would miss them",
            hint="index them: `vaultlayer keys reseal`",
        )


def _changed(where: str) -> ConfigurationError:
    return ConfigurationError(
        f"the index {where} was made in another way than is declared now (another "
        "normalizer or version, length or band), so a search would miss what is stored",
        hint="take the former declaration back, or make its terms anew: `vaultlayer keys reseal`",
    )
