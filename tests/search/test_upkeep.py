"""Terms follow their values: updates, deletions, erasure, rotation, and an index turned off."""

from __future__ import annotations

import threading
import time
from datetime import date

import pytest
from sqlalchemy import create_engine, delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError as UniqueViolation
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from vaultlayer import (
    Compound,
    PersonalData,
    Principal,
    UnsupportedQuery,
    Vault,
    Words,
    personal,
)
from vaultlayer.keys import states, tables
from vaultlayer.lifecycle import rotate_lower
from vaultlayer.lifecycle.job import Job
from vaultlayer.lifecycle.reseal import Resealing

INDEXED = {
    "person": ("name", "email", "phone", "born", "age", "city", "bio", "home"),
    "purchase": ("note", "street"),
}


def hidden(world, table, pk=None):
    """What the hidden columns of a table hold, row by row."""
    columns = [c.name for c in world.Base.metadata.tables[table].c if "_bidx" in c.name]
    where = f" WHERE id = {pk}" if pk is not None else ""
    return world.sql(f"SELECT {', '.join(columns)} FROM {table}{where} ORDER BY id")


def dangling(world):
    """Terms of the shared table that no row leads to."""
    numbers = set()
    for table, metadata in world.Base.metadata.tables.items():
        for column in metadata.c:
            if column.name.endswith(("_words", "_substring")):
                held = world.sql(f"SELECT {column.name} FROM {table}")
                numbers |= {bytes(value) for (value,) in held if value}
    rows = world.sql("SELECT value_number FROM vaultlayer_term")
    return [bytes(number) for (number,) in rows if bytes(number) not in numbers]


def test_an_update_takes_the_old_terms_along(any_world):
    world = any_world
    world.populate()
    p = world.Person
    before = world.terms()
    with world.acting() as session:
        ada = session.scalars(select(p).where(p.name == "ada lovelace")).one()
        ada.bio, ada.name, ada.age, ada.home = "Poet", "Augusta King", 20, [40.0, 3.0]
        session.commit()
    assert world.names(p.bio.contains("algorithm")) == ["Adam"]
    assert world.names(p.bio.contains("poet")) == ["Augusta"]
    assert world.names(p.name.contains("lov")) == []
    assert world.names(p.name.startswith("aug")) == ["Augusta"]
    assert world.names(p.name == "augusta king", p.born == date(1815, 12, 10)) == ["Augusta"]
    assert world.names(p.name == "ada lovelace", p.born == date(1815, 12, 10)) == []
    assert world.names(p.age < 30) == ["Augusta"]
    assert dangling(world) == []
    assert world.terms() < before
    with world.acting() as session:
        ada = session.scalars(select(p).where(p.name == "augusta king")).one()
        ada.bio = None
        session.commit()
    assert world.names(p.bio.contains("poet")) == []
    assert dangling(world) == []


def test_bulk_updates_and_deletes(any_world):
    world = any_world
    world.populate()
    p, o = world.Person, world.Order
    with world.acting() as session:
        ids = {each.name: each.id for each in session.scalars(select(p))}
        changed = [
            {"id": ids["Adam Smith"], "bio": "economist"},
            {"id": ids["Grace Hopper"], "bio": "admiral"},
        ]
        session.execute(update(p), changed)
        session.commit()
    assert world.names(p.bio.contains("economist")) == ["Adam"]
    assert world.names(p.bio.contains("moth")) == []
    assert dangling(world) == []
    with world.acting() as session:
        with pytest.raises(UnsupportedQuery, match="Compound"):
            session.execute(update(p), [{"id": ids["Adam Smith"], "name": "Adam S"}])
        session.execute(update(p).where(p.email == "grace@example.com").values(bio=None))
        session.execute(delete(o).where(o.note.contains("door")))
        session.commit()
    assert dangling(world) == []
    with world.acting() as session:
        session.delete(session.get(p, ids["Adam Smith"]))
        session.commit()
    assert world.names(p.bio.contains("economist")) == []
    assert dangling(world) == []
    with world.acting() as session:
        session.execute(insert(p), [{"name": "Eve Eve", "bio": "new words"}])
        session.execute(insert(p).values(name="Zoe Zoe", bio="newer words"))
        session.commit()
    assert world.names(p.bio.contains("words")) == ["Eve", "Zoe"]
    with world.acting() as session:
        session.execute(delete(o))
        session.execute(delete(p))
        session.commit()
    assert world.terms() == 0


