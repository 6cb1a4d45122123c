"""The key tables: wrapped keys only, in the same database (and transaction) as the data.

``state`` is one of ``states``; a record's wrapping is bound to it, so that it can't be edited.
``changed`` says since when. Binary columns compare byte for byte everywhere; on MySQL and MariaDB
names are stored as UTF-8 bytes too, because their text collations take ``"a"``, ``"A"`` and
``"a "`` for one name.
"""

from __future__ import annotations

from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    VARBINARY,
    BigInteger,
    Column,
    Dialect,
    Integer,
    LargeBinary,
    MetaData,
    Select,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
    bindparam,
    false,
    func,
    insert,
    select,
    update,
)

from vaultlayer.errors import ConfigurationError, KeyUnavailable

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.sql.dml import Insert

MAX_NAME_BYTES = 255


class _Utf8Binary(TypeDecorator[str]):
    """A text kept as its UTF-8 bytes."""

    impl = VARBINARY(MAX_NAME_BYTES)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else value.encode()

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else bytes(value).decode()


class _Bytes(LargeBinary):
    """Bytes as the driver takes and gives them, without a wrapper a value."""

    def bind_processor(self, dialect: Dialect) -> None:
        return None

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        # psycopg2 alone hands out memoryviews
        if dialect.driver == "psycopg2":
            return super().result_processor(dialect, coltype)  # type: ignore[no-untyped-call]
        return None


MYSQL = ("mysql", "mariadb")
_Id = _Bytes(16).with_variant(VARBINARY(16), *MYSQL)
_Name = String(MAX_NAME_BYTES).with_variant(_Utf8Binary(), *MYSQL)
_Seconds = BigInteger()  # since 1970-01-01, UTC
_State = String(12)

metadata = MetaData()

