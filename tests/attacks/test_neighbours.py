"""What is wrong with one row's values is that row's alone: rows loaded beside it still open."""

from __future__ import annotations

import logging
import uuid
from contextlib import suppress

import pytest
from sqlalchemy import select

from vaultlayer.errors import IntegrityError, KeyErased, KeyUnavailable, PlaintextFound
from vaultlayer.keys.erasing import erase_keys
from vaultlayer.testing import assert_no_plaintext


def plaintext(shop, pk):
    shop.store("customer", pk, "name", shop.name.encode())
    return PlaintextFound


def forged(shop, pk):
    envelope = bytearray(shop.stored("customer", pk, "name"))
    envelope[4] ^= 1
    shop.store("customer", pk, "name", bytes(envelope))
    return KeyUnavailable


def key_of(shop, pk):
    return shop.stored("customer", pk, "name")[3:19]


def erased(shop, pk):
    ((subject,),) = shop.sql("SELECT subject_id FROM customer WHERE id = :pk", pk=pk)
    subject = uuid.UUID(str(subject)).bytes
    with shop.engine.begin() as connection:
        erase_keys(shop.vault.keys, connection, "", subject)
    return KeyErased


def lost(shop, pk):
    shop.sql("DELETE FROM vaultlayer_subject_key WHERE key_id = :k", k=key_of(shop, pk))
    return KeyUnavailable


def altered(shop, pk):
    statement = "UPDATE vaultlayer_subject_key SET generation = 2 WHERE key_id = :k"
    shop.sql(statement, k=key_of(shop, pk))
    return IntegrityError


@pytest.mark.parametrize("harm", [plaintext, forged, erased, lost, altered])
@pytest.mark.parametrize("reading", ["attribute", "reveal one"])
def test_a_harmed_row_harms_no_other(shop, refused, harm, reading):
    """With cold keys, rows before and after it open, and it is refused for what it is."""
    ids = shop.add(*[shop.Customer(name=f"Ada {n}", email=f"{n}@example.com") for n in range(5)])
    kind = harm(shop, ids[2])
    shop.restart()
    with shop.sessions() as session, shop.access() as access:
        rows = session.scalars(select(shop.Customer).order_by(shop.Customer.id)).all()
        names = []
        for n, row in enumerate(rows):
            if n == 2:
                with refused(kind):
                    row.name  # noqa: B018
            elif reading == "attribute":
                names.append(row.name)
            else:
                names += access.reveal(row, shop.Customer.name)
    assert names == ["Ada 0", "Ada 1", "Ada 3", "Ada 4"]


def test_plaintext_is_not_asked_for_as_a_key(shop, refused, caplog):
    """No piece of a value that was never sealed gets into a statement's parameters."""
    ids = shop.add(*[shop.Customer(name=f"A{n}", email=f"{n}@example.com") for n in range(3)])
    shop.store("customer", ids[1], "name", shop.name.encode())
    shop.restart()
    caplog.set_level(logging.INFO, "sqlalchemy.engine")
    with shop.sessions() as session, shop.access() as access:
        rows = session.scalars(select(shop.Customer).order_by(shop.Customer.id)).all()
        for act in (
            lambda: rows[0].name,
            lambda: rows[1].name,
            lambda: access.prefetch(rows),
            lambda: access.reveal(rows, shop.Customer.name),
            lambda: session.scalars(select(shop.Customer.name)).all(),
        ):
            with suppress(PlaintextFound):
                act()
    assert "vaultlayer_subject_key" in caplog.text
    fragment = shop.name.encode()[3:19].decode()
    assert_no_plaintext(caplog.text.encode(), [fragment, *shop.canaries])
