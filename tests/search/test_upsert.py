"""Upserts on a unique blind index: the row that is there keeps its person, and all of it opens."""

from __future__ import annotations

import importlib

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from vaultlayer import UnsupportedQuery


def upsert(world, rows, *names):
    """INSERT the rows; where the e-mail is there, set these columns from them."""
    dialect = {"mariadb": "mysql"}.get(world.engine.dialect.name, world.engine.dialect.name)
    insert = importlib.import_module(f"sqlalchemy.dialects.{dialect}").insert
    statement = insert(world.Person).values(rows)
    if dialect == "mysql":
        return statement.on_duplicate_key_update({n: statement.inserted[n] for n in names})
    set_ = {name: statement.excluded[name] for name in names}
    return statement.on_conflict_do_update(index_elements=[world.Person.email], set_=set_)


def people(world):
    with world.acting() as session:
        found = session.scalars(select(world.Person).order_by(world.Person.id)).all()
        return {each.email: (each.city, each.phone, each.tier, each.subject_id) for each in found}


def test_new_rows_are_added_and_old_ones_set(any_world):
    world = any_world
    world.add(world.Person(name="Ada Ada", email="ada@example.com", city="Paris", phone="1"))
    (before,) = people(world).values()
    rows = [
        {"name": "Ada X", "email": "ADA@example.com", "city": "London", "phone": "2"},
        {"name": "Eve Eve", "email": "eve@example.com", "city": "Rome", "phone": "3"},
    ]
    rows = [{**row, "tier": "gold"} for row in rows]
    for _ in range(2):
        with world.acting() as session:
            session.execute(upsert(world, rows, "city", "phone", "tier"))
            session.commit()
        found = people(world)
        assert found["ada@example.com"] == ("London", "2", "gold", before[3])
        assert found["eve@example.com"][:3] == ("Rome", "3", "gold")
        assert len(found) == 2
    assert world.names(world.Person.city == "london") == ["Ada"]
    assert world.names(world.Person.city == "paris") == []
    assert world.names(world.Person.phone == "2") == ["Ada"]


def test_while_roots_are_exchanged(any_world, monkeypatch):
    world = any_world
    world.add(world.Person(name="Ada Ada", email="ada@example.com", city="Paris"))

    def die(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("vaultlayer.lifecycle.job.Job.reseal", die)
    with world.officer(), pytest.raises(KeyboardInterrupt):
        world.vault.keys.rotate("index", wait=0)
    world.vault.keys.roots.forget()
    row = {"name": "Ada X", "email": "ada@example.com", "city": "London", "tier": "free"}
    with world.acting() as session:
        session.execute(upsert(world, [row], "city"))
        session.commit()
    assert [each[0] for each in people(world).values()] == ["London"]


def test_a_row_stored_in_between_fails_the_whole_statement(any_world, monkeypatch):
    """Never is a value put under another person's key."""
    world = any_world
    world.add(world.Person(name="Ada Ada", email="ada@example.com", city="Paris"))
    monkeypatch.setattr("vaultlayer.orm.upsert.Upsert.take_over", lambda *_: None)
    row = {"name": "Ada X", "email": "ada@example.com", "city": "London", "tier": "free"}
    with world.acting() as session, pytest.raises(IntegrityError):
        session.execute(upsert(world, [row], "city"))
    assert [each[0] for each in people(world).values()] == ["Paris"]


def test_what_it_cant_do_is_refused(world):
    row = {"name": "Ada X", "email": "ada@example.com", "bio": "words", "tier": "free"}
    for names in (["bio"], ["name"], ["subject_id"]):
        with world.acting() as session, pytest.raises(UnsupportedQuery) as refused:
            session.execute(upsert(world, [row], *names))
        assert "load the row and assign" in refused.value.hint
    assert people(world) == {}