kek = Table(
    "vaultlayer_kek",
    metadata,
    Column("kek_id", _Id, primary_key=True),
    Column("tenant", _Name, nullable=False),
    Column("region", _Name, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("state", _State, nullable=False),
    Column("provider", String(255), nullable=False),
    Column("wrapped", _Bytes),  # NULL once erased
    Column("created", _Seconds, nullable=False),
    Column("changed", _Seconds, nullable=False),
    UniqueConstraint("tenant", "region", "epoch", name="uq_vaultlayer_kek_epoch"),
)

subject_key = Table(
    "vaultlayer_subject_key",
    metadata,
    Column("key_id", _Id, primary_key=True),
    Column("tenant", _Name, nullable=False),
    Column("subject", _Id, nullable=False),  # b"": the tenant's own key
    Column("generation", Integer, nullable=False),
    Column("state", _State, nullable=False),
    Column("kek_id", _Id, nullable=False),
    Column("wrapped", _Bytes),  # once erased: no key, but the fact, under the same seal
    Column("created", _Seconds, nullable=False),
    Column("changed", _Seconds, nullable=False),
    UniqueConstraint("tenant", "subject", "generation", name="uq_vaultlayer_subject_key"),
    sqlite_with_rowid=False,  # one tree to search instead of two: 2.4 µs a key instead of 4.0
)

index_root = Table(
    "vaultlayer_index_root",
    metadata,
    Column("root_id", _Id, primary_key=True),
    Column("tenant", _Name, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("state", _State, nullable=False),
    Column("kek_id", _Id, nullable=False),
    Column("wrapped", _Bytes),  # NULL once erased
    Column("created", _Seconds, nullable=False),
    Column("changed", _Seconds, nullable=False),
    UniqueConstraint("tenant", "epoch", name="uq_vaultlayer_index_root"),
)

# Who was erased, and where that is recorded: by it a restored backup is told (keys/tombstones.py).
tombstone = Table(
    "vaultlayer_tombstone",
    metadata,
    Column("tenant", _Name, primary_key=True),
    Column("subject", _Id, primary_key=True),
    Column("erasure_id", _Id, nullable=False),
    Column("erased", _Seconds, nullable=False),
    Column("trail", String(32), nullable=False),  # the audit directory, its shard and record
    Column("shard", String(64), nullable=False),
    Column("seq", BigInteger, nullable=False),
)


# The key of backups, wrapped by the provider; people hold shares of it (keys/backup.py).
recovery = Table(
    "vaultlayer_recovery",
    metadata,
    Column("recovery_id", _Id, primary_key=True),
    Column("shares", String(16), nullable=False),
    Column("provider", String(255), nullable=False),
    Column("wrapped", _Bytes, nullable=False),
    Column("created", _Seconds, nullable=False),
)

_COUNTED = {"preserve_rowcount": True}


def insert_if_absent(dialect: Dialect, table: Table) -> Insert:
    """An INSERT that leaves out the rows some other transaction wrote first.

    It needs no savepoint and doesn't break a PostgreSQL transaction. How many rows went in is
    ``rowcount`` where the driver counts (-1 where it doesn't): fewer than asked means "look
    again".
    """
    if dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql  # importing all dialects takes long

        return postgresql.insert(table).on_conflict_do_nothing()
    if dialect.name == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table).on_conflict_do_nothing()
    if dialect.name in MYSQL:
        return insert(table).prefix_with("IGNORE")
    raise ConfigurationError(
        f"keys can't be kept in a {dialect.name} database",
        hint="set [vault] database to one of SQLite, PostgreSQL, MySQL or MariaDB",
    )


def insert_subject_keys(
    connection: Connection, common: dict[str, Any], columns: dict[str, list[bytes]]
) -> int:
    """Insert records that differ in ``columns``, as ``insert_if_absent`` does; its rowcount."""
    widths = {name: {len(value) for value in values} for name, values in columns.items()}
    if connection.dialect.name == "postgresql" and all(len(w) == 1 for w in widths.values()):
        statement = _from_one(tuple(common), tuple((name, *w) for name, w in widths.items()))
        records = list(zip(*columns.values(), strict=True))
        whole = {"count": len(records), "records": b"".join(chain.from_iterable(records))}
        return connection.execute(statement, common | whole, execution_options=_COUNTED).rowcount
    rows = [
        {**common, **dict(zip(columns, each, strict=True))}
        for each in zip(*columns.values(), strict=True)
    ]
    insert = insert_if_absent(connection.dialect, subject_key)
    return connection.execute(insert, rows, execution_options=_COUNTED).rowcount


@cache
def _from_one(common: tuple[str, ...], widths: tuple[tuple[str, int], ...]) -> Insert:
    """Many records in one value, cut up by the server: PostgreSQL's drivers send rows one by
    one, and arrays of bytes slower still."""
    from sqlalchemy.dialects import postgresql

    records, width = bindparam("records", type_=_Bytes), sum(each for _, each in widths)
    number = func.generate_series(0, bindparam("count", type_=Integer) - 1).column_valued("n")
    pieces, start = [], 1
    for _, length in widths:
        pieces.append(func.substr(records, number * width + start, length))
        start += length
    same = [bindparam(name, type_=subject_key.c[name].type) for name in common]
    names = [*(name for name, _ in widths), *common]
    insert = postgresql.insert(subject_key).from_select(names, select(*pieces, *same))
    return insert.on_conflict_do_nothing()


_CHANGE_NOTHING = update(kek).where(false()).values(state=kek.c.state)


def held(dialect: Dialect, statement: Select[Any]) -> Select[Any]:
    """The SELECT whose rows nobody changes until this transaction ends.

    So that nobody is erased, and no generation destroyed, between finding a key and the commit of
    what is sealed with it. For SQLite see ``become_writer``, for MySQL ``Keys``.
    """
    return statement.with_for_update(read=True) if dialect.name == "postgresql" else statement


def become_writer(connection: Connection) -> None:
    """SQLite has no locked reads, but one writer at a time: from here on this transaction is it."""
    if connection.dialect.name == "sqlite":
        connection.execute(_CHANGE_NOTHING)


def as_of_now(dialect: Dialect, statement: Select[Any]) -> Select[Any]:
    """The SELECT to look again with: MySQL's REPEATABLE READ shows a plain one only the past."""
    return statement.with_for_update(read=True) if dialect.name in MYSQL else statement


def check_names(*names: str) -> None:
    """Refuse a name that the columns above would cut short."""
    if any(len(name.encode()) > MAX_NAME_BYTES for name in names):
        raise ConfigurationError(
            f"a tenant, region or key provider has a name of more than {MAX_NAME_BYTES} bytes",
            hint="use a shorter, stable id for it",
        )


def lost_race() -> KeyUnavailable:
    """What is left when a row is there and this transaction's snapshot can't show it."""
    return KeyUnavailable(
        "another transaction made the same key first",
        hint="roll back and run the transaction again: it will find that key",
    )
