"""The log's heads and its signing key in two tables, beside the vault's keys."""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    NullPool,
    String,
    Table,
    Text,
    create_engine,
    delete,
    insert,
    inspect,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from vaultlayer.audit.files import unavailable
from vaultlayer.audit.heads import Head, MissingTables, conflict, new_signer
from vaultlayer.audit.note import Signer, VerifierKey
from vaultlayer.errors import AuditUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sqlalchemy import Connection
    from sqlalchemy.engine import URL

    from vaultlayer.audit.heads import Provider

metadata = MetaData()

log_head = Table(
    "vaultlayer_log_head",
    metadata,
    Column("origin", String(255), primary_key=True),
    Column("log", String(255), nullable=False),
    Column("place", String(255), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("root", String(64), nullable=False),  # hexadecimal
    Column("note", Text, nullable=False),
    Column("updated", BigInteger, nullable=False),  # seconds since 1970-01-01, UTC
)

log_key = Table(
    "vaultlayer_log_key",
    metadata,
    Column("generation", Integer, primary_key=True, autoincrement=False),
    Column("vkey", String(255), nullable=False),
    Column("provider", String(255), nullable=False),
    Column("wrapped", LargeBinary, nullable=False),  # the Ed25519 seed, under the provider key
    Column("created", BigInteger, nullable=False),
)


class DatabaseHeads:
    """Heads in a table; each call is a short transaction on a connection of its own."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self._is_async = url.get_dialect().is_async
        self._has_tables = False

    def at(self, place: str, log: str) -> list[Head]:
        wanted = select(log_head).where(or_(log_head.c.log == log, log_head.c.place == place))
        rows = self._run(lambda connection: connection.execute(wanted).mappings().all())
        return [_head(row) for row in rows]

    def swap(self, old: Head | None, new: Head, drop: Sequence[str] = ()) -> None:
        def work(connection: Connection) -> None:
            if old is None:
                connection.execute(insert(log_head).values(_row(new)))
            elif connection.execute(_update(old, new)).rowcount != 1:
                raise conflict(new.origin)
            if drop:
                connection.execute(delete(log_head).where(log_head.c.origin.in_(drop)))

        try:
            self._run(work)
        except IntegrityError:  # there is a head already
            raise conflict(new.origin) from None

    def signer(self, provider: Provider) -> Signer:
        kept = self._run(_newest_key)
        if kept is None or not _is_held(kept, provider):
            try:
                return self._new_key(provider, kept)
            except IntegrityError:  # another process was first
                kept = self._run(_newest_key)
        public, wrapped = VerifierKey.parse(kept.vkey), bytes(kept.wrapped)
        seed = provider.unwrap(wrapped, _aad(public))
        signer = Signer(public.name, seed)
        if signer.public != public:
            raise unavailable("the audit log's signing key isn't the one its table names")
        if provider.version_of(wrapped) != provider.versions()[-1]:  # before it is destroyed
            anew = update(log_key).where(log_key.c.generation == kept.generation)
            anew = anew.values(wrapped=provider.wrap(seed, _aad(public)))
            self._run(lambda connection: connection.execute(anew))
        return signer

    def keys(self) -> list[VerifierKey]:
        vkeys: Iterable[str] = self._run(
            lambda connection: connection.scalars(select(log_key.c.vkey)).all()
        )
        return [VerifierKey.parse(vkey) for vkey in vkeys]

    def _new_key(self, provider: Provider, former: Any) -> Signer:
        seed = os.urandom(32)
        signer = new_signer(seed, VerifierKey.parse(former.vkey).name if former else "")
        row = {
            "generation": former.generation + 1 if former else 1,
            "vkey": str(signer.public),
            "provider": provider.name,
            "wrapped": provider.wrap(seed, _aad(signer.public)),
            "created": int(time.time()),
        }
        self._run(lambda connection: connection.execute(insert(log_key).values(row)))
        return signer

    def _run(self, work: Callable[[Connection], Any]) -> Any:
        try:
            if not self._is_async:
                return self._run_sync(work)
            with ThreadPoolExecutor(1) as thread:  # this one may have a loop that is running
                return thread.submit(asyncio.run, self._run_async(work)).result()
        except IntegrityError:
            raise
        except (SQLAlchemyError, ImportError, RuntimeError, OSError) as error:
            self._has_tables = False  # are they there still? asked again
            raise _out_of_reach(error) from None

    def _run_sync(self, work: Callable[[Connection], Any]) -> Any:
        self._refuse_to_make_a_file()
        engine = create_engine(self._url, poolclass=NullPool, hide_parameters=True)
        with engine.begin() as connection:
            return self._with_tables(connection, work)

    async def _run_async(self, work: Callable[[Connection], Any]) -> Any:
        from sqlalchemy.ext.asyncio import create_async_engine  # needs greenlet, an extra

        self._refuse_to_make_a_file()
        engine = create_async_engine(self._url, poolclass=NullPool, hide_parameters=True)
        async with engine.begin() as connection:
            return await connection.run_sync(self._with_tables, work)

    def _with_tables(self, connection: Connection, work: Callable[[Connection], Any]) -> Any:
        if not self._has_tables:
            there = inspect(connection)
            if not (there.has_table(log_head.name) and there.has_table(log_key.name)):
                raise _no_tables()
            self._has_tables = True
        return work(connection)

    def _refuse_to_make_a_file(self) -> None:
        name = self._url.database or ""
        is_file = self._url.get_backend_name() == "sqlite" and not name.startswith("file:")
        if is_file and not Path(name).exists():
            raise _no_tables()


def _no_tables() -> MissingTables:
    return MissingTables(
        "the database has no tables for the audit log's heads",
        hint="run vault.create_tables(engine), or the migration that has them",
    )


def _out_of_reach(error: Exception) -> AuditUnavailable:
    return AuditUnavailable(
        f"the audit log's heads can't be reached ({type(error).__name__})",
        hint="check that the database of [vault] database is up and can be written, then try again",
    )


def _update(old: Head, new: Head) -> Any:
    same = (log_head.c.size == old.size, log_head.c.root == old.root.hex())
    return update(log_head).where(log_head.c.origin == old.origin, *same).values(_row(new))


def _newest_key(connection: Connection) -> Any:
    return connection.execute(select(log_key).order_by(log_key.c.generation.desc())).first()


def _is_held(kept: Any, provider: Provider) -> bool:
    """Whether the provider can unwrap the key; else a new one signs, and both are public."""
    if kept.provider != provider.name:
        return False
    return provider.version_of(bytes(kept.wrapped)) in provider.versions()


def _aad(key: VerifierKey) -> bytes:
    return b"vaultlayer/v1/log-key\0" + key.name.encode()


def _row(head: Head) -> dict[str, object]:
    row = {name: getattr(head, name) for name in ("origin", "log", "place", "size", "note")}
    return {**row, "root": head.root.hex(), "updated": int(time.time())}


def _head(row: Any) -> Head:
    names = {name: row[name] for name in ("origin", "log", "place", "size", "note")}
    return Head(**names, root=bytes.fromhex(row["root"]))
