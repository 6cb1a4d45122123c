"""Sorting by sealed values: within a bound, in the collation asked for, recorded as reading."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from vaultlayer import AccessDenied, ConfigurationError, UnsupportedQuery

NAMES = ["Özil", "adam", "Zoë", "Adam", "Zoe", "ähre", "Bob"]


@pytest.fixture
def named(world):
    """On SQLite: the database sorts nothing of this."""
    world.add(*[world.Person(name=name, age=n) for n, name in enumerate(NAMES)])
    return world


def ordered(world, *fields, role=(), **options):
    with world.Session() as session, world.access(*role) as access:
        query = select(world.Person)
        rows = access.sorted(query, *fields, session=session, **{"limit": 10, **options})
        return [row.name for row in rows]


def test_in_the_collation_asked_for(named):
    p = named.Person
    told = ["adam", "Adam", "ähre", "Bob", "Özil", "Zoe", "Zoë"]
    assert ordered(named, p.name) == told
    assert ordered(named, p.name, descending=True) == told[::-1]
    assert ordered(named, p.name, collation="binary") == sorted(NAMES)
    last = {"ä": "zz1", "ö": "zz2"}  # as in Swedish
    swedish = lambda name: "".join(last.get(c, c) for c in name.lower())  # noqa: E731
    assert ordered(named, p.name, collation=swedish)[-2:] == ["ähre", "Özil"]
    assert ordered(named, p.age) == NAMES
    with pytest.raises(ConfigurationError, match="no collation"):
        ordered(named, p.name, collation="klingon")


def test_several_fields_and_nulls_last(named):
    named.add(named.Person(name="Bob", age=1), named.Person(name="Nil"))
    told = ordered(named, named.Person.age, named.Person.name)
    assert told[:3] == ["Özil", "adam", "Bob"]
    assert told[-1] == "Nil"


def test_no_more_is_opened_than_was_declared(named):
    with pytest.raises(UnsupportedQuery, match="more than 6"):
        ordered(named, named.Person.name, limit=6)
    assert named.events("read") == []
    for limit in (0, -1, "all", True):
        with pytest.raises(ConfigurationError, match="bound"):
            ordered(named, named.Person.name, limit=limit)
    with named.access() as access, pytest.raises(ConfigurationError, match="session"):
        access.sorted(select(named.Person), named.Person.name, limit=3)


def test_it_is_recorded_as_the_reading_it_is(named):
    with named.Session() as session, named.access() as access:
        access.sorted(select(named.Person), named.Person.name, session=session, limit=7)
    (read,) = named.events("read")
    assert (read["fields"], read["count"], len(read["refs"])) == (["name"], 7, 7)


def test_who_may_not_read_may_not_sort(named):
    with pytest.raises(AccessDenied):
        ordered(named, named.Person.secret, role=("support", "customer_service"))
    with pytest.raises(UnsupportedQuery, match="masked"):
        ordered(named, named.Person.phone, role=("support", "customer_service"))


def test_order_by_names_it(named):
    with named.acting() as session, pytest.raises(UnsupportedQuery) as refused:
        session.scalars(select(named.Person).order_by(named.Person.name))
    assert "access.sorted" in refused.value.hint
