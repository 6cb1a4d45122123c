"""Honeytokens: whoever opens a decoy raises an alarm, at once."""

from __future__ import annotations

from uuid import uuid4

import pytest
from sqlalchemy import select, text

from vaultlayer import AccessDenied, AuditUnavailable, ConfigurationError, NoAccess, Principal
from vaultlayer.testing import audit_events

OFFICER = Principal("olga", ["privacy_officer"])
SAM = Principal("sam", ["support"])


@pytest.fixture
def decoy(shop):
    """The subject of the second of three customers, marked."""
    subjects = shop.add("Zenobia", "Decoy", "Grace")
    with shop.vault.access(OFFICER, purpose="legal_obligation"):
        shop.vault.audit.honeytokens.add(subjects[1])
    return subjects[1]


def alarms(shop):
    return [event for event in audit_events(shop.vault) if event["event"] == "alarm"]


@pytest.mark.parametrize("way", ["attribute", "reveal", "column"])
def test_opening_a_decoy_raises_one_alarm_before_the_access_ends(shop, decoy, way):
    """In the log while the access is still open, whichever way it is opened; others raise none."""
    Customer = shop.Customer  # noqa: N806
    access = shop.vault.access(SAM, purpose="customer_service", reason="ticket 4711")
    with shop.sessions() as session, access:
        rows = session.scalars(select(Customer).order_by(Customer.id)).all()
        assert alarms(shop) == []
        if way == "attribute":
            names = [row.name for row in rows]
        elif way == "reveal":
            names = access.reveal(rows, Customer.name)
        else:
            names = session.scalars(select(Customer.name).order_by(Customer.id)).all()
        assert names == ["Zenobia", "Decoy", "Grace"]
        (alarm,) = alarms(shop)
    assert (alarm["actor"]["sub"], alarm["reason"]) == ("sam", "ticket 4711")
    assert (alarm["entity"], alarm["fields"]) == ("customer", ["name"])
    reads = [event for event in audit_events(shop.vault) if event["event"] == "read"]
    assert set(alarm["refs"]) < {ref for event in reads for ref in event["refs"]}
    assert shop.vault.audit.who_read(decoy)["total"] == 1


def test_masked_values_alarm_too_and_loading_alone_does_not(shop, decoy):
    """What matters is that somebody opened it."""
    with shop.sessions() as session, shop.vault.access(SAM, purpose="customer_service"):
        row = session.scalars(select(shop.Customer).filter_by(subject_id=decoy)).one()
        assert alarms(shop) == []
        assert row.phone == "***0000"
    assert [alarm["fields"] for alarm in alarms(shop)] == [["phone"]]


def test_what_can_not_be_told_is_not_opened(shop, decoy, monkeypatch):
    """The alarm comes first."""

    def full(*_, **__):
        raise AuditUnavailable("the disk is full")

    with shop.sessions() as session, shop.vault.access(SAM, purpose="customer_service"):
        row = session.scalars(select(shop.Customer).filter_by(subject_id=decoy)).one()
        assert shop.vault.log is not None
        with monkeypatch.context() as patch, pytest.raises(AuditUnavailable):
            patch.setattr(shop.vault.log, "write", full)
            assert row.name == "never"


def test_another_process_learns_of_the_mark(shop, decoy, policies):
    """With the keys it fetches: here a second vault over the same tables and provider."""
    shop.vault.audit.honeytokens.marked.clear()
    shop.vault.audit.honeytokens._looked = float("-inf")
    shop.vault.keys.forget()
    shop.read("name", only=decoy)
    assert len(alarms(shop)) == 1


def test_a_mark_can_be_taken_off_and_both_are_in_the_log(shop, decoy):
    """Who marks and who unmarks is recorded."""
    with shop.vault.access(OFFICER, purpose="legal_obligation"):
        shop.vault.audit.honeytokens.add(decoy)
        shop.vault.audit.honeytokens.remove(decoy)
    shop.read("name")
    assert alarms(shop) == []
    told = [e for e in audit_events(shop.vault) if e["event"] == "honeytoken"]
    assert [(e["actor"]["sub"], e["change"]) for e in told] == [
        ("olga", "added"), ("olga", "added"), ("olga", "removed"),
    ]  # fmt: skip
    with shop.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM vaultlayer_honeytoken")).scalar() == 0


def test_marking_needs_an_access_that_may_administer(shop, decoy):
    """And a person who is there."""
    with pytest.raises(NoAccess):
        shop.vault.audit.honeytokens.remove(decoy)
    with shop.vault.access(SAM, purpose="customer_service"), pytest.raises(AccessDenied):
        shop.vault.audit.honeytokens.remove(decoy)
    with shop.vault.access(OFFICER, purpose="legal_obligation"):
        for nobody in (uuid4(), "4711"):
            with pytest.raises(ConfigurationError):
                shop.vault.audit.honeytokens.add(nobody)
    shop.read("name", only=decoy)
    assert len(alarms(shop)) == 1
