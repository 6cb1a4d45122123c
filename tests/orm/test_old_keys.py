"""What is known grows old: keys and consents are fetched anew, for many rows in one statement."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from vaultlayer import read_path

PEOPLE = 40


@pytest.fixture
def sessions(world, m, monkeypatch):
    """The vault knows sessions and no engine: keys come over the reader's own connection."""
    with world.acting() as session:
        session.add_all([m.Customer(name=f"{n} Geheim", phone=f"{n}") for n in range(PEOPLE)])
        session.commit()
    monkeypatch.setattr(world.vault.databases, "engine", None)
    return world.Session


def by_attribute(session, access, m):
    return [(each.name, each.phone) for each in session.scalars(select(m.Customer)).all()]


def by_column(session, access, m):
    return [tuple(row) for row in session.execute(select(m.Customer.name, m.Customer.phone))]


def by_reveal(session, access, m):
    rows = session.scalars(select(m.Customer)).all()
    return access.reveal(rows, m.Customer.name, m.Customer.phone)


WAYS = [by_attribute, by_column, by_reveal]


@pytest.mark.parametrize("read", WAYS)
def test_expired_keys_are_fetched_together(world, m, sessions, read):
    with sessions() as session, world.access() as access:
        before = read(session, access, m)
        session.expunge_all()
        for key in world.vault.keys.cached.values():
            key.expires = 0.0
        access.look_again()
        world.sent.clear()
        assert read(session, access, m) == before
    assert len([sent for sent, _ in world.sent if "FROM vaultlayer_subject_key" in sent]) == 1
    assert len(before) >= PEOPLE


@pytest.mark.parametrize("read", WAYS[1:])
@pytest.mark.parametrize("what", ["keys", "people"])
def test_what_grows_old_while_a_batch_is_opened(world, m, sessions, monkeypatch, read, what):
    """After its keys were fetched, and before they are used: the session still serves."""
    fetch = read_path.fetch_missing

    def fetch_and_age(access, session, values):
        fetch(access, session, values)
        if what == "keys":
            access.cached_keys.clear()
        else:
            access.people = type(access.people)(0.0)

    with sessions() as session, world.access() as access:
        before = read(session, access, m)
        session.expunge_all()
        monkeypatch.setattr(read_path, "fetch_missing", fetch_and_age)
        assert read(session, access, m) == before
