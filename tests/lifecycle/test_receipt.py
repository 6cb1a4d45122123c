"""The signed receipt: read back everywhere first, and checked offline afterwards."""

from __future__ import annotations

import json
import re
import threading
import time
from dataclasses import replace

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError

from vaultlayer import AccessDenied, IntegrityError, KeyErased, Principal
from vaultlayer.lifecycle import erasure as erasing
from vaultlayer.lifecycle.receipt import verify_receipt
from vaultlayer.testing import audit_events


def keys_of(shop):
    return shop.vault._trail.notary.heads.keys()


def test_a_receipt_says_what_was_done_and_is_checked_with_the_public_key_alone(any_shop):
    shop = any_shop
    ids = shop.populate("ada", "bob")
    with shop.officer():
        planned = shop.vault.subjects.plan(ids["ada"])
        receipt = shop.vault.subjects.erase(ids["ada"], reason="article 17")
    told = verify_receipt(receipt.document, keys_of(shop))
    assert (told["subject"], told["keys"], told["values"], told["terms"]) == (
        str(ids["ada"]), 1, 7, 3
    )  # fmt: skip
    assert planned.keys == 1
    assert sum(held.values for held in planned.tables) == 7
    assert sum(held.terms for held in planned.tables) == 3
    assert {held["table"] for held in told["tables"] if held["values"]} == {
        held.table for held in planned.tables
    }
    assert {claim["purpose"] for claim in planned.claims} >= {"archiving", "legal_obligation"}
    assert planned.horizon.date().isoformat() == told["horizon"]
    assert {each["what"] for each in told["kept"]} == {"vaultlayer_tombstone"}
    assert not re.search(r"\bada\b", receipt.document.lower())  # hashes have any three letters
    shop.read(ids["bob"])


@pytest.mark.parametrize("part", ["subject", "values", "horizon", "kept", "format"])
def test_a_changed_receipt_does_not_hold(shop, part):
    receipt = shop.erase(shop.populate("ada")["ada"])
    whole = json.loads(receipt.document)
    whole["receipt"][part] = "2000-01-01"
    with pytest.raises(IntegrityError, match="doesn't hold"):
        verify_receipt(json.dumps(whole), keys_of(shop))


def test_a_receipt_of_another_erasure_or_log_does_not_hold(shop):
    ids = shop.populate("ada", "bob")
    ada, bob = (json.loads(shop.erase(ids[name]).document) for name in ("ada", "bob"))
    keys = keys_of(shop)
    for wrong in (
        {**ada, "record": bob["record"]},
        {**ada, "proof": bob["proof"]},
        {**ada, "proof": ""},
        {"receipt": ada["receipt"]},
        [],
    ):
        with pytest.raises(IntegrityError, match="doesn't hold"):
            verify_receipt(json.dumps(wrong), keys)
    stranger = replace(keys[0], public=bytes(31) + b"\1")
    with pytest.raises(IntegrityError, match="doesn't hold"):
        verify_receipt(json.dumps(ada), [stranger])
    verify_receipt(json.dumps(ada), keys)


BACK = {
    "a value": "UPDATE person SET born = (SELECT born FROM person WHERE name <> '' AND id = 2)",
    "a term": "UPDATE person SET email_bidx = x'00' WHERE id = 1",
    "a name": "UPDATE person SET name = (SELECT name FROM person WHERE id = 2) WHERE id = 1",
    "a child's": "UPDATE line SET note = (SELECT max(note) FROM line WHERE note IS NOT NULL)",
    "the key": "UPDATE vaultlayer_subject_key SET state = 'active' WHERE state = 'erased'",
    "no mark": "DELETE FROM vaultlayer_subject_key WHERE state = 'erased'",
}