def test_a_rolled_back_write_leaves_no_terms(world):
    world.populate()
    before = world.terms()
    with world.acting() as session:
        session.add(world.Person(name="Eve Eve", bio="never said"))
        session.flush()
        session.rollback()
    assert world.terms() == before


def test_erasing_takes_every_term_along(any_world):
    """In the erasure's own transaction: undone with it, and none left when it commits."""
    world = any_world
    ids = world.populate()
    p = world.Person
    mine = "SELECT count(*) FROM vaultlayer_term WHERE subject = :s"
    subject = ids["ada"].bytes
    ((before,),) = world.sql(mine, s=subject)
    assert before > 5
    with world.Session() as session, world.officer():
        world.vault.subjects.erase(ids["ada"], reason="article 17", session=session)
        session.rollback()
    assert world.sql(mine, s=subject) == [(before,)]
    with world.officer():
        receipt = world.vault.subjects.erase(ids["ada"], reason="article 17")
    assert receipt.terms > before
    assert world.sql(mine, s=subject) == [(0,)]
    pk = world.sql("SELECT id FROM person WHERE email IS NULL AND name_bidx IS NULL")[0][0]
    assert set(hidden(world, "person", pk)[0]) == {None}
    assert set(hidden(world, "purchase")[0]) == {None}
    assert world.names(p.bio.contains("algorithm")) == ["Adam"]
    assert world.names(p.name.startswith("ada")) == ["Adam"]
    assert dangling(world) == []


def test_erasing_finds_terms_that_no_row_leads_to(world):
    """A row deleted behind SQLAlchemy's back leaves terms; its person's erasure doesn't."""
    ids = world.populate()
    world.sql("DELETE FROM purchase")
    assert len(dangling(world)) == 4
    with world.officer():
        world.vault.subjects.erase(ids["ada"], reason="article 17")
    assert dangling(world) == []


def rotate(world, **options):
    with world.officer():
        return world.vault.keys.rotate("index", wait=0, **options)


def everything_is_found(world):
    p, o = world.Person, world.Order
    return [
        world.names(p.name.startswith("ada")) == ["Ada", "Adam"],
        world.names(p.name.contains("a lovel")) == ["Ada"],
        world.names(p.bio.contains("first algorithm")) == ["Ada"],
        world.names(p.email == "grace@example.com") == ["Grace"],
        world.names(p.born.between(date(1800, 1, 1), date(1899, 12, 31))) == ["Ada", "Adam"],
        world.names(p.home.between((51.3, -0.5), (51.6, 0.1))) == ["Ada"],
        world.names(p.name == "Ada Lovelace", p.born == date(1815, 12, 10)) == ["Ada"],
        world.names(o.note.contains("door"), join=p.orders) == ["Ada"],
    ]


def test_rotation_makes_every_kind_of_term_anew(any_world):
    world = any_world
    world.populate()
    before = hidden(world, "person"), world.terms()
    old = {bytes(term) for (term,) in world.sql("SELECT term FROM vaultlayer_term")}
    assert all(everything_is_found(world))
    report = rotate(world)
    assert report.ok, report
    assert all(everything_is_found(world))
    assert hidden(world, "person")[0][0] != before[0][0][0]
    assert not old & {bytes(term) for (term,) in world.sql("SELECT term FROM vaultlayer_term")}
    assert (world.terms(), dangling(world)) == (before[1], [])
    assert rotate(world, dry_run=True).ok


