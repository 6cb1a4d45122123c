"""Plaintext that is still read: decided, asked of its person, journaled, and only so long."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import joinedload

from vaultlayer import Masked, NoAccess, Principal, testing
from vaultlayer.doctor import examine
from vaultlayer.errors import AccessDenied, ConfigurationError, PlaintextFound, UnsupportedQuery


@pytest.fixture
def expanded(shop):
    """Ada is plaintext, Bob is sealed too."""
    shop.old_rows("ada")
    shop.steps("expand")
    with shop.sessions() as session, shop.service():
        session.add(shop.Buyer(name="Bob", email="bob@example.com", born=date(1950, 1, 2)))
        session.commit()
    return shop


def reads(shop):
    return [e for e in testing.audit_events(shop.vault) if e["event"] == "read"]


def test_every_way_of_reading_is_told_as_plaintext(expanded):
    """Attributes, reveal, columns, joined rows and expired ones; Bob's reads name him."""
    shop = expanded
    with shop.sessions() as session, shop.service() as access:
        buyers = session.scalars(sa.select(shop.Buyer).order_by(shop.Buyer.id)).all()
        assert [buyer.email for buyer in buyers] == ["ada@example.com", "bob@example.com"]
        revealed = access.reveal(buyers, shop.Buyer.name, shop.Buyer.born)
        assert revealed[1] == ("Bob", date(1950, 1, 2))
        query = sa.select(shop.Buyer.id, shop.Buyer.name, shop.Buyer.email)
        first = session.execute(query.order_by(shop.Buyer.id)).first()
        assert first == (1, "Ada", "ada@example.com")
        bill = session.scalars(sa.select(shop.Bill).options(joinedload(shop.Bill.buyer))).one()
        assert (bill.address, bill.buyer.name) == ("1 ada Street", "Ada")
        session.expire_all()
        assert buyers[0].name == "Ada"
        assert session.get(shop.Buyer, 2).name == "Bob"
    told = reads(shop)
    assert {e["reason_code"] for e in told} == {"plaintext"}
    assert {name for e in told for name in e["fields"]} == {"name", "email", "born", "address"}
    assert len({ref for e in told for ref in e["refs"]} - {"0" * 32}) == 1


def test_it_is_decided_like_any_reading(expanded):
    """No access, no role, a mask, a restricted person; the plaintext attribute itself is shut."""
    shop = expanded
    with shop.sessions() as session:
        with shop.service():
            ada, bob = session.scalars(sa.select(shop.Buyer).order_by(shop.Buyer.id))
        with pytest.raises(NoAccess):
            _ = ada.name
        support = Principal("sam", roles=["support"])
        with shop.vault.access(support, purpose="customer_service"):
            assert isinstance(ada.born, Masked)
            assert ada.born == "1931"
        marketer = Principal("mia", roles=["marketer"])
        with shop.vault.access(marketer, purpose="direct_marketing") as access:
            for buyer in (ada, bob):
                with pytest.raises(AccessDenied) as refused:
                    _ = buyer.name
                assert refused.value.reason == "consent_missing"
            assert access.can(shop.Buyer.name)
        with shop.officer():
            shop.vault.subjects.restrict(bob.subject_id)
        with shop.service(), pytest.raises(AccessDenied) as refused:
            _ = bob.name
        assert refused.value.reason == "restricted"
        with shop.service(), pytest.raises(UnsupportedQuery):
            _ = bob.name_plain
    told = [e for e in testing.audit_events(shop.vault) if e.get("reason_code") == "restricted"]
    assert [e["event"] for e in told] == ["read"]


def test_what_was_assigned_is_read_before_it_is_stored(expanded):
    """Ada's plaintext row, and a person who is in no table yet; nobody reads it without access."""
    shop = expanded
    with shop.sessions() as session:
        with shop.service():
            ada = session.get(shop.Buyer, 1)
            ada.email = "ada@new.example"
            eve = shop.Buyer(name="Eve", email=None)
            session.add(eve)
            assert (ada.email, eve.name, eve.email) == ("ada@new.example", "Eve", None)
        with pytest.raises(NoAccess):
            _ = ada.email
        with shop.service():
            session.commit()
            assert (ada.email, eve.name) == ("ada@new.example", "Eve")


