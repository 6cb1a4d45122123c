"""Sealing everything anew beside a raw UPDATE of the same bytes, and erasing one person."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy.orm import Mapped, mapped_column

from benchmarks.contenders import Base
from benchmarks.ours import Person, Vaulted
from benchmarks.race import Race, Runner
from benchmarks.verdicts import Measured, ratio
from vaultlayer import Equality, PersonalData, Principal, personal
from vaultlayer.crypto.envelope import key_id_for
from vaultlayer.keys import tables
from vaultlayer.lifecycle.job import Job, Report
from vaultlayer.lifecycle.reseal import Resealing
from vaultlayer.lifecycle.rewrite import CHUNK, Rewriting
from vaultlayer.lifecycle.rotate_lower import _add_generations
from vaultlayer.orm.entity import Entity, entity_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.sizes import Sizes
    from benchmarks.stores import Store

OFFICER = Principal("officer", roles=["privacy_officer"])
RAW = "raw UPDATE … FROM unnest"
RESEAL = "reseal"


class Order(PersonalData, Base):
    """Many rows of one person."""

    __tablename__ = "vaultlayer_order"
    __subject__ = "person_id"
    id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[int] = mapped_column(sa.ForeignKey("vaultlayer_person.id"), index=True)
    address: Mapped[str] = personal("contact.address", search=Equality("casefold"))


def test_reseal(store: Store, sizes: Sizes, race: Race, report: Callable[..., None]) -> None:
    """Every person has a new key, and all values of all rows are sealed anew under it."""
    if store.database != "PostgreSQL":
        pytest.skip("the budget is PostgreSQL's")
    ours, rows = store.ours, 4 * sizes.rows
    ours.fill(rows)
    reseal, raw = _Reseal(ours), _Raw(ours)
    section = f"reseal, {store.database}, {rows:,} rows of 4 fields"
    runners = [Runner(RAW, raw.run, raw.prepare), Runner(RESEAL, reseal.run, reseal.prepare)]
    times = race(runners, rounds=max(3, sizes.rounds // 3), group=section)
    report(section, f"rate of {RESEAL} : {RAW}", ratio(times[RAW], times[RESEAL]), at_least=0.7)
    spent = []
    for _ in range(max(3, sizes.rounds // 3)):
        reseal.prepare()
        spent.append((_processor(reseal.run), _processor(lambda: _primitives(rows))))
    ours_alone, floor = zip(*spent, strict=True)
    report(section, f"processor time of {RESEAL} : its primitives", ratio(ours_alone, floor))


def test_erase(store: Store, sizes: Sizes, report: Callable[..., None]) -> None:
    """One person with many rows: keys destroyed, values and terms out of every row, recorded."""
    if store.database != "PostgreSQL":
        pytest.skip("the budget is PostgreSQL's")
    ours, rows = store.ours, 2 * sizes.rows
    ours.fill(1)
    Base.metadata.create_all(ours.engine, tables=[Order.__table__])  # type: ignore[list-item]
    ours.vault.databases.attached(ours.engine)
    ours.vault.models = (Person,)
    seconds = []
    for _ in range(3):
        with ours.sessions() as session, ours.acting():
            person = Person(name="Ada", email="ada@example.com", phone="1", address="here")
            session.add(person)
            session.flush()
            session.add_all(
                [Order(person_id=person.id, address=f"{n} St James's Square") for n in range(rows)]
            )
            session.commit()
            subject = person.subject_id
        with ours.vault.access(OFFICER, purpose="legal_obligation"):
            start = time.perf_counter()
            receipt = ours.vault.subjects.erase(subject, reason="article 17")
            seconds.append(time.perf_counter() - start)
        assert receipt.values == rows + 4
    Order.__table__.drop(ours.engine)  # type: ignore[attr-defined]
    section = f"erase, {store.database}, {rows:,} rows"
    report(section, "one person", Measured(max(seconds)), unit="s", at_most=1.0)


def _processor(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _primitives(rows: int) -> None:
    """What resealing can't leave out: two keys a row unwrapped, four values opened and sealed."""
    kek, place, nonce = AESGCM(os.urandom(32)), bytes(80), os.urandom(12)
    wrapped = kek.encrypt(nonce, os.urandom(48), place)
    for start in range(0, rows, CHUNK):
        chunk = []
        for _ in range(start, min(start + CHUNK, rows)):
            pair = []
            for _ in ("former", "active"):
                key = kek.decrypt(nonce, wrapped, place)[:32]
                key_id_for(key)
                pair.append(AESGCM(key))
            chunk.append(pair)
        for former, active in chunk:
            sealed = former.encrypt(nonce, bytes(25), place)  # in place of having been read
            for _ in range(4):
                active.encrypt(nonce, former.decrypt(nonce, sealed, place), place)


class _Reseal:
    def __init__(self, ours: Vaulted) -> None:
        self.ours = ours
        entity = entity_of(sa.inspect(Person))
        assert isinstance(entity, Entity)
        self.entity = entity
        ours.vault.databases.attached(ours.engine)
        ours.vault.models = (Person,)

    def prepare(self) -> None:
        """A new generation of everybody's key, so that every value is under a former one."""
        vault = self.ours.vault
        with vault.access(OFFICER, purpose="legal_obligation") as access:
            job = Job(vault, access, Report("subject"), wait=0, progress=None)
            _add_generations(job, [tables.subject_key.c.created <= job.begun("benchmark")])
            job.ended()

    def rewriting(self) -> Rewriting:
        fields, table = list(self.entity.fields.values()), Person.__table__
        made: Any = Resealing(
            self.ours.vault, self.entity, table, fields, keys=True, terms=False  # type: ignore[arg-type]
        )
        return made.rewriting(self.ours.engine)  # type: ignore[no-any-return]

    def run(self) -> None:
        written = sum(chunk.written for chunk in self.rewriting().run())
        assert written, "nothing was under a former key"


class _Raw:
    """The same UPDATE, a chunk a transaction, of bytes that are there already."""

    def __init__(self, ours: Vaulted) -> None:
        self.ours = ours
        self.names = ("name", "email", "phone", "address")
        self.chunks: list[dict[str, list[Any]]] = []

    def prepare(self) -> None:
        plain = sa.table("vaultlayer_person", sa.column("id"), *map(sa.column, self.names))
        with self.ours.engine.connect() as connection:
            rows = connection.execute(sa.select(plain).order_by(plain.c.id)).all()
        columns = ("id", *self.names)
        self.chunks = [
            dict(zip(columns, map(list, zip(*rows[n : n + CHUNK], strict=True)), strict=True))
            for n in range(0, len(rows), CHUNK)
        ]

    def run(self) -> None:
        given = ", ".join(f"CAST(:{name} AS bytea[])" for name in self.names)
        statement = sa.text(
            f"UPDATE vaultlayer_person t SET {', '.join(f'{n} = d.{n}' for n in self.names)} "
            f"FROM unnest(CAST(:id AS integer[]), {given}) AS d(id, {', '.join(self.names)}) "
            "WHERE t.id = d.id"
        )
        for chunk in self.chunks:
            with self.ours.engine.begin() as connection:
                connection.execute(statement, chunk)
