"""Consent and objection: who has not agreed is not opened, from the next decision on."""

from __future__ import annotations

import threading
from uuid import uuid4

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from vaultlayer import AccessDenied, ConfigurationError, NoAccess, Principal
from vaultlayer.ledgers import standing
from vaultlayer.privacy.ledger import digest

MONA = Principal("mona", ["marketer"])
SAM = Principal("sam", ["support"])
SHOP = Principal("shop", ["service"])


def test_each_thing_said_counts_at_once_and_for_its_person_alone(any_shop):
    """Granted opens; refused, withdrawn, objected and never asked are four reasons."""
    shop, people = any_shop, any_shop.populate()
    assert shop.names() == ["consent_missing"] * 5
    shop.say("grant", people[0])
    shop.say("refuse", people[1])
    shop.say("grant", people[2])
    shop.say("withdraw", people[2])
    shop.say("object", people[3])
    told = ["Ada 0", "consent_refused", "consent_withdrawn", "objected", "consent_missing"]
    assert shop.names() == told
    assert shop.names(SAM, "customer_service") == [f"Ada {n}" for n in range(5)]


def test_reveal_columns_children_and_writes_go_the_same_way(shop):
    """One of a batch who may not be touched refuses the batch; nothing of it is opened."""
    people = shop.populate(3)
    shop.rule("p, marketer, identity.name, write, direct_marketing, allow")
    for person in people[:2]:
        shop.say("grant", person)
    with shop.reading() as (access, buyers):
        assert access.reveal(buyers[:2], shop.Buyer.name) == ["Ada 0", "Ada 1"]
        with pytest.raises(AccessDenied) as refused:
            access.reveal(buyers, shop.Buyer.name)
        assert refused.value.reason == "consent_missing"
        session = shop.Session.object_session(buyers[0])
        two = select(shop.Buyer.name).where(shop.Buyer.id <= 2).order_by(shop.Buyer.id)
        assert session.scalars(two).all() == ["Ada 0", "Ada 1"]
        with pytest.raises(AccessDenied):
            session.scalars(select(shop.Buyer.name)).all()
        buyers[0].name = "Ada Lovelace"
        session.flush()
        buyers[2].name = "Eve"
        with pytest.raises(AccessDenied) as refused:
            session.flush()
        assert refused.value.reason == "consent_missing"
    reads = shop.events("read")
    opened = {ref for each in reads if each["decision"] == "allow" for ref in each["refs"]}
    denied = {ref for each in reads if each["decision"] == "deny" for ref in each["refs"]}
    assert len(opened) == 2
    assert len(denied) == 1
    assert not opened & denied


def test_an_objection_stops_what_needs_no_consent_and_a_grant_lifts_it(shop):
    """Neither a refusal nor a withdrawal takes an objection back."""
    (person,) = shop.populate(1)
    auditor = Principal("al", ["auditor"])
    assert shop.names(auditor, "security") == ["***"]
    shop.say("object", person, "security")
    assert shop.names(auditor, "security") == ["objected"]
    for said in ("refuse", "withdraw"):
        shop.say(said, person, "security")
        assert shop.names(auditor, "security") == ["objected"]
        assert shop.vault.consent.state(person, "security") == "objected"
    shop.say("grant", person, "security")
    assert shop.names(auditor, "security") == ["***"]
    with pytest.raises(ConfigurationError, match="nobody can object"):
        shop.say("object", person, "customer_service")


def test_a_change_counts_within_an_open_access(shop):
    """Also for the row that was read last, and for an objection where none were."""
    (person,) = shop.populate(1)
    shop.say("grant", person)
    with shop.reading() as (access, [buyer]):
        assert buyer.name == buyer.name == "Ada 0"
        assert access.can(shop.Buyer.name, buyer)
        shop.say("withdraw", person)
        assert shop.outcome(buyer) == "consent_withdrawn"
        assert access.deny_reason(shop.Buyer.name, buyer) == "consent_withdrawn"
        shop.say("grant", person)
        assert buyer.name == "Ada 0"
    auditor = Principal("al", ["auditor"])
    with shop.reading(auditor, "security") as (_, [buyer]):
        assert buyer.name == "***"
        shop.say("object", person, "security")
        assert shop.outcome(buyer) == "objected"


def test_a_withdrawal_counts_in_the_middle_of_a_stream(shop):
    """Rows that the database has sent already are refused from then on."""
    people = shop.populate(6)
    for person in people:
        shop.say("grant", person)
    told = []
    with shop.Session() as session, shop.access(MONA, "direct_marketing"):
        streamed = select(shop.Buyer).order_by(shop.Buyer.id).execution_options(yield_per=3)
        for buyer in session.scalars(streamed):
            told.append(shop.outcome(buyer))
            if len(told) == 2:
                shop.say("withdraw", people[2])
                shop.say("object", people[4])
    assert told == ["Ada 0", "Ada 1", "consent_withdrawn", "Ada 3", "objected", "Ada 5"]


