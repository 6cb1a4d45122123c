"""One person's consent changes: only they are asked about again, and nothing old comes back."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest
from sqlalchemy import func, insert, select

from vaultlayer import AccessDenied, Principal
from vaultlayer.keys.tables import MYSQL
from vaultlayer.ledgers import standing
from vaultlayer.orm import loading
from vaultlayer.standing import Standing
from vaultlayer.watch import CONSENT, MOST

MONA = Principal("mona", ["marketer"])
SHOP = Principal("shop", ["service"])
AL = Principal("al", ["auditor"])


def elsewhere(shop, person, state, number, purpose="direct_marketing"):
    """What another process commits; this one hasn't heard of it yet."""
    row = {"subject": person.bytes, "purpose": purpose, "number": number, "state": state}
    same = dict.fromkeys(("tenant", "text_version", "channel", "proof", "trail"), "")
    with shop.engine.begin() as connection:
        connection.execute(
            insert(standing),
            {**row, **same, "said": "withdraw", "recorded": 0, "recorded_by": "other"},
        )


def consenting(shop, count):
    """People who agreed, and whom nobody asked about yet."""
    people = shop.populate(count)
    for person in people:
        elsewhere(shop, person, "granted", 1)
    shop.vault.standing.forget()
    return people


def asked_about(monkeypatch):
    """Of whom the table was asked, a list for each statement."""
    asked, ask = [], Standing._asked

    def note(standing, connection, purpose, subjects):
        asked.append(list(subjects))
        return ask(standing, connection, purpose, subjects)

    monkeypatch.setattr(Standing, "_asked", note)
    return asked


def test_of_the_others_nobody_is_asked_again(shop, monkeypatch):
    """A message names one of forty: one is asked about, and what they said counts."""
    people = consenting(shop, 40)
    assert len(set(shop.names())) == 40
    asked = asked_about(monkeypatch)
    elsewhere(shop, people[7], "withdrawn", 2)
    shop.vault.watch.publish(CONSENT, people[7].hex)
    names = shop.names()
    assert names[7] == "consent_withdrawn"
    assert "consent_withdrawn" not in names[:7] + names[8:]
    assert asked == [[people[7].bytes]]


@pytest.mark.parametrize("form", ["several", "everybody", "no ids", "too long"])
def test_whatever_a_message_says_who_changed_is_asked_about(shop, monkeypatch, form):
    """Several ids, none, what is no id, and more than a message can carry."""
    people = consenting(shop, 5)
    assert len(set(shop.names())) == 5
    elsewhere(shop, people[1], "withdrawn", 2)
    elsewhere(shop, people[3], "withdrawn", 2)
    changed = f"{people[1].hex} {people[3].hex}"
    payload = {
        "several": changed,
        "everybody": "",
        "no ids": f"{changed} x",
        "too long": changed + " " * MOST,
    }[form]
    asked = asked_about(monkeypatch)
    shop.vault.watch.publish(CONSENT, payload)
    told = ["Ada 0", "consent_withdrawn", "Ada 2", "consent_withdrawn", "Ada 4"]
    assert shop.names() == told
    assert len(asked[0]) == (2 if form == "several" else 5)


def test_where_nobody_needs_to_consent_an_objection_counts(shop, monkeypatch):
    """People remembered whole are so still, but for the one who changed; counting goes on."""
    people = consenting(shop, 3)
    assert shop.names(AL, "security") == ["***"] * 3
    elsewhere(shop, people[1], "objected", 1, "security")
    asked = asked_about(monkeypatch)
    shop.vault.watch.publish(CONSENT, people[1].hex)
    assert shop.names(AL, "security") == ["***", "objected", "***"]
    assert asked == [[people[1].bytes]]
    monkeypatch.setattr("vaultlayer.search.found.MOST_LOOKED_AT", 0)
    shop.vault.watch.publish(CONSENT, people[0].hex)
    with shop.Session() as session, shop.access(SHOP, "provide_service"):
        found = select(func.count()).where(shop.Buyer.email == "ada0@example.com")
        assert session.scalar(found) == 1


def test_more_changes_than_are_told_apart(shop, monkeypatch):
    """Then everybody is asked about again."""
    monkeypatch.setattr("vaultlayer.standing.FEW", 2)
    people = consenting(shop, 5)
    assert len(set(shop.names())) == 5
    for number, person in enumerate(people, 1):
        elsewhere(shop, person, "withdrawn", 2)
        shop.vault.watch.publish(CONSENT, person.hex)
        told = ["consent_withdrawn"] * number + [f"Ada {n}" for n in range(number, 5)]
        assert shop.names() == told


@pytest.mark.parametrize("message", ["named", "everybody"])
def test_what_was_asked_before_a_change_and_answered_after_it_is_not_kept(
    shop, monkeypatch, message
):
    """The answer is under way while withdrawals are committed and heard of: it serves once."""
    people = consenting(shop, 3)
    changed, ask = [people[0], people[2]], Standing._rows_of

    def slow(standing, connection, purpose, subjects):
        rows = ask(standing, connection, purpose, subjects)
        while changed:
            person = changed.pop()
            elsewhere(shop, person, "withdrawn", 2)
            shop.vault.watch.publish(CONSENT, person.hex if message == "named" else "")
        return rows

    monkeypatch.setattr(Standing, "_rows_of", slow)
    with shop.reading() as (_, buyers):
        told = [shop.outcome(buyer) for buyer in [*buyers, *buyers]]
    then = ["consent_withdrawn", "Ada 1", "consent_withdrawn"]
    assert told[1:] == [*then[1:], *then]
    assert shop.names() == then


