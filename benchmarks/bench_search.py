"""Looking people up by blind index, beside the same look-ups of plain indexed columns."""

from __future__ import annotations

import time
from functools import partial
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from benchmarks.contenders import Base
from benchmarks.race import Race, Runner
from benchmarks.verdicts import Measured, ratio
from vaultlayer import Equality, PersonalData, Prefix, Words, personal

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.ours import Vaulted
    from benchmarks.sizes import Sizes
    from benchmarks.stores import Store

REAL = 2_000  # people stored through vaultlayer; the others are random bytes of the same lengths
LOOKUPS = 2_000
BATCHES = 5  # of look-ups, whose ratios give the noise


class Sought(PersonalData, Base):
    """Found by blind indexes, and beside them the same values plain, with plain indexes."""

    __tablename__ = "search_sealed"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = personal("contact.email", search=Equality("email"), unique=True)
    name: Mapped[str] = personal("identity.name", search=Prefix(5))
    note: Mapped[str] = personal("content.text", search=Words())
    plain_email: Mapped[str] = mapped_column(unique=True)
    plain_name: Mapped[str] = mapped_column()
    plain_note: Mapped[str] = mapped_column()


class TwoIndexes(PersonalData, Base):
    __tablename__ = "search_two"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = personal("identity.name")
    email: Mapped[str] = personal("contact.email", search=Equality("email"))
    phone: Mapped[str] = personal("contact.phone", search=Equality("digits"))
    address: Mapped[str] = personal("contact.address")


class NoIndex(PersonalData, Base):
    __tablename__ = "search_none"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = personal("identity.name")
    email: Mapped[str] = personal("contact.email")
    phone: Mapped[str] = personal("contact.phone")
    address: Mapped[str] = personal("contact.address")


MINE = [Sought, TwoIndexes, NoIndex]
WORDS = ("w{0}a w{0}b", "common w{1}")


