"""The ledgers in the database say what the log tells of them, or verify finds that they don't."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from vaultlayer import Principal

SHOP = Principal("shop", ["service"])
OFFICER = Principal("olga", ["privacy_officer"])

EDITS = {
    "changed": "UPDATE vaultlayer_standing SET state = 'granted' WHERE state = 'withdrawn'",
    "another time": "UPDATE vaultlayer_standing SET recorded = recorded - 1 WHERE number = 2",
    "removed": "DELETE FROM vaultlayer_standing WHERE number = 2",
    "added": (
        "INSERT INTO vaultlayer_standing SELECT subject, purpose, 3, tenant, said, 'granted', "
        "text_version, channel, proof, recorded, recorded_by, trail FROM vaultlayer_standing "
        "WHERE number = 2"
    ),
    "of another person": f"UPDATE vaultlayer_standing SET subject = x'{'0f' * 16}'",
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_row_changed_by_sql_is_found(shop, edit):
    (person,) = shop.populate(1)
    shop.say("grant", person, text_version="2026-01")
    shop.say("withdraw", person, channel="letter")
    assert shop.vault.audit.verify().findings == []
    with shop.engine.begin() as connection:
        connection.execute(text(EDITS[edit]))
    findings = shop.vault.audit.verify().findings
    assert {each.shard for each in findings} == {"vaultlayer_standing"}
    assert str(person) not in str(findings)


def test_it_is_found_on_every_database(any_shop):
    shop = any_shop
    people = shop.populate(3)
    for person in people:
        shop.say("ask", person)
        shop.say("grant", person)
    assert shop.vault.audit.verify().findings == []
    with shop.engine.begin() as connection:
        connection.execute(text("UPDATE vaultlayer_standing SET proof = 'form 1' WHERE number = 1"))
    assert len(shop.vault.audit.verify().findings) == 6  # three rows, and three leaves of others


def test_a_transaction_that_was_rolled_back_is_no_finding(shop):
    """Its leaf is in the log, and so is that it came to nothing."""
    (person,) = shop.populate(1)
    with shop.Session() as session, shop.access(SHOP, "provide_service"):
        shop.vault.consent.grant(person, "direct_marketing", session=session)
        session.rollback()
    assert shop.vault.audit.verify().findings == []
    assert len(shop.events("ledger_undone")) == 1


def test_who_is_asked_has_said_nothing_yet(shop):
    """And being asked again takes nothing back of what was said."""
    (person,) = shop.populate(1)
    shop.say("ask", person, text_version="2026-01", channel="web")
    assert shop.vault.consent.state(person, "direct_marketing") == "asked"
    assert shop.names() == ["consent_missing"]
    shop.say("grant", person)
    shop.say("ask", person, text_version="2026-02")
    assert shop.vault.consent.state(person, "direct_marketing") == "granted"
    assert shop.names() == ["Ada 0"]
    history = shop.vault.consent.history(person)
    assert [(row["said"], row["state"]) for row in history] == [
        ("ask", "asked"), ("grant", "granted"), ("ask", "granted")
    ]  # fmt: skip
    assert [row["text_version"] for row in history] == ["2026-01", "", "2026-02"]


def test_an_objection_erases_what_only_that_purpose_used(shop):
    """And nothing else; where nothing is kept for it alone, nothing at all."""
    ada, _ = shop.populate(2, phone="+44 1", card="4111")
    shop.say("grant", ada)
    shop.say("object", ada)
    assert shop.events("fields_erased") == []
    _make_phones_marketing_only(shop)
    with shop.access(SHOP, "direct_marketing"):
        shop.vault.consent.object(ada, "direct_marketing")
    with shop.engine.connect() as connection:
        phones = connection.execute(text("SELECT phone, card FROM buyer ORDER BY id")).all()
    assert phones[0].phone is None
    assert None not in (phones[0].card, phones[1].phone)
    [told] = shop.events("fields_erased")
    assert (told["fields"], told["values"], told["about"]) == (
        ["buyer.phone"],
        1,
        "direct_marketing",
    )


def test_in_a_session_it_goes_and_stays_with_the_transaction(shop):
    (ada,) = shop.populate(1, phone="+44 1")
    _make_phones_marketing_only(shop)
    for end, left in (("rollback", 1), ("commit", 0)):
        with shop.Session() as session, shop.access(SHOP, "direct_marketing"):
            shop.vault.consent.object(ada, "direct_marketing", session=session)
            getattr(session, end)()
        with shop.engine.connect() as connection:
            assert connection.scalar(text("SELECT count(phone) FROM buyer")) == left


def _make_phones_marketing_only(shop):
    (shop.folder / "tests.toml").unlink(missing_ok=True)
    for purpose in ("provide_service", "legal_obligation"):
        path = shop.folder / "purposes.toml"
        content = path.read_text()
        at = content.index(f"[{purpose}]")
        path.write_text(
            content[:at]
            + content[at:].replace('"contact"', '"contact.email", "contact.address"', 1)
        )
    for purpose in ("customer_service", "identity_verification"):
        content = path.read_text()
        at = content.index(f"[{purpose}]")
        path.write_text(content[:at] + content[at:].replace('"contact"', '"contact.email"', 1))
    shop.edit(
        "purposes.toml",
        'categories = ["identity.name", "contact.email"]\nregions = ["*"]\nretention = "2 years"',
        'categories = ["identity.name", "contact.email", "contact.phone"]\nregions = ["*"]\n'
        'retention = "2 years"',
    )
    for category in ("identity.name", "contact"):
        shop.rule(f"p, service, {category}, administer, direct_marketing, allow")