def test_nobody_is_read_after_they_withdrew_however_many_read_and_change(any_shop):
    """Threads read forty people, others' consents come and go; a few withdraw for good."""
    shop = any_shop
    people = consenting(shop, 40)
    gone, done, wrong, refused = set(), threading.Event(), [], []

    def read():
        while not done.is_set():
            # MariaDB shows a transaction only what was when it began.
            over = set(gone) if shop.engine.dialect.name in MYSQL else gone
            with shop.reading() as (_, buyers):
                for number, buyer in enumerate(buyers):
                    before = number in over
                    outcome = shop.outcome(buyer)
                    if before and outcome != "consent_withdrawn":
                        wrong.append((number, outcome))
                    if number % 10 == 1 and outcome != f"Ada {number}":
                        refused.append(outcome)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for number in range(0, 40, 5):
            elsewhere(shop, people[number], "withdrawn", 2)
            shop.vault.watch.publish(CONSENT, people[number].hex)
            gone.add(number)
            for _ in range(5):  # nothing changes of the others
                shop.vault.watch.publish(CONSENT, people[number + 1].hex)
    finally:
        done.set()
        for reader in readers:
            reader.join(30)
    assert (wrong, refused) == ([], [])


def test_a_transaction_that_sees_the_past_keeps_it_to_itself(any_shop):
    """Where an older view is all that a transaction has, no other access is told of it."""
    shop = any_shop
    if shop.engine.dialect.name == "sqlite":
        pytest.skip("a SQLite transaction that only reads sees what is committed meanwhile")
    people = consenting(shop, 2)
    with shop.Session() as session, shop.access(MONA, "direct_marketing"):
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        old = session.scalars(select(shop.Buyer).order_by(shop.Buyer.id)).all()
        assert [shop.outcome(buyer) for buyer in old] == ["Ada 0", "Ada 1"]
        elsewhere(shop, people[0], "withdrawn", 2)
        shop.vault.watch.publish(CONSENT, people[0].hex)
        assert shop.outcome(old[0]) == "Ada 0"  # all that it can see
        assert shop.names() == ["consent_withdrawn", "Ada 1"]


def test_what_is_not_committed_is_seen_by_nobody_else(any_shop):
    """A consent of a transaction that asked about it serves that one alone."""
    shop = any_shop
    (person,) = consenting(shop, 1)
    elsewhere(shop, person, "withdrawn", 2)
    shop.vault.standing.forget()
    with shop.Session() as session:
        with shop.access(SHOP, "provide_service"):
            shop.vault.consent.grant(person, "direct_marketing", session=session)
        with shop.access(MONA, "direct_marketing"):
            assert shop.outcome(session.scalars(select(shop.Buyer)).one()) == "Ada 0"
            known = shop.vault.standing.remembered("direct_marketing")
            assert known.reason(person.bytes) != ""
        session.rollback()
    assert shop.names() == ["consent_withdrawn"]


def test_a_batch_tells_each_state_as_the_ledger_has_it(any_shop):
    """Said in other processes: agreed, in two steps too, and all that is no agreement."""
    shop = any_shop
    said = [
        ["granted"], ["asked", "granted"], ["granted", "withdrawn"], ["refused"], ["asked"], [],
        ["granted", "objected"], ["granted"], ["granted"],
    ]  # fmt: skip
    people = shop.populate(len(said))
    for person, states in zip(people, said, strict=True):
        for number, state in enumerate(states, 1):
            elsewhere(shop, person, state, number)
    elsewhere(shop, people[7], "restricted", 1, purpose="")
    elsewhere(shop, people[8], "restricted", 1, purpose="")
    elsewhere(shop, people[8], "free", 2, purpose="")
    shop.vault.standing.forget()
    told = [
        "Ada 0", "Ada 1", "consent_withdrawn", "consent_refused", "consent_missing",
        "consent_missing", "objected", "restricted", "Ada 8",
    ]  # fmt: skip
    assert shop.names() == told
    shop.say("grant", people[0])  # this process knows a number: all are asked about by numbers
    shop.vault.standing.forget()
    assert shop.names() == told


@pytest.mark.parametrize("moment", ["located", "begun"])
def test_a_change_heard_of_while_a_row_is_looked_at_counts_for_the_next_reading(
    shop, monkeypatch, moment
):
    """Another thread tells of it after the answer was found, and before it is written down."""
    (person,) = consenting(shop, 1)
    where, name = (loading, "locate") if moment == "located" else (Standing, "remembered")
    find, told = getattr(where, name), []

    def find_and_hear(*args):
        found = find(*args)
        if not told:
            told.append(person)
            elsewhere(shop, person, "withdrawn", 2)
            shop.vault.watch.publish(CONSENT, person.hex)
        return found

    with shop.Session() as session, shop.vault.access(MONA, purpose="direct_marketing") as access:
        row = session.scalars(select(shop.Buyer)).one()
        assert row.name
        access.look_again()
        monkeypatch.setattr(where, name, find_and_hear)
        with suppress(AccessDenied):
            row.name  # noqa: B018 it was under way
        assert told
        with pytest.raises(AccessDenied, match="consent_withdrawn"):
            row.name  # noqa: B018