def test_search(store: Store, sizes: Sizes, report: Callable[..., None]) -> None:
    """p50 and p99 of single look-ups that find one row, on PostgreSQL."""
    if store.database != "PostgreSQL":
        pytest.skip("the budget is PostgreSQL's")
    ours, rows = store.ours, sizes.searched
    _make(ours)
    _fill(ours, rows)
    lookups = min(LOOKUPS, sizes.calls)
    section = f"search, PostgreSQL, {rows:,} rows"
    asked: dict[str, tuple[Callable[[int], Any], Callable[[int], Any], float]] = {
        "equality": (
            lambda n: Sought.email == f"Person{n}@Example.com",
            lambda n: Sought.plain_email == f"person{n}@example.com",
            1.2,
        ),
        "prefix": (
            lambda n: Sought.name.startswith(f"{n:05}"),
            lambda n: Sought.plain_name.startswith(f"{n:05}"),
            3.0,
        ),
        "words": (
            lambda n: Sought.note.contains(f"w{n}b W{n}a"),
            lambda n: sa.func.to_tsvector("simple", Sought.plain_note).op("@@")(
                sa.func.to_tsquery("simple", f"w{n}a & w{n}b")
            ),
            3.0,
        ),
    }
    with ours.sessions() as session, ours.acting():
        for what, (sealed, plain, most) in asked.items():
            p50, p99 = [], []
            for batch in range(BATCHES):
                pairs = [
                    (_timed(session, sealed, n), _timed(session, plain, n))
                    for n in range(batch * lookups // BATCHES, (batch + 1) * lookups // BATCHES)
                ]
                mine, theirs = zip(*pairs, strict=True)
                p50.append(median(mine) / median(theirs))
                p99.append(_p99(mine) / _p99(theirs))
            report(section, f"{what}, p50 : plain index", _middle(p50), at_most=most)
            report(section, f"{what}, p99 : plain index", _middle(p99), at_most=most)
    for what, size in _storage(ours).items():
        report(section, f"storage of {what}", Measured(size / rows), unit="bytes a row")
    _drop(ours)


def test_upkeep(store: Store, sizes: Sizes, race: Race, report: Callable[..., None]) -> None:
    """What two equality indexes add to an insert."""
    ours = store.ours
    _make(ours)
    section = f"index upkeep, {store.database}, {sizes.rows:,} rows"
    runners = [
        Runner(cls.__name__, partial(_insert, ours, cls, sizes.rows), partial(_empty, ours, cls))
        for cls in (NoIndex, TwoIndexes)
    ]
    times = race(runners, rounds=max(3, sizes.rounds // 2), group=section)
    more = ratio(times["TwoIndexes"], times["NoIndex"])
    report(section, "two equality indexes : none", more, at_most=1.25)
    _drop(ours)


def _timed(session: Any, condition: Callable[[int], Any], n: int) -> float:
    start = time.perf_counter()
    (row,) = session.scalars(sa.select(Sought).where(condition(n))).all()
    took = time.perf_counter() - start
    session.expunge(row)
    return took


def _p99(times: Any) -> float:
    return quantiles(times, n=100)[98] if len(times) > 1 else times[0]


def _middle(values: list[float]) -> Measured:
    ordered = sorted(values)
    return Measured(median(values), (ordered[-2] - ordered[1]) / 2 if len(values) > 2 else 0.0)


def _make(ours: Vaulted) -> None:
    tables: list[Any] = [cls.__table__ for cls in MINE]
    Base.metadata.create_all(ours.engine, tables=[*tables, Base.metadata.tables["vaultlayer_term"]])


def _drop(ours: Vaulted) -> None:
    tables: list[Any] = [cls.__table__ for cls in MINE]
    Base.metadata.drop_all(ours.engine, tables=[*tables, Base.metadata.tables["vaultlayer_term"]])


def _fill(ours: Vaulted, rows: int) -> None:
    """``REAL`` people stored as an application would, and the rest by the database itself."""
    real = min(REAL, rows)
    with ours.sessions() as session, ours.acting():
        for n in range(real):
            email, name = f"person{n}@example.com", f"{n:05} Person"
            note = f"common w{n}a w{n}b"
            plain = {"plain_email": email, "plain_name": name, "plain_note": note}
            session.add(Sought(email=email, name=name, note=note, **plain))
        session.commit()
    term = "decode(md5(n || '{0}') || md5('{0}' || n), 'hex')"
    number = "decode(md5(n || 'number'), 'hex')"
    with ours.engine.begin() as connection:
        run = connection.exec_driver_sql
        run(
            "INSERT INTO search_sealed (email, email_bidx, name, name_bidx_prefix5, note, "
            "note_bidx_words, subject_id, plain_email, plain_name, plain_note) SELECT v, "
            f"{term.format('e')}, v, {term.format('p')}, v, {number}, gen_random_uuid(), "
            "'person' || n || '@example.com', lpad(mod(n, 100000)::text, 5, 'x') || md5(n::text), "
            "'common w' || n || 'a w' || n || 'b' FROM "
            f"generate_series({real + 1}, {rows}) n, (SELECT decode(repeat('f9', 69), 'hex')) t(v)"
        )
        run(
            "INSERT INTO vaultlayer_term (term, value_number, index_number, tenant, subject) "
            f"SELECT decode(md5(n || 't' || k), 'hex'), {number}, '\\x0011223344556677', '', "
            f"decode(md5(n || 's'), 'hex') FROM generate_series({real + 1}, {rows}) n, "
            "generate_series(1, 3) k"
        )
        run("CREATE INDEX search_plain_name ON search_sealed (plain_name text_pattern_ops)")
        words = "gin (to_tsvector('simple', plain_note))"
        run(f"CREATE INDEX search_plain_note ON search_sealed USING {words}")
    with ours.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")


def _storage(ours: Vaulted) -> dict[str, int]:
    """Bytes on disk: the hidden column (with its length byte) and its database index."""
    rows = "SELECT count(*) FROM search_sealed"
    size = "SELECT pg_relation_size('{}')"
    with ours.engine.connect() as connection:
        count = int(connection.exec_driver_sql(rows).scalar() or 0)

        def of(name: str) -> int:
            return int(connection.exec_driver_sql(size.format(name)).scalar() or 0)

        unique = "search_sealed_email_bidx_key"
        words = "SELECT pg_total_relation_size('vaultlayer_term')"
        shared = int(connection.exec_driver_sql(words).scalar() or 0)
        return {
            "Equality": count * 33 + of(unique),
            "Prefix(5)": count * 33 + of("ix_search_sealed_name_bidx_prefix5"),
            "Words() of 3 words": count * 17 + of("ix_search_sealed_note_bidx_words") + shared,
            "a plain unique e-mail index": of("search_sealed_plain_email_key"),
        }


def _insert(ours: Vaulted, cls: Any, rows: int) -> None:
    with ours.sessions() as session, ours.acting():
        session.add_all(
            [
                cls(name=f"Person {n}", email=f"p{n}@example.com", phone=f"+44 {n}", address="here")
                for n in range(rows)
            ]
        )
        session.commit()


def _empty(ours: Vaulted, cls: Any) -> None:
    with ours.engine.begin() as connection:
        connection.execute(sa.text(f"DELETE FROM {cls.__tablename__}"))
