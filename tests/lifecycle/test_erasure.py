"""Erasing a person: everything of theirs is gone, nothing of anybody else's, and it stays so."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from sqlalchemy import select

from vaultlayer import AccessDenied, IntegrityError, KeyErased, NoAccess, Principal
from vaultlayer.crypto.envelope import of_nothing
from vaultlayer.errors import AuditUnavailable, ConfigurationError
from vaultlayer.testing import audit_events


def test_nothing_of_the_person_is_left_and_everything_of_the_others(any_shop):
    """NULL where a column may be, KeyErased where it may not; no term, no key, in any table."""
    shop = any_shop
    ids = shop.populate("ada", "bob")
    before = shop.read(ids["bob"])
    receipt = shop.erase(ids["ada"])
    assert (receipt.keys, receipt.values, receipt.terms) == (1, 7, 3)
    assert receipt.horizon - receipt.erased_at == timedelta(days=28)
    assert receipt.subject_id == ids["ada"]
    for _ in range(2):
        with shop.sessions() as session, shop.service():
            ada = session.scalars(
                select(shop.Person).where(shop.Person.subject_id == ids["ada"])
            ).one()
            assert (ada.email, ada.born) == (None, None)
            for row in (ada, *session.scalars(select(shop.Bill).where(shop.Bill.person == ada))):
                with pytest.raises(KeyErased):
                    getattr(row, "name" if row is ada else "address")
            found = select(shop.Person.id).where(shop.Person.email == "ada@example.com")
            assert session.scalars(found).all() == []
        shop.restart()
    assert shop.read(ids["bob"]) == before
    assert shop.sql("SELECT count(*) FROM person WHERE email_bidx IS NOT NULL") == [(1,)]
    assert shop.sql("SELECT count(*) FROM bill WHERE address_bidx IS NOT NULL") == [(2,)]


def ways_to_read(shop, vault, pk):
    """A bill's address by attribute, in a batch and as a column, each in an access of its own."""

    def reading(read):
        def run():
            app = Principal("app", roles=["service"])
            with shop.sessions() as session, vault.access(app, purpose="provide_service") as access:
                return read(session, access)

        return run

    bill = shop.Bill
    return [
        reading(lambda session, _: session.get(bill, pk).address),
        reading(lambda session, access: access.reveal([session.get(bill, pk)], bill.address)),
        reading(
            lambda session, _: session.scalars(select(bill.address).where(bill.id == pk)).all()
        ),
    ]


def test_a_process_with_the_key_still_at_hand_hears_that_it_was_erased(any_shop):
    """An emptied value is told from a damaged one by the key's own record, not by its looks."""
    shop, ids = any_shop, any_shop.populate("ada", "bob", bills=1)
    reader = shop.vault
    of_ada, of_bob = (
        shop.sql(f"SELECT b.id FROM bill b JOIN person p ON b.person_id = p.id WHERE p.id = {n}")[
            0
        ][0]
        for n in (1, 2)
    )
    for number in range(3):
        for pk in (of_ada, of_bob):
            ways_to_read(shop, reader, pk)[number]()
    for key in reader.keys.cached.values():
        key.expires += 60
    shop.vault = shop.open()
    shop.erase(ids["ada"])
    held = dict(reader.keys.cached)
    for way in ways_to_read(shop, reader, of_ada):
        reader.keys.cached.update(held)
        for key in held.values():
            key.expires = float("inf")
        with pytest.raises(KeyErased):
            way()
    told = [each for each in audit_events(reader) if each.get("outcome") == "error"]
    assert [each["reason_code"] for each in told] == ["key_erased"] * 3

    shop.sql(
        "UPDATE bill SET address = :forged WHERE id = :pk",
        pk=of_bob,
        forged=of_nothing(next(k for k in held if held[k].subject == ids["bob"].bytes)),
    )
    for way in ways_to_read(shop, reader, of_bob):
        with pytest.raises(IntegrityError):
            way()
    reader.close()


def test_a_joined_subclass_is_emptied_in_both_tables(any_shop):
    """The personal columns of a clerk lie in two tables, and so do their terms."""
    shop = any_shop
    clerk = shop.Clerk(name="eve", email="eve@example.com", badge="4711")
    other = shop.Clerk(name="fay", email="fay@example.com", badge="4712")
    gone, kept = shop.add(clerk, other)
    receipt = shop.erase(gone)
    assert (receipt.values, receipt.terms) == (3, 2)
    with shop.sessions() as session, shop.service():
        rows = {row.subject_id: row for row in session.scalars(select(shop.Clerk))}
        assert rows[kept].badge == "4712"
        with pytest.raises(KeyErased):
            assert rows[gone].badge
    assert shop.sql("SELECT count(*) FROM clerk WHERE badge_bidx IS NOT NULL") == [(1,)]


def test_an_erased_person_cannot_be_written_again(any_shop):
    """Neither onto the row nor as a new bill: the tombstone wins over get-or-create."""
    shop = any_shop
    ids = shop.populate("ada")
    shop.erase(ids["ada"])
    with shop.sessions() as session, shop.service():
        ada = session.scalars(select(shop.Person)).one()
        ada.name = "Ada, who is back"
        with pytest.raises(KeyErased):
            session.flush()
        session.rollback()
        session.add(shop.Bill(person_id=ada.id, address="Somewhere"))
        with pytest.raises(KeyErased):
            session.flush()
    assert shop.sql("SELECT count(*) FROM vaultlayer_subject_key") == [(1,)]


