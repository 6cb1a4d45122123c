"""A read or write that is allowed and then fails leaves an event with that outcome."""

from __future__ import annotations

from contextlib import suppress

import pytest

from vaultlayer.audit.slots import texts
from vaultlayer.errors import IntegrityError, KeyErased, KeyUnavailable, VaultLayerError
from vaultlayer.testing import audit_events, check_events

WAYS = ["attribute", "reveal", "column"]


@pytest.fixture
def failures():
    """The error events of a shop's log, which fits its schema."""

    def told(shop):
        events = audit_events(shop.vault)
        check_events(events)
        return [event for event in events if event.get("outcome") == "error"]

    return told


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ("DELETE FROM vaultlayer_subject_key", KeyUnavailable),
        ("UPDATE vaultlayer_subject_key SET wrapped = NULL, state = 'erased'", KeyErased),
        ("UPDATE vaultlayer_subject_key SET wrapped = NULL", IntegrityError),
    ],
    ids=["no record", "erased", "damaged"],
)
def test_a_read_without_its_key_is_told(shop, failures, way, change, kind):
    """Who tried, which field, and why it failed; nobody is named, since nobody's key is there."""
    (pk,) = shop.add(shop.zenobia())
    shop.sql(change)
    shop.restart()
    with pytest.raises(VaultLayerError) as caught:
        shop.read(shop.Customer, pk, "name", way)
    (event,) = failures(shop)
    assert (event["event"], event["fields"], event["refs"]) == ("read", ["name"], [])
    assert (event["decision"], event["reason_code"]) == ("allow", caught.value.code)
    if kind is not KeyErased:  # who was erased has a record that says so, which this one lacks
        assert caught.type is kind


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("damage", ["moved", "flipped"])
def test_a_damaged_value_is_told_with_its_person(shop, failures, way, damage):
    """Of a batch, the one whose value doesn't open, and none of the others."""
    ids = shop.add(shop.zenobia(), shop.Customer(name="Ada", email="ada@example.com"))
    first, second = (bytes(shop.stored("customer", pk, "name")) for pk in ids)
    spoilt = first if damage == "moved" else second[:-1] + bytes([second[-1] ^ 1])
    shop.sql("UPDATE customer SET name = :v WHERE id = :k", v=spoilt, k=ids[1])
    shop.restart()
    with pytest.raises(IntegrityError), shop.access() as access, shop.sessions() as session:
        rows = session.query(shop.Customer).order_by(shop.Customer.id).all()
        if way == "reveal":
            access.reveal(rows, shop.Customer.name)
        elif way == "column":
            session.query(shop.Customer.name).order_by(shop.Customer.id).all()
        else:
            [row.name for row in rows]
    (event,) = failures(shop)
    key = shop.vault.keys.cached[spoilt[3:19]]
    assert event["refs"] == texts([key.log_ref])
    assert (event["count"], event["reason_code"]) == (1, "integrity")


def test_a_write_without_its_key_is_told(shop, failures):
    """The field and the reason; nothing is stored."""
    (pk,) = shop.add(shop.zenobia())
    shop.sql("UPDATE vaultlayer_subject_key SET wrapped = NULL")
    shop.restart()
    with suppress(VaultLayerError), shop.access(), shop.sessions() as session:
        session.get(shop.Customer, pk).nick = "Zen"
        session.commit()
    (event,) = failures(shop)
    assert (event["event"], event["fields"]) == ("write", ["nick"])
    assert event["reason_code"] == "integrity"
    assert shop.sql("SELECT nick FROM customer") == [(None,)]


def test_a_refused_field_stays_refused_where_its_key_is_gone(shop, failures):
    """The rules come first: the attempt is a denial, not an error."""
    (pk,) = shop.add(shop.zenobia())
    shop.sql("DELETE FROM vaultlayer_subject_key")
    shop.restart()
    for way in WAYS:
        with pytest.raises(VaultLayerError):
            shop.read(shop.Customer, pk, "born", way, roles=["marketer"])
    assert failures(shop) == []
    refused = [each for each in audit_events(shop.vault) if each.get("outcome") == "refused"]
    assert [each["decision"] for each in refused] == ["deny"] * 3