def test_people_are_asked_for_in_batches_never_row_by_row(shop):
    """One statement for many; for a purpose without consent, one for all who object."""
    people = shop.populate(40)
    for person in people:
        shop.say("grant", person)
    shop.vault.keys.forget()
    shop.vault.standing.forget()  # nobody changed lately
    shop.standing_statements()
    assert shop.names() == [f"Ada {n}" for n in range(40)]
    assert shop.standing_statements() == 1
    assert shop.names() == [f"Ada {n}" for n in range(40)]  # known, the keys too
    assert shop.standing_statements() == 0
    with shop.reading() as (access, buyers):
        access.reveal(buyers, shop.Buyer.name, shop.Buyer.email)
    assert shop.standing_statements() == 0
    shop.vault.standing.forget()  # keys at hand, people not
    shop.standing_statements()
    with shop.reading() as (access, buyers):
        access.reveal(buyers, shop.Buyer.name)
    assert shop.standing_statements() == 1
    shop.names(SAM, "customer_service")
    assert shop.standing_statements() == 1
    shop.vault.keys.forget()
    shop.names(SAM, "customer_service")
    assert shop.standing_statements() == 0


def test_more_people_than_are_remembered_whole_are_asked_for_in_batches(shop, monkeypatch):
    """Where many object, the rest still reads, and each objection counts."""
    monkeypatch.setattr("vaultlayer.standing.FEW", 2)
    monkeypatch.setattr("vaultlayer.keys.many.BATCH", 2)
    people = shop.populate(7)
    auditor = Principal("al", ["auditor"])
    for person in people[:5]:
        shop.say("object", person, "security")
    assert shop.names(auditor, "security") == ["objected"] * 5 + ["***"] * 2


def test_more_people_than_are_remembered_one_by_one(shop, monkeypatch):
    """Knowing begins anew, again and again, and everybody's word counts."""
    monkeypatch.setattr("vaultlayer.standing.MOST", 2)
    monkeypatch.setattr("vaultlayer.orm.fetching.BATCH", 2)
    for person in shop.populate(7)[::2]:
        shop.say("grant", person)
    shop.vault.standing.forget()
    names = shop.names()
    assert [name.startswith("Ada") for name in names] == [True, False] * 3 + [True]
    assert len(shop.vault.standing.remembered("direct_marketing").known) <= 5


def test_what_is_said_needs_somebody_who_may_administer(shop):
    """Without an access, with the wrong role, or for people of another tenant: refused."""
    (person,) = shop.populate(1)
    with pytest.raises(NoAccess):
        shop.vault.consent.grant(person, "direct_marketing")
    with shop.access(SAM, "customer_service"), pytest.raises(AccessDenied) as refused:
        shop.vault.consent.grant(person, "direct_marketing")
    assert refused.value.reason == "role"
    [event] = shop.events("administer")
    assert (event["entity"], event["fields"]) == ("consent", ["direct_marketing"])
    assert event["decision"] == "deny"
    assert shop.names() == ["consent_missing"]
    with shop.access(SHOP, "provide_service"), pytest.raises(ConfigurationError, match="no person"):
        shop.vault.consent.grant(uuid4(), "direct_marketing")


@pytest.mark.parametrize(
    ("arguments", "how", "says"),
    [
        (("no_such",), {}, "not declared"),
        (("direct_marketing",), {"channel": "x" * 65}, "channel is not a text"),
        (("direct_marketing",), {"proof": b"scan"}, "proof is not a text"),
        (("direct_marketing",), {"text_version": "1\n2"}, "text_version is not a text"),
    ],
)
def test_what_is_not_understood_is_refused(shop, arguments, how, says):
    """Nothing is written then."""
    (person,) = shop.populate(1)
    with pytest.raises(ConfigurationError, match=says):
        shop.say("grant", person, *arguments, **how)
    with pytest.raises(ConfigurationError, match="is a UUID"):
        shop.say("grant", str(person))
    with shop.engine.connect() as connection:
        assert connection.execute(select(standing)).all() == []


def test_the_ledger_only_grows_and_each_row_is_told_of(any_shop):
    """Four rows for four things said; the log has who, what and the row's digest."""
    shop = any_shop
    (person,) = shop.populate(1)
    shop.say("grant", person, text_version="2026-01", channel="web", proof="form 4711")
    shop.say("withdraw", person, channel="letter")
    shop.say("object", person)
    shop.say("grant", person, "survey")
    with shop.engine.connect() as connection:
        order = (standing.c.purpose, standing.c.number)
        rows = connection.execute(select(standing).order_by(*order)).mappings().all()
    kept = [(row["purpose"], row["number"], row["state"]) for row in rows]
    assert kept == [
        ("direct_marketing", 1, "granted"),
        ("direct_marketing", 2, "withdrawn"),
        ("direct_marketing", 3, "objected"),
        ("survey", 1, "granted"),
    ]
    events = sorted(shop.events("consent"), key=lambda event: (event["about"], event["number"]))
    assert [event["row"] for event in events] == [
        digest({**row, "subject": bytes(row["subject"])}) for row in rows
    ]
    first = events[0]
    assert (first["change"], first["text_version"], first["channel"]) == ("grant", "2026-01", "web")
    assert first["actor"]["sub"] == "shop"
    assert "proof" not in first
    assert len({tuple(event["refs"]) for event in events}) == 1
    assert str(person) not in str(events)
    assert person.hex not in str(events)