def test_a_person_who_never_had_a_key_gets_none(any_shop):
    """Somebody unknown, erased: whoever names that id later is refused a key."""
    shop, nobody = any_shop, uuid.uuid4()
    receipt = shop.erase(nobody)
    assert (receipt.keys, receipt.values) == (0, 0)
    with shop.sessions() as session, shop.service():
        session.add(shop.Person(name="x", subject_id=nobody))
        with pytest.raises(KeyErased):
            session.flush()


def test_erasing_again_is_harmless(shop):
    """The second receipt says that there was nothing left; the tombstone is the first one's."""
    ids = shop.populate("ada")
    first = shop.erase(ids["ada"])
    again = shop.erase(ids["ada"])
    assert (again.keys, again.terms) == (0, 0)
    tombstones = shop.sql("SELECT erasure_id FROM vaultlayer_tombstone")
    assert [bytes(each) for (each,) in tombstones] == [first.erasure_id.bytes]


def test_the_record_is_in_the_log_and_names_nobody(shop):
    """Who, why, how much; no log_ref, no subject id, no key id: nothing that links the person."""
    ids = shop.populate("ada")
    ref = next(iter(shop.vault.keys.cached.values())).log_ref
    shop.read(ids["ada"])
    receipt = shop.erase(ids["ada"])
    events = audit_events(shop.vault)
    told = [event for event in events if event["event"] == "subject_erased"]
    assert [(event["erasure"], event["keys"], event["values"]) for event in told] == [
        (receipt.erasure_id.hex, 1, 7)
    ]
    assert told[0]["actor"]["sub"] == "olga"
    assert told[0]["reason"] == "request 12"
    assert "refs" not in told[0]
    fields = {f for e in events if e["event"] == "erase" for f in e["fields"]}
    assert fields == {"name", "email", "born", "badge", "address", "note"}
    remembered = (shop.folder / "audit" / "erasures.jsonl").read_text()
    tables = "vaultlayer_tombstone", "vaultlayer_subject_key"
    stored = b"".join(
        bytes(str(cell).encode() if not isinstance(cell, bytes) else cell)
        for table in tables
        for row in shop.sql(f"SELECT * FROM {table}")
        for cell in row
    )
    assert ref not in stored
    assert ref.hex() not in remembered
    assert str(ids["ada"]) not in str(events)
    assert ids["ada"].hex not in str(events)


def test_it_is_refused_without_the_right_to_erase(shop):
    """No access: NoAccess. A role without it: AccessDenied, recorded. Everything still opens."""
    ids = shop.populate("ada")
    before = shop.read(ids["ada"])
    with pytest.raises(NoAccess):
        shop.vault.subjects.erase(ids["ada"], reason="x")
    with shop.service(), pytest.raises(AccessDenied) as refused:
        shop.vault.subjects.erase(ids["ada"], reason="x")
    assert refused.value.reason == "role"
    with shop.officer(), pytest.raises(ConfigurationError, match="subject_id"):
        shop.vault.subjects.erase("ada", reason="x")
    assert shop.read(ids["ada"]) == before
    denied = [e for e in audit_events(shop.vault) if e["event"] == "erase"]
    assert [event["decision"] for event in denied] == ["deny"]
    shop.restart()
    assert shop.read(ids["ada"]) == before


def test_it_happens_or_not_with_the_callers_transaction(any_shop):
    """Rolled back: everything opens again. Committed: gone, and remembered as done."""
    shop = any_shop
    ids = shop.populate("ada")
    before = shop.read(ids["ada"])
    with shop.sessions() as session, shop.officer():
        shop.vault.subjects.erase(ids["ada"], reason="x", session=session)
        session.rollback()
    assert shop.read(ids["ada"]) == before
    shop.restart()
    assert shop.read(ids["ada"]) == before
    with shop.sessions() as session, shop.officer():
        shop.vault.subjects.erase(ids["ada"], reason="x", session=session)
        session.commit()
    steps = (shop.folder / "audit" / "erasures.jsonl").read_text()
    assert [step for step in ("begun", "undone", "done") if f'"{step}"' in steps] == [
        "begun", "undone", "done",
    ]  # fmt: skip
    with pytest.raises(KeyErased):
        shop.read(ids["ada"])


def test_without_its_record_it_does_not_happen(shop, monkeypatch):
    """The log fails: AuditUnavailable, and nothing was destroyed."""
    ids = shop.populate("ada")
    before = shop.read(ids["ada"])

    def full(*_, **__):
        raise AuditUnavailable("full")

    monkeypatch.setattr(shop.vault.log, "write", full)
    with pytest.raises(AuditUnavailable):
        shop.erase(ids["ada"])
    monkeypatch.undo()
    shop.vault.keys.forget()
    assert shop.read(ids["ada"]) == before


def test_cached_keys_here_go_at_once(shop):
    """Within one access too, whose last-used key is at hand without any look-up."""
    ids = shop.populate("ada")
    with shop.sessions() as session, shop.service():
        ada = session.scalars(select(shop.Person)).one()
        assert ada.name == "ada"
        shop.erase(ids["ada"])
        with pytest.raises(KeyErased):
            assert ada.name
