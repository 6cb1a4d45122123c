"""Every kind answers what it is for, exactly, on each database; the rest refuses by name."""

from __future__ import annotations

from datetime import date

import pytest
from sqlalchemy import and_, exists, func, or_, select

from vaultlayer import UnsupportedQuery, VaultLayerError


def test_every_operator(any_world):
    world = any_world
    world.populate()
    p = world.Person
    asked = [
        (p.email == "ADA@example.com ", ["Ada"]),
        (p.email.in_(["ada@example.com", "grace@example.com", "x@x"]), ["Ada", "Grace"]),
        (p.email != "ada@example.com", ["Adam", "Grace"]),
        (p.phone == "+442079460000", ["Ada"]),
        (p.phone == "(020) 7946-0001", ["Grace"]),
        (p.name.startswith("ada"), ["Ada", "Adam"]),
        (p.name.startswith("ADA "), ["Ada"]),
        (p.name.startswith("Adam "), ["Adam"]),
        (p.name.startswith("adam s"), ["Adam"]),
        (p.name.startswith("adam x"), []),
        (~p.name.startswith("ada"), ["Grace", "Nil"]),
        (p.name.contains("lov"), ["Ada"]),
        (p.name.contains("ACE"), ["Ada", "Grace"]),
        (p.name.contains("a lovel"), ["Ada"]),
        (p.name.contains("e hopper"), ["Grace"]),
        (p.name.contains("lovel hop"), []),
        (p.bio.contains("algorithm"), ["Ada", "Adam"]),
        (p.bio.contains("first ALGORITHM"), ["Ada"]),
        (p.bio.contains("o'brien"), ["Ada"]),
        (p.bio.contains("algo"), []),
        (p.born.between(date(1800, 1, 1), date(1899, 12, 31)), ["Ada", "Adam"]),
        (p.born.between(date(1815, 12, 10), date(1823, 6, 15)), ["Ada"]),
        (p.born < date(1823, 6, 17), ["Ada", "Adam"]),
        (p.born <= date(1815, 12, 10), ["Ada"]),
        (p.born > date(1823, 6, 16), ["Grace"]),
        (p.born >= date(1906, 12, 9), ["Grace"]),
        (p.age >= 45, ["Adam", "Grace"]),
        (p.age > 45, ["Adam"]),
        (p.age.between(30, 44), ["Ada"]),
        (p.age == 36, ["Ada"]),
        (p.age.in_([36, 45]), ["Ada", "Grace"]),
        (p.home.between((51.3, -0.5), (51.6, 0.1)), ["Ada"]),
        (p.home.between((51.0, -1.0), (52.0, 0.0)), ["Ada", "Grace"]),
        (and_(p.name == "ADA lovelace", p.born == date(1815, 12, 10)), ["Ada"]),
        (and_(p.name == "ada lovelace", p.born == date(1823, 6, 16)), []),
        (p.phone.is_(None) & p.email.is_not(None), ["Adam"]),
        (or_(p.email == "ada@example.com", p.name.startswith("gra")), ["Ada", "Grace"]),
        ((p.age > 17) & p.name.contains("ada"), ["Ada", "Adam"]),
    ]
    told = [world.names(condition) for condition, _ in asked]
    assert told == [expected for _, expected in asked]


def test_joins_subqueries_exists_and_counts(any_world):
    world = any_world
    world.populate()
    p, o = world.Person, world.Order
    assert world.names(o.note.contains("door"), join=p.orders) == ["Ada"]
    assert world.names(o.street.startswith("12 "), join=p.orders) == ["Ada"]
    assert world.names(p.orders.any(o.note.contains("leave door"))) == ["Ada"]
    assert world.names(p.id.in_(select(p.id).where(p.bio.contains("algorithm")))) == ["Ada", "Adam"]
    with world.acting() as session:
        door = o.person.has(p.name.startswith("ada"))
        assert session.scalar(select(func.count()).select_from(o).where(door)) == 1
        assert session.scalar(select(exists().where(p.age >= 65)))
        assert session.query(p).filter(p.name.contains("ace")).count() == 2
        assert session.scalars(select(p.tier).where(p.city == "london")).all() == ["free", "free"]
        rows = session.execute(select(p.name, p.age).where(p.bio.contains("moth"))).all()
        assert rows == [("Grace Hopper", 45)]
        with world.engine.connect() as connection:
            table = p.__table__
            counted = select(func.count()).where(table.c.email == "ada@example.com")
            assert connection.scalar(counted) == 1