def test_no_moment_of_a_rotation_misses_a_row(any_world):
    """Half-way, with rows under either root: all are found, also those written meanwhile."""
    world, new = any_world, []
    world.populate()
    for stage in (states.ADDED, states.ACTIVE):
        half_way(world, stage)
        world.vault.keys.roots.forget()
        assert all(everything_is_found(world))
        new.append(f"Zoe-{stage}")
        world.add(world.Person(name=f"{new[-1]} Kebab", bio="At the bazaar", age=17))
        assert world.names(world.Person.bio.contains("bazaar")) == sorted(new)
        assert world.names(world.Person.name.contains("kebab")) == sorted(new)
    assert rotate(world).ok
    assert all(everything_is_found(world))
    assert world.names(world.Person.bio.contains("bazaar")) == sorted(new)
    assert dangling(world) == []


def half_way(world, stage):
    """A rotation that dies before the new root is active, or before terms are made anew."""

    def die(*_, **__):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(*((rotate_lower, "_set") if stage == states.ADDED else (Job, "reseal")), die)
        rotate(world)
    live = world.sql("SELECT count(*) FROM vaultlayer_index_root WHERE state <> 'erased'")
    assert live == [(2,)]


def test_searching_and_writing_through_a_whole_rotation(any_world):
    """Threads search, add and change all the while: no search misses what was there before it."""
    world = any_world
    world.populate()
    p = world.Person
    stored, trouble, over = ["Ada", "Adam"], [], threading.Event()
    done = {"search": 0, "write": 0}

    def search():
        there = set(stored)
        missed = there - set(world.names(p.bio.contains("algorithm")))
        assert not missed, f"words miss {missed}"
        newest = stored[-1]
        assert world.names(p.email == f"{newest}@example.com") == [newest], "e-mail"

    def write():
        new = f"Zoe{done['write']}"
        world.add(p(name=f"{new} New", bio="No such thing", email=f"{new}@example.com"))
        with world.acting() as session:
            person = session.scalars(select(p).where(p.email == f"{new}@example.com")).one()
            person.bio = f"An algorithm, number {new}"
            session.commit()
        stored.append(new)
        time.sleep(0.02)  # or its locks are always there, and what gives way to them never ends

    def all_the_while(what):
        while not over.is_set():
            try:
                what()
            except OperationalError as error:  # SQLite has one writer, and tells the other at once
                if "database is locked" not in str(error):
                    trouble.append(repr(error))
            except Exception as error:
                trouble.append(repr(error))
            done[what.__name__] += 1

    threads = [threading.Thread(target=all_the_while, args=(each,)) for each in (search, write)]
    for thread in threads:
        thread.start()
    try:
        report = rotate(world)
        assert report.ok, report
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert trouble == []
    assert min(done.values()) > 1, done
    assert len(stored) > 2, stored
    search()
    assert dangling(world) == []


def test_what_is_written_while_it_is_checked_is_not_taken_for_stale(
    make_world, postgres_engine, monkeypatch
):
    """A row's terms are read as they were when the row was."""
    world = make_world(postgres_engine)
    world.populate()
    changes, written = Resealing.changes, []

    def late(self, *given):
        if self._sample and self._table.name == "person" and not written:
            with world.acting() as session:
                query = select(world.Person).where(world.Person.email == "ada@example.com")
                written.append(session.scalars(query).one())
                written[0].bio = "Another algorithm"
                session.commit()
        return changes(self, *given)

    monkeypatch.setattr(Resealing, "changes", late)
    report = rotate(world)
    assert (report.ok, len(written)) == (True, 1), report
    assert world.names(world.Person.bio.contains("another algorithm")) == ["Ada"]


def test_unique_values_with_two_live_roots_and_many_writers(any_world):
    """Concurrent writers of one value, while each of two roots may be taken: one row."""
    world = any_world
    world.populate()
    half_way(world, states.ACTIVE)
    world.vault.keys.roots.forget()
    outcomes: list[str] = []
    ready = threading.Barrier(4)

    def write(number):
        ready.wait()
        try:
            world.add(world.Person(name=f"Twin {number}", email="twin@example.com"))
            outcomes.append("stored")
        except Exception as error:
            outcomes.append(type(error).__name__)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("stored") == 1, outcomes
    assert len(world.names(world.Person.email == "twin@example.com")) == 1
    with pytest.raises(UniqueViolation):
        world.add(world.Person(name="Third", email="ada@example.com"))  # under the former root