@pytest.mark.parametrize("back", BACK)
def test_no_receipt_for_an_erasure_that_a_read_back_contradicts(shop, monkeypatch, back):
    """Something puts it back between the commit and the look: an old replica, a batch job."""
    ids = shop.populate("ada", "bob")
    certify = erasing.certify

    def put_back(vault, access, receipt):
        shop.sql(BACK[back])
        return certify(vault, access, receipt)

    monkeypatch.setattr(erasing, "certify", put_back)
    with pytest.raises(IntegrityError, match="contradicted"):
        shop.erase(ids["ada"])
    kinds = [event["event"] for event in audit_events(shop.vault)]
    assert "erasure_contradicted" in kinds
    assert "erasure_receipt" not in kinds


def test_in_the_callers_transaction_the_receipt_comes_after_the_commit(shop):
    ids = shop.populate("ada", "bob")
    with shop.sessions() as session, shop.officer():
        receipt = shop.vault.subjects.erase(ids["ada"], reason="article 17", session=session)
        assert receipt.document == ""
        session.commit()
        signed = shop.vault.subjects.certify(receipt)
    assert verify_receipt(signed.document, keys_of(shop))["subject"] == str(ids["ada"])
    with shop.sessions() as session, shop.officer():
        receipt = shop.vault.subjects.erase(ids["bob"], reason="article 17", session=session)
        session.rollback()
        with pytest.raises(IntegrityError, match="contradicted"):
            shop.vault.subjects.certify(receipt)


def test_planning_needs_the_right_to_erase_and_changes_nothing(shop):
    ids = shop.populate("ada")
    sam = shop.vault.access(Principal("sam", ["support"]), purpose="customer_service")
    with sam, pytest.raises(AccessDenied):
        shop.vault.subjects.plan(ids["ada"])
    before = shop.read(ids["ada"])
    with shop.officer():
        shop.vault.subjects.plan(ids["ada"])
    assert shop.read(ids["ada"]) == before
    with shop.engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM vaultlayer_tombstone")) == 0


def test_readers_reports_and_registrations_beside_an_erasure(any_shop, tmp_path):
    """Each value is as it was or gone, and the receipt holds whoever came in between.

    Three statements read a person, each with a snapshot of its own on SQLite and on PostgreSQL:
    a line may be empty already that belongs to a person who was loaded in time.
    """
    shop = any_shop
    ids = shop.populate("ada", "bob", bills=1)
    before, stop, wrong = shop.read(ids["ada"]), threading.Event(), []
    erased, folders = threading.Event(), iter(range(1000))

    def read():
        late = erased.is_set()
        for value, was in zip(shop.read(ids["ada"]), before, strict=True):
            if late or value not in (was, None):
                wrong.append((value, was, late))

    def report():
        with shop.officer():
            shop.vault.subjects.report(ids["ada"], tmp_path / f"report-{next(folders)}")

    def register():
        with shop.sessions() as session, shop.service():
            ada = session.scalars(select(shop.Person).where(shop.Person.id == 1)).one()
            session.add(shop.Bill(person=ada, address="back again"))
            session.flush()
            session.rollback()

    deeds = (read, read, report, register)
    threads = [
        threading.Thread(target=_again_and_again, args=(deed, stop, wrong)) for deed in deeds
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    try:
        receipt = _erase_in_the_end(shop, ids["ada"])
        erased.set()
        time.sleep(0.3)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert verify_receipt(receipt.document, keys_of(shop))["subject"] == str(ids["ada"])
    with pytest.raises(KeyErased):
        shop.read(ids["ada"])
    with pytest.raises(KeyErased):
        register()
    shop.read(ids["bob"])


def _again_and_again(deed, stop, wrong):
    while not stop.is_set():
        try:
            deed()
        except (KeyErased, OperationalError):
            time.sleep(0.01)
        except Exception as error:
            wrong.append(error)
            return


def _erase_in_the_end(shop, subject):
    for _ in range(100):
        try:
            return shop.erase(subject)
        except OperationalError:  # SQLite's one lock, or a deadlock
            time.sleep(0.02)
    raise AssertionError("the database was locked all the time")