REFUSED = {
    "too short a prefix": (lambda p: p.name.startswith("ad"), "longer"),
    "too short a part": (lambda p: p.name.contains("ad"), "longer"),
    "only spaces": (lambda p: p.name.contains("   "), "longer"),
    "a prefix without an index": (lambda p: p.email.startswith("ada"), "Prefix"),
    "a part without an index": (lambda p: p.email.contains("ada"), "Substring"),
    "a range without an index": (lambda p: p.email < "b", "Buckets"),
    "one field of a compound": (lambda p: p.born.in_([date(1815, 12, 10)]).is_(True), ""),
    "not the words": (lambda p: p.bio == "moth", "Equality"),
    "like": (lambda p: p.name.like("ada%"), "Prefix"),
    "no words": (lambda p: p.bio.contains("!?"), "longer"),
    "not equal by band": (lambda p: p.age != 36, "compare it with a value"),
    "another column": (lambda p: p.name.startswith(p.email), "Prefix"),
    "a null prefix": (lambda p: p.name.startswith(None), ""),
    "another type": (lambda p: p.age >= "old", ""),
    "an inverted box": (lambda p: p.home.between((52.0, 0.0), (51.0, 1.0)), "ask for two"),
    "the whole map": (lambda p: p.home.between((-90.0, -180.0), (90.0, 180.0)), "smaller"),
}


def test_what_no_index_serves_refuses(world):
    """When the statement is built, or before it is sent; the message shows nothing of the value."""
    world.populate()
    for what, (build, remedy) in REFUSED.items():
        world.sent.clear()
        with world.acting() as session, pytest.raises(VaultLayerError) as refused:
            session.scalars(select(world.Person).where(build(world.Person))).all()
        assert not any(sent.startswith("SELECT person") for sent in world.sent), what
        assert remedy.lower() in refused.value.hint.lower(), what
        assert not {"ada", "36", "moth"} & {*str(refused.value).lower().split()}, what


COARSE = {
    "count": lambda w, s, c: s.scalar(select(func.count()).select_from(w.Person).where(c)),
    "query.count": lambda w, s, c: s.query(w.Person).filter(c).count(),
    "exists": lambda w, s, c: s.scalar(select(exists().where(c))),
    "subquery": lambda w, s, c: s.scalars(
        select(w.Person).where(w.Person.id.in_(select(w.Person.id).where(c)))
    ).all(),
    "or": lambda w, s, c: s.scalars(select(w.Person).where(or_(c, w.Person.id == 1))).all(),
    "not": lambda w, s, c: s.scalars(select(w.Person).where(~c)).all(),
    "limit": lambda w, s, c: s.scalars(select(w.Person).where(c).limit(1)).all(),
    "first": lambda w, s, c: s.query(w.Person).filter(c).first(),
    "distinct": lambda w, s, c: s.scalars(select(w.Person).where(c).distinct()).all(),
    "columns": lambda w, s, c: s.scalars(select(w.Person.id).where(c)).all(),
    "delete": lambda w, s, c: s.execute(w.Person.__table__.delete().where(c)),
    "core": lambda w, s, c: s.connection().execute(select(w.Person.__table__).where(c)).all(),
}


def test_a_coarse_index_without_rows_to_open_refuses(world):
    world.populate()
    for way, send in COARSE.items():
        with world.acting() as session, pytest.raises(UnsupportedQuery) as refused:
            send(world, session, world.Person.name.startswith("adam s"))
        assert "select the mapped class" in refused.value.hint, way
        assert "adam" not in str(refused.value).lower(), way


def test_candidates_are_opened_and_recorded(world):
    """Each candidate's value is a read of its person; what doesn't fit isn't handed out."""
    world.populate()
    with world.acting() as session:
        found = session.scalars(
            select(world.Person).where(world.Person.name.startswith("ada lov"))
        ).all()
        assert len(found) == 1
        session.expunge_all()
    (read,) = [e for e in world.events("read") if e["fields"] == ["name"]]
    assert (read["count"], read["decision"]) == (1, "allow")  # "ada l" leaves Adam out by itself
    with world.acting() as session:
        early = world.Person.born <= date(1823, 1, 1)
        assert len(session.scalars(select(world.Person).where(early)).all()) == 1
    (read,) = [e for e in world.events("read") if e["fields"] == ["born"]]
    assert (read["count"], len(read["refs"])) == (2, 2)


def test_who_may_not_read_gets_no_candidates(world):
    """Support sees birthdays masked, and may not search them: neither shows a birthday."""
    world.populate()
    with world.acting("support", "customer_service") as session, pytest.raises(VaultLayerError):
        session.scalars(select(world.Person).where(world.Person.born < date(1816, 1, 2))).all()


def test_aliases_and_yield_per(world):
    from sqlalchemy.orm import aliased

    world.populate()
    other = aliased(world.Person)
    with world.acting() as session:
        query = select(other).where(other.name.startswith("adam sm"))
        assert [each.name for each in session.scalars(query)] == ["Adam Smith"]
        lazy = select(world.Person).where(world.Person.age > 30).execution_options(yield_per=1)
        assert len(list(session.scalars(lazy))) == 3
        pair = select(world.Person, other).join(other, other.id == world.Person.id)
        rows = session.execute(pair.where(other.name.startswith("adam sm"))).all()
        assert [(a.name, b.name) for a, b in rows] == [("Adam Smith", "Adam Smith")]