def test_searching_before_the_switch(expanded):
    """The sealed index would miss Ada, so it refuses; her plaintext is searched, decided."""
    shop = expanded
    with shop.sessions() as session:
        with shop.service():
            with pytest.raises(UnsupportedQuery, match="email_plain"):
                sealed = shop.Buyer.email == "ada@example.com"
                session.scalars(sa.select(shop.Buyer).where(sealed)).all()
            query = sa.select(shop.Buyer).where(shop.Buyer.email_plain == "ada@example.com")
            assert session.scalars(query).one().id == 1
        with pytest.raises(NoAccess):
            session.scalars(query)
        with (
            shop.vault.access(Principal("al", roles=["auditor"]), purpose="security"),
            pytest.raises(AccessDenied),
        ):
            session.scalars(query)
    assert [e for e in testing.audit_events(shop.vault) if e["event"] == "search"]


def test_after_its_last_day_plaintext_is_not_read(expanded, monkeypatch):
    """Refused and recorded, and the doctor's finding; once switched, what is sealed is read."""
    shop = expanded
    fields = shop.Buyer.__mapper__.__dict__["vaultlayer.entity"].fields.values()
    for field in fields:
        monkeypatch.setattr(field, "twin", type(field.twin)(
            field.twin.column, field.twin.type, date.today() - timedelta(days=1)
        ))  # fmt: skip
    with shop.sessions() as session, shop.service():
        ada = session.get(shop.Buyer, 1)
        with pytest.raises(PlaintextFound, match="was to be migrated by"):
            _ = ada.name
    assert [e["reason_code"] for e in reads(shop)] == ["plaintext_found"]
    assert "migration_overdue" in {each.code for each in examine(shop.vault)}
    shop.steps("backfill", "verify", "switch")
    with shop.sessions() as session, shop.service():
        assert session.get(shop.Buyer, 1).name == "Ada"


def test_every_way_of_writing_writes_both(expanded):
    """The unit of work, bulk INSERT and UPDATE, Core with values() and parameters, and NULL."""
    shop, table = expanded, expanded.Buyer.__table__
    with shop.sessions() as session, shop.service():
        session.execute(sa.insert(shop.Buyer), [{"name": "Cyd", "email": "cyd@example.com"}])
        session.execute(sa.update(shop.Buyer), [{"id": 1, "name": "Ada L."}])
        values = {"name_sealed": "Dee", "email_sealed": "dee@example.com"}
        session.execute(sa.insert(table).values(values))
        session.connection().execute(sa.insert(table), [{"name_sealed": "Eve"}])
        session.get(shop.Buyer, 2).email = None
        session.flush()
        session.execute(sa.update(shop.Buyer).where(shop.Buyer.id == 1).values(email=None))
        session.commit()
        with pytest.raises(UnsupportedQuery):
            session.execute(sa.insert(table).values(name_plain="Mallory"))
    rows = shop.sql("SELECT name, email FROM buyer ORDER BY id")
    assert rows == [
        ("Ada L.", None), ("Bob", None), ("Cyd", "cyd@example.com"), ("Dee", "dee@example.com"),
        ("Eve", None),
    ]  # fmt: skip
    assert shop.step("backfill").ok
    left = shop.sql("SELECT count(*) FROM buyer WHERE (email IS NULL) <> (email_sealed IS NULL)")
    assert left == [(0,)]
    shop.steps("verify", "switch", "contract")
    assert [name for name, _, _ in shop.read()[0]] == ["Ada L.", "Bob", "Cyd", "Dee", "Eve"]


def test_an_erased_persons_plaintext_goes_too(expanded):
    """Whether it was sealed already or not; the steps that follow leave the rows alone."""
    shop = expanded
    with shop.sessions() as session, shop.service():
        ids = session.scalars(sa.select(shop.Buyer.subject_id)).all()
    with shop.officer():
        for subject in ids:
            shop.vault.subjects.erase(subject, reason="article 17")
    assert shop.sql("SELECT name, email, born FROM buyer") == [("", None, None)] * 2
    assert shop.sql("SELECT address FROM bill") == [("",)]
    shop.steps("backfill", "verify", "switch", "contract")
    assert shop.sql("SELECT name_sealed, email_sealed FROM buyer") == [(None, None)] * 2


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"migrating_from": "email"}, "needs a day"),
        ({"until": "2027-03-01"}, "names the plaintext column"),
        ({"migrating_from": "email", "until": "soon"}, "needs a day"),
    ],
)
def test_a_declaration_that_cant_work(given, says):
    """It says what is lacking, where it is written."""
    from vaultlayer import personal

    with pytest.raises(ConfigurationError, match=says):
        personal("contact.email", **given)