def test_an_index_that_is_turned_off_leaves_no_terms(world, monkeypatch):
    """``keys reseal`` deletes the terms of an index that no class declares any more."""
    world.populate()
    before = world.terms()
    (words,) = [i for i in field(world, "bio").indexes if i.kind.many]
    mine = "SELECT count(*) FROM vaultlayer_term WHERE index_number = :n"
    ((count,),) = world.sql(mine, n=words.number)
    monkeypatch.setattr(field(world, "bio"), "indexes", ())
    with world.officer():
        assert world.vault.keys.reseal().ok
    assert world.sql(mine, n=words.number) == [(0,)]
    assert world.terms() == before - count


@pytest.mark.parametrize("deed", ["erase", "reseal"])
def test_the_last_index_of_words_turned_off(sqlite_engine, bundle, deed):
    """No class names the shared table any more; what lies in it is found all the same."""

    def thing(search):
        class Base(DeclarativeBase):
            pass

        class Thing(PersonalData, Base):
            __tablename__ = "thing"
            id: Mapped[int] = mapped_column(primary_key=True)
            word: Mapped[str] = personal("content.text", str, search=search)

        return Thing

    before, after = thing(Words()), thing(None)
    before.metadata.create_all(sqlite_engine)
    officer = Principal("olga", roles=["privacy_officer"])
    with Vault.ephemeral(policies=bundle) as vault, Session(sqlite_engine) as session:
        vault.attach(sqlite_engine)
        vault.attach(session)
        vault.create_tables(sqlite_engine)
        with vault.access(Principal("app", roles=["service"]), purpose="provide_service"):
            person = before(word="one two")
            session.add(person)
            session.commit()
            subject = person.subject_id
        session.close()
        count = text("SELECT count(*) FROM vaultlayer_term")
        assert session.scalar(count) == 2
        session.close()
        vault.models = (after,)
        with vault.access(officer, purpose="legal_obligation"):
            if deed == "erase":
                assert vault.subjects.erase(subject, reason="article 17").terms == 2
            else:
                assert vault.keys.reseal().ok
        assert session.scalar(count) == 0


def field(world, name):
    from vaultlayer.orm.entity import entity_of

    return entity_of(world.Person.__mapper__).fields[name]


def test_the_shared_table_is_of_the_models(world):
    table = world.Base.metadata.tables["vaultlayer_term"]
    assert table not in tables.metadata.tables.values()
    assert {"term", "value_number", "index_number", "tenant", "subject"} == set(table.c.keys())


def test_a_compounds_other_field_needs_no_index_of_its_own(policies, tmp_path):
    """Its change changes the compound's term: the old pair is found no more, the new one is."""

    class Own(DeclarativeBase):
        pass

    class Guest(PersonalData, Own):
        __tablename__ = "guest"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str] = personal("identity.name")
        born: Mapped[date] = personal("identity.birth_date", search=Compound("name:casefold"))

    day, engine = date(1815, 12, 10), create_engine(f"sqlite:///{tmp_path}/own.db")
    service = Principal("app", ["service"])
    with Vault.ephemeral(policies=policies) as vault, Session(engine) as session:
        vault.attach(session)
        vault.create_tables(engine)
        Own.metadata.create_all(engine)
        with vault.access(service, purpose="provide_service"):
            guest = Guest(name="Ada", born=day)
            session.add(guest)
            session.commit()
            guest.name = "Grace"
            session.commit()
            pairs = [
                len(session.scalars(select(Guest).where(Guest.name == n, Guest.born == day)).all())
                for n in ("Ada", "grace")
            ]
    engine.dispose()
    assert pairs == [0, 1]
