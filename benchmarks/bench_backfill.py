"""Sealing four plaintext columns beside a raw UPDATE of random bytes; one or two workers."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks.neighbour import beside
from benchmarks.ours import POLICIES
from benchmarks.race import Race, Runner
from benchmarks.sizes import FULL
from benchmarks.verdicts import ratio
from vaultlayer import PersonalData, Principal, Vault, personal
from vaultlayer.keys import tables
from vaultlayer.keys.local import WEAK_KDF_FOR_TESTS, LocalKeyring
from vaultlayer.lifecycle.migrating.filling import Filling
from vaultlayer.lifecycle.migrating.move import Move
from vaultlayer.lifecycle.migrating.working import spread
from vaultlayer.lifecycle.rewrite import CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from benchmarks.sizes import Sizes
    from benchmarks.stores import Store

OFFICER = Principal("officer", roles=["privacy_officer"])
RAW = "raw UPDATE … FROM unnest"
ONE, TWO = "backfill, one worker", "backfill, two workers"
NAMES = ("name", "email", "phone", "address")
_OVERHEAD = 31 + 1 + 16  # an envelope's head and nonce, the type byte, the tag
UNTIL = "2999-01-01"


class Base(DeclarativeBase):
    pass


class Adopted(PersonalData, Base):
    __tablename__ = "vaultlayer_adopted"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = personal("identity.name", name="name_s", migrating_from="name", until=UNTIL)
    email: Mapped[str] = personal(
        "contact.email", name="email_s", migrating_from="email", until=UNTIL
    )
    phone: Mapped[str] = personal(
        "contact.phone", name="phone_s", migrating_from="phone", until=UNTIL
    )
    address: Mapped[str] = personal(
        "contact.address", name="address_s", migrating_from="address", until=UNTIL
    )


@pytest.fixture
def adopted(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Adopted]:
    if store.database != "PostgreSQL":
        pytest.skip("the budget is PostgreSQL's")
    monkeypatch.setenv("VAULTLAYER_PASSPHRASE", "benchmark")
    folder = Path(tempfile.mkdtemp(prefix="vaultlayer-"))
    made = _Adopted(store.ours.engine, folder)
    yield made
    made.vault.close()
    for metadata in (Base.metadata, tables.metadata):  # the next one has a keyring of its own
        metadata.drop_all(made.engine)
    shutil.rmtree(folder)


def test_backfill(
    adopted: _Adopted, sizes: Sizes, race: Race, report: Callable[..., None]
) -> None:
    """Every person has a key already, and no value is sealed yet."""
    rows = 4 * sizes.rows
    adopted.fill(rows)
    section = f"backfill, PostgreSQL, {rows:,} rows of 4 fields"
    runners = [
        Runner(RAW, adopted.raw, adopted.empty),
        Runner(ONE, adopted.one, adopted.empty),
    ]
    times = race(runners, rounds=max(3, sizes.rounds // 3), group=section)
    report(section, f"rate of {ONE} : {RAW}", ratio(times[RAW], times[ONE]), at_least=0.7)


def test_workers(
    adopted: _Adopted, sizes: Sizes, race: Race, report: Callable[..., None]
) -> None:
    """The same by two processes, their start included. With two cores the server needs one."""
    if sizes.rows < FULL.rows:
        pytest.skip("with few rows it is the processes' start that is measured")
    rows = 20 * sizes.rows
    adopted.fill(rows)
    section = f"backfill, PostgreSQL, {rows:,} rows of 4 fields"
    runners = [
        Runner(ONE, adopted.one, adopted.empty),
        Runner(TWO, adopted.two, adopted.empty),
    ]
    times = race(runners, rounds=3, group=section)
    report(section, f"rate of {TWO} : {ONE}", ratio(times[ONE], times[TWO]), at_least=1.6)


def test_neighbours(adopted: _Adopted, sizes: Sizes, report: Callable[..., None]) -> None:
    """An application's reads of single rows while a backfill goes on, and without one."""
    rows = 10 * sizes.rows
    adopted.fill(rows)
    quiet, busy = [], []
    for _ in range(max(3, sizes.rounds // 3)):
        adopted.empty()
        with adopted.read_beside(rows) as alone:
            time.sleep(sizes.crowd_seconds)
        with adopted.read_beside(rows) as together:
            adopted.one()
        quiet.append(alone)
        busy.append(together)
    section = f"reads of one row, PostgreSQL, beside a backfill of {rows:,} rows"
    for name, place, budget in (("median", 49, 1.5), ("p99", 98, None)):
        both = [[quantiles(each, n=100)[place] for each in some] for some in (busy, quiet)]
        report(section, f"{name} latency : without it", ratio(*both), at_most=budget)


class _Adopted:
    """A table of plaintext with the sealed columns beside it, and a vault that has settings."""

    def __init__(self, engine: sa.Engine, folder: Path) -> None:
        self.engine = engine
        LocalKeyring.create(
            folder / "keyring.json", "benchmark", kdf_for_tests=WEAK_KDF_FOR_TESTS
        )
        (folder / "vaultlayer.toml").write_text(
            f'[vault]\npolicies = "{POLICIES}"\n[audit]\ndirectory = "audit"\n'
            '[keys]\nprovider = "local:keyring.json"\n'
        )
        self.vault = Vault.open(folder / "vaultlayer.toml")
        self.vault.models = (Base,)
        self.vault.attach(engine)
        self.vault.create_tables(engine)
        Base.metadata.create_all(engine)
        self.chunks: list[dict[str, list[Any]]] = []

    def fill(self, rows: int) -> None:
        values = {
            "name": "Ada Lovelace {}", "email": "ada{}@example.com", "phone": "+44 20 7946 {}",
            "address": "{} St James's Square, London SW1Y 4JU",
        }  # fmt: skip
        names = ", ".join(NAMES)
        with self.engine.begin() as connection:
            connection.execute(
                sa.text(
                    f"INSERT INTO vaultlayer_adopted (subject_id, {names}) "
                    f"VALUES (gen_random_uuid(), {', '.join(f':{name}' for name in NAMES)})"
                ),
                [{name: text.format(n) for name, text in values.items()} for n in range(rows)],
            )
            found = connection.execute(
                sa.text(f"SELECT id, {names} FROM vaultlayer_adopted ORDER BY id")
            ).all()
        self.one()  # makes the keys
        with self.engine.begin() as connection:
            connection.execute(sa.text("ANALYZE vaultlayer_subject_key"))
        for start in range(0, len(found), CHUNK):
            some = found[start : start + CHUNK]
            chunk: dict[str, list[Any]] = {"id": [row[0] for row in some]}
            for place, name in enumerate(NAMES, 1):
                sizes = [len(row[place].encode()) + _OVERHEAD for row in some]
                chunk[name] = [os.urandom(size) for size in sizes]
            self.chunks.append(chunk)

    def empty(self) -> None:
        with self.engine.begin() as connection:
            nothing = ", ".join(f"{name}_s = NULL" for name in NAMES)
            connection.execute(sa.text(f"UPDATE vaultlayer_adopted SET {nothing}"))
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("VACUUM FULL vaultlayer_adopted"))

    def one(self) -> None:
        with self.vault.access(OFFICER, purpose="legal_obligation") as access:
            move = Move(self.vault, (), "backfill")
            (part,) = move.parts
            written = [each.written for each in Filling(access, *part).rewriting(self.engine).run()]
        assert sum(written)

    def read_beside(self, rows: int) -> AbstractContextManager[list[float]]:
        url = self.engine.url.render_as_string(hide_password=False)
        query = f"SELECT {', '.join(NAMES)} FROM vaultlayer_adopted WHERE id = :key"
        return beside(url, query, rows)

    def two(self) -> None:
        with self.vault.access(OFFICER, purpose="legal_obligation"):
            spread(Move(self.vault, (), "backfill"), 2, "sealing")

    def raw(self) -> None:
        given = ", ".join(f"CAST(:{name} AS bytea[])" for name in NAMES)
        statement = sa.text(
            f"UPDATE vaultlayer_adopted t SET {', '.join(f'{n}_s = d.{n}' for n in NAMES)} "
            f"FROM unnest(CAST(:id AS integer[]), {given}) AS d(id, {', '.join(NAMES)}) "
            "WHERE t.id = d.id"
        )
        for chunk in self.chunks:
            with self.engine.begin() as connection:
                connection.execute(statement, chunk)
