"""The database: its tables, its columns, and a sample of what lies in the sealed ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from vaultlayer.crypto.envelope import is_envelope, key_id_of
from vaultlayer.doctor.finding import Case, Finding
from vaultlayer.errors import VaultLayerError
from vaultlayer.keys.states import ERASED
from vaultlayer.keys.tables import metadata, subject_key
from vaultlayer.lifecycle.emptying import NOBODYS
from vaultlayer.lifecycle.models import entities, fields_by_table
from vaultlayer.lifecycle.storage import unfit
from vaultlayer.orm.types import BlindIndexType, PersonalType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sqlalchemy import Connection

_BATCH = 500  # key ids of one statement


def tables(case: Case) -> Iterator[Finding]:
    """The vault's own tables, without which nothing can be sealed or opened."""
    with case.vault.databases.keys(None, check=False) as connection:
        seen = sa.inspect(connection)
        lacking = [name for name in sorted(metadata.tables) if not seen.has_table(name)]
    if lacking:
        yield Finding(
            "tables_missing",
            f"{len(lacking)} of the vault's own tables are not there",
            ", ".join(lacking),
            "vault.create_tables(engine), or vaultlayer's operations for Alembic",
        )


def columns(case: Case) -> Iterator[Finding]:
    """Columns of the database that can't hold what the declarations put into them."""
    with case.vault.databases.transaction() as connection:
        seen = sa.inspect(connection)
        fields = [field for entity in case.entities for field in entity.fields.values()]
        for table in {field.column.table: None for field in fields}:
            if not seen.has_table(table.name, schema=table.schema):
                continue
            there = {each["name"]: each for each in seen.get_columns(table.name, table.schema)}
            for column in table.columns:
                if isinstance(column.type, PersonalType | BlindIndexType) and column.name in there:
                    what, needed = unfit(connection, column, there[column.name]["type"])
                    if what:
                        yield Finding(
                            "column_unfit", f"the column {what}", f"{table.name}.{column.name}",
                            f"migrate it to {needed} before anything is stored in it",
                        )  # fmt: skip


def values(case: Case) -> Iterator[Finding]:
    """A sample of the sealed columns: all of it envelopes, of keys that the key tables have."""
    used: dict[bytes, set[str]] = {}
    with case.vault.databases.transaction() as connection:
        for _, table, fields in fields_by_table(entities(case.vault.known_models(), connection)):
            labels = {field.column.name: field.label for field in fields}
            for name, stored in _sample(connection, table, list(labels), case.sample):
                plain = sum(not is_envelope(value) for value in stored)
                for value in filter(is_envelope, stored):
                    used.setdefault(key_id_of(value), set()).add(labels[name])
                if plain:
                    yield Finding(
                        "plaintext_found",
                        f"{plain} of {len(stored)} values looked at were never sealed",
                        labels[name],
                        "seal them with a backfill, and find out what writes past the vault",
                    )
    used.pop(NOBODYS, None)
    yield from _keys(case, used)


def _keys(case: Case, used: Mapping[bytes, set[str]]) -> Iterator[Finding]:
    """Keys that sealed something and are in no key table, or can't be unwrapped."""
    state: dict[bytes, str] = {}
    with case.vault.key_connection(None) as connection:
        ids = list(used)
        for start in range(0, len(ids), _BATCH):
            some = subject_key.c.key_id.in_(ids[start : start + _BATCH])
            known = sa.select(subject_key.c.key_id, subject_key.c.state).where(some)
            state.update((bytes(key_id), now) for key_id, now in connection.execute(known))
        try:
            alive = [key_id for key_id, now in state.items() if now != ERASED]
            case.vault.keys.fetch(connection, alive)
        except VaultLayerError as error:
            yield Finding("key_unusable", error.message, "the key tables", error.hint)
    strange = set().union(*(where for key_id, where in used.items() if key_id not in state))
    if strange:
        yield Finding(
            "key_unknown",
            "values were sealed with keys that the key tables don't have: another keyset's",
            ", ".join(sorted(strange)),
            "check [vault] database, or restore the key tables that belong to this data",
        )


def _sample(
    connection: Connection, table: Any, names: list[str], most: int
) -> Iterator[tuple[str, list[bytes]]]:
    """The stored values of each column, of the first and the last rows by primary key."""
    order: list[Any] = [sa.column(key.name) for key in table.primary_key]
    where = sa.table(table.name, schema=table.schema)
    asked: Any = sa.select(*map(sa.column, names)).select_from(where)  # as the driver gives them
    rows: set[Any] = set()
    for direction in (sa.asc, sa.desc):
        some = asked.order_by(*map(direction, order)).limit(-(-most // 2))
        rows.update(map(tuple, connection.execute(some)))
    for place, name in enumerate(names):
        stored: Iterable[Any] = (row[place] for row in rows)
        yield name, [_bytes(value) for value in stored if value is not None]


def _bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)
