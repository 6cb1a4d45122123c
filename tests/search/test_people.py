"""A search is an action: decided, recorded with the number found, and finds nobody who objects."""

from __future__ import annotations

import pytest
from sqlalchemy import delete, exists, func, insert, select, update

from vaultlayer import AccessDenied, NoAccess, UnsupportedQuery
from vaultlayer.ledgers import standing

MARKETER = ("marketer", "direct_marketing")


def asked(world):
    """Ada agreed; Grace agreed and then objected; Adam was never asked."""
    ids = world.populate()
    with world.acting() as session:
        adam = session.scalars(select(world.Person).where(world.Person.name == "adam smith")).one()
        adam.city = "London"
        session.commit()
    with world.access():
        consent = world.vault.consent
        said = {"text_version": "1", "channel": "web", "proof": "form 1"}
        for who in ("ada", "grace"):
            consent.grant(ids[who], "direct_marketing", **said)
        consent.object(ids["grace"], "direct_marketing", **said)
    return world, ids


@pytest.fixture
def marketing(world):
    return asked(world)


@pytest.fixture
def any_marketing(any_world):
    return asked(any_world)


def test_a_marketing_list_has_only_people_who_agreed(any_marketing):
    world, ids = any_marketing
    london = world.Person.city == "london"
    with world.acting(*MARKETER) as session:
        found = session.scalars(select(world.Person).where(london)).all()
        assert [each.subject_id for each in found] == [ids["ada"]]
        listed = session.execute(select(world.Person.email, world.Person.city).where(london)).all()
        assert [city for _, city in listed] == ["London"]
        joined = select(world.Order).join(world.Order.person).where(london)
        assert len(session.scalars(joined).all()) == 1
    assert world.names(london) == ["Ada", "Adam", "Grace"]  # another purpose


def test_an_objection_counts_at_once(marketing):
    world, ids = marketing
    london = select(world.Person).where(world.Person.city == "london")
    with world.acting(*MARKETER) as session:
        assert len(session.scalars(london).all()) == 1
        with world.access():
            world.vault.consent.object(
                ids["ada"], "direct_marketing", text_version="1", channel="web", proof="call 2"
            )
        assert session.scalars(london).all() == []


WITHOUT_ROWS = {
    "count": lambda w, c: select(func.count()).select_from(w.Person).where(c),
    "exists": lambda w, c: select(exists().where(c)),
    "other columns": lambda w, c: select(w.Person.id).where(c),
    "subquery": lambda w, c: select(w.Order.id).where(
        w.Order.person_id.in_(select(w.Person.id).where(c))
    ),
}


def test_what_has_no_rows_to_leave_out_is_refused(any_marketing):
    """Where one of those people would be in the answer; where nobody would, it is given."""
    world, _ = any_marketing
    for way, build in WITHOUT_ROWS.items():
        with world.acting(*MARKETER) as session:
            with pytest.raises(AccessDenied) as refused:
                session.execute(build(world, world.Person.city == "london")).all()
            assert refused.value.reason in ("objected", "consent_missing"), way
            session.execute(build(world, world.Person.city == "paris")).all()


def test_updates_and_deletes_by_a_search_are_held_to_it_too(any_marketing):
    world, ids = any_marketing
    row = {"subject": ids["ada"].bytes, "purpose": "", "number": 1, "tenant": ""}
    row |= {
        "said": "restrict",
        "state": "restricted",
        "text_version": "",
        "channel": "",
        "proof": "",
    }
    with world.engine.begin() as connection:
        connection.execute(
            insert(standing), {**row, "recorded": 0, "recorded_by": "olga", "trail": ""}
        )
    world.vault.standing.forget()
    p = world.Person
    with world.acting() as session:
        for statement in (
            update(p).where(p.email == "ada@example.com").values(tier="gold"),
            delete(p).where(p.email == "ada@example.com"),
        ):
            with pytest.raises(AccessDenied) as refused:
                session.execute(statement)
            assert refused.value.reason == "restricted"
        session.execute(update(p).where(p.email == "grace@example.com").values(tier="gold"))
        assert session.scalars(select(p).where(p.email == "ada@example.com")).all() == []
        assert len(session.scalars(select(p).where(p.name.contains("ace"))).all()) == 1


def test_too_many_people_to_look_at(marketing, monkeypatch):
    world, _ = marketing
    monkeypatch.setattr("vaultlayer.search.found.MOST_LOOKED_AT", 1)
    with world.acting(*MARKETER) as session, pytest.raises(UnsupportedQuery, match="more than"):
        session.scalar(select(func.count()).where(world.Person.city == "london"))


def test_the_record_has_field_and_number_and_no_value(world):
    world.populate()
    with world.acting() as session:
        p = world.Person
        session.scalars(select(p).where(p.city == "london")).all()
        session.scalars(select(p).where(p.city.in_(["paris", "rome"]))).all()
        session.scalars(select(p).where(p.bio.contains("first algorithm"))).all()
    events = [e for e in world.events("search") if "city" in e["fields"] or "bio" in e["fields"]]
    told = [(e["fields"], e.get("reason_code"), e["count"]) for e in events]
    assert sorted(told) == [
        (["bio"], "found", 1),
        (["bio"], "rule", 1),
        (["city"], "found", 2),
        (["city"], "rule", 3),  # values searched for
    ]
    assert not any("london" in str(event).lower() for event in events)


def test_who_may_not_search_finds_nothing_and_is_recorded(world):
    world.populate()
    p = world.Person
    world.sent.clear()
    with world.acting("support", "customer_service") as session:
        for condition in (p.bio.contains("moth"), p.name.startswith("ada"), p.age > 3):
            with pytest.raises(AccessDenied) as refused:
                session.scalars(select(p).where(condition)).all()
            assert refused.value.reason in ("role", "purpose_category")
        assert len(session.scalars(select(p).where(p.email == "ada@example.com")).all()) == 1
    denied = [e for e in world.events("search") if e["decision"] == "deny"]
    assert sorted(e["fields"][0] for e in denied) == ["age", "bio", "name"]
    with world.Session() as session, pytest.raises(NoAccess):
        session.scalars(select(p).where(p.email == "ada@example.com")).all()