def test_a_changed_row_no_longer_has_the_digest_that_the_log_tells(shop):
    """So that it is found, by whoever compares the two."""
    (person,) = shop.populate(1)
    shop.say("refuse", person)
    with shop.engine.begin() as connection:
        connection.execute(text("UPDATE vaultlayer_standing SET state = 'granted'"))
        [row] = connection.execute(select(standing)).mappings()
    assert digest({**row, "subject": bytes(row["subject"])}) != shop.events("consent")[0]["row"]


def test_with_a_session_it_belongs_to_its_transaction(any_shop):
    """Seen there at once, by others after the commit; gone with a rollback."""
    shop = any_shop
    (person,) = shop.populate(1)
    with shop.Session() as session, shop.access(SHOP, "provide_service"):
        shop.vault.consent.grant(person, "direct_marketing", session=session)
        assert shop.vault.consent.state(person, "direct_marketing", session=session) == "granted"
        session.rollback()
    assert shop.names() == ["consent_missing"]
    with shop.Session() as session, shop.access(SHOP, "provide_service"):
        shop.vault.consent.grant(person, "direct_marketing", session=session)
        session.commit()
    assert shop.names() == ["Ada 0"]
    with shop.Session() as session, shop.access(SHOP, "provide_service"):
        shop.vault.consent.withdraw(person, "direct_marketing", session=session)
        session.commit()
        session.commit()
    assert shop.names() == ["consent_withdrawn"]


def test_a_withdrawal_counts_in_a_transaction_that_began_before_it(any_shop):
    """MariaDB shows an open transaction only the past; this process knows better."""
    shop = any_shop
    people = shop.populate(2)
    for person in people:
        shop.say("grant", person)
    with shop.reading() as (_, buyers):
        assert buyers[0].name == "Ada 0"
        shop.say("withdraw", people[0])
        shop.say("withdraw", people[1])
        assert [shop.outcome(buyer) for buyer in buyers] == ["consent_withdrawn"] * 2


def test_many_who_speak_at_once_for_one_person_are_numbered_in_turn(any_shop):
    """No row is lost or doubled."""
    shop = any_shop
    if shop.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    (person,) = shop.populate(1)
    errors: list[Exception] = []

    def speak(said: str) -> None:
        for _ in range(5):
            try:
                shop.say(said, person)
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=speak, args=(said,)) for said in ("grant", "withdraw") * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with shop.engine.connect() as connection:
        rows = connection.execute(select(standing).order_by(standing.c.number)).all()
    assert [row.number for row in rows] == list(range(1, 21))
    state = rows[-1].state
    assert shop.names() == [{"granted": "Ada 0"}.get(state, f"consent_{state}")]


def test_a_second_row_of_the_same_number_is_refused_by_the_database(shop):
    """What the numbering rests on."""
    (person,) = shop.populate(1)
    shop.say("grant", person)
    copy = "INSERT INTO vaultlayer_standing SELECT * FROM vaultlayer_standing"
    with pytest.raises(IntegrityError), shop.engine.begin() as connection:
        connection.execute(text(copy))


def test_who_has_no_consent_is_not_found_out_by_can(shop):
    """can() says what an access may do in general, and of one row what is so for its person."""
    people = shop.populate(2)
    shop.say("grant", people[0])
    with shop.reading() as (access, buyers):
        shop.sent.clear()
        assert access.can(shop.Buyer.name)
        assert not access.can(shop.Buyer.card)
        assert access.deny_reason(shop.Buyer.card) == "purpose_category"
        assert access.deny_reason(shop.Buyer.name, action="write") == "role"
        assert [access.can(shop.Buyer.name, buyer) for buyer in buyers] == [True, False]
        assert access.deny_reason(shop.Buyer.name, buyers[1]) == "consent_missing"
    assert [each for each in shop.events("read") if each["purpose"] == "direct_marketing"] == []


def test_what_this_process_committed_outranks_an_older_view_of_the_database(shop):
    """As if the database still showed the row before: the later number counts."""
    (person,) = shop.populate(1)
    shop.say("grant", person)
    shop.vault.standing.note(person.bytes, "direct_marketing", 2, "withdrawn")
    assert shop.names() == ["consent_withdrawn"]
    shop.vault.standing.note(person.bytes, "direct_marketing", 0, "granted")
    shop.say("object", person, "security")
    shop.vault.standing.note(person.bytes, "security", 2, "granted")
    assert shop.names(Principal("al", ["auditor"]), "security") == ["***"]
