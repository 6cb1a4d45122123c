"""From plaintext to sealed columns and back, with old and new application side by side."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from vaultlayer import testing
from vaultlayer.doctor import examine
from vaultlayer.errors import ConfigurationError
from vaultlayer.lifecycle.migrating.move import Move


def plain(shop):
    """What the old application reads."""
    with shop.engine.connect() as connection:
        buyers = connection.execute(
            sa.select(shop.OldBuyer.name, shop.OldBuyer.email, shop.OldBuyer.born).order_by(
                shop.OldBuyer.id
            )
        ).all()
        bills = connection.scalars(sa.select(shop.OldBill.address).order_by(shop.OldBill.id)).all()
    return [list(map(tuple, buyers)), list(bills)]


def add(shop, name):
    with shop.sessions() as session, shop.service():
        buyer = shop.Buyer(name=name.title(), email=f"{name}@example.com")
        session.add(shop.Bill(buyer=buyer, address=f"2 {name} Street"))
        session.commit()


def change(shop, name, email):
    with shop.sessions() as session, shop.service():
        by_name = shop.Buyer.id == 1
        buyer = session.scalars(sa.select(shop.Buyer).where(by_name)).one()
        buyer.email = email
        session.commit()


def test_every_step_beside_both_applications(any_shop):
    """Each step, with rows written by the old and the new application between them."""
    shop = any_shop
    shop.old_rows("ada", "bob")
    assert shop.step("expand").ok
    assert shop.read() == plain(shop)
    add(shop, "cyd")
    shop.old_rows("dee")
    shop.sql("UPDATE buyer SET email = 'new@example.com' WHERE id = 1")
    assert shop.read() == plain(shop)
    shop.steps("backfill")
    change(shop, "ada", "newer@example.com")
    shop.sql("UPDATE buyer SET email = NULL, name = 'Robert' WHERE id = 2")
    shop.old_rows("eve")
    refused = shop.step("verify")
    assert not refused.ok
    assert [(proof.left, proof.of) for proof in refused.proofs] == [(6, 18)]
    shop.steps("backfill", "verify")
    before = plain(shop)
    assert shop.read() == before
    shop.steps("switch")
    assert shop.read() == before
    add(shop, "fay")
    change(shop, "ada", "newest@example.com")
    assert shop.read() == plain(shop)
    before = plain(shop)
    shop.steps("contract")
    assert shop.read() == before
    shop.restart()
    assert shop.read() == before
    add(shop, "gus")
    with shop.sessions() as session, shop.service():
        query = sa.select(shop.Buyer).where(shop.Buyer.email == "NEWEST@example.com")
        assert session.scalars(query).one().name == "Ada"
    with shop.engine.connect() as connection:
        assert not {"name", "email", "born"} & {
            column["name"] for column in sa.inspect(connection).get_columns("buyer")
        }


def test_the_way_back_and_the_way_out(any_shop):
    """After the switch back to plaintext, which is what was sealed; after the contract, too."""
    shop = any_shop
    shop.old_rows("ada", "bob")
    shop.steps("expand", "backfill", "verify", "switch")
    change(shop, "ada", "late@example.com")
    expected = shop.read()
    shop.sql("UPDATE buyer SET email = 'spoilt@example.com' WHERE id = 1")  # sealed is what counts
    assert shop.read() == expected
    assert not shop.step("contract").ok
    shop.steps("undo")
    assert plain(shop) == shop.read() == expected
    assert {one.stage for one in shop.vault.migrations.status()} == {"verified"}
    shop.steps("switch", "contract")
    assert shop.read() == expected
    shop.steps("export")
    shop.old_rows("cyd")
    assert plain(shop) == shop.read()
    assert plain(shop)[0][:2] == expected[0]
    told = [e for e in testing.audit_events(shop.vault) if e["event"] == "export"]
    assert {name for e in told for name in e["fields"]} == {"name", "email", "born", "address"}
    assert len({ref for e in told for ref in e["refs"]}) >= 2


def test_a_row_that_nobody_sealed_is_read_after_the_switch_too(shop):
    """What an old process still adds is found, and keeps the plaintext from being dropped."""
    shop.old_rows("ada")
    shop.steps("expand", "backfill", "verify", "switch")
    shop.old_rows("late")
    assert shop.read() == plain(shop)
    refused = shop.step("contract")
    assert [(proof.left, proof.of) for proof in refused.proofs] == [(4, 8)]
    shop.steps("undo", "backfill", "verify", "switch", "contract")
    assert shop.read()[0][1][0] == "Late"


def test_switching_is_taken_back_when_something_still_writes_plaintext_alone(shop, monkeypatch):
    """An old process that writes while everybody is being told."""
    shop.old_rows("ada")
    shop.steps("expand", "backfill", "verify")
    monkeypatch.setattr(Move, "settle", lambda move: shop.old_rows("late"))
    assert not shop.step("switch").ok
    assert {one.stage for one in shop.vault.migrations.status()} == {"backfilled"}
    assert shop.read() == plain(shop)


def test_steps_out_of_order_are_refused(shop):
    """Each says what it follows; a field that isn't migrated is told; doctor knows the dates."""
    shop.old_rows("ada")
    with pytest.raises(ConfigurationError, match="lacks the columns"):
        shop.step("backfill")
    shop.steps("expand")
    for name in ("verify", "switch", "contract", "undo", "export"):
        with pytest.raises(ConfigurationError, match="is expanded"):
            shop.step(name)
    with pytest.raises(ConfigurationError, match=r"buyer\.age is declared"):
        shop.step("backfill", "buyer.age")
    shop.steps("backfill")
    with pytest.raises(ConfigurationError, match="is backfilled"):
        shop.step("switch", shop.Buyer.email)
    assert "migration_overdue" not in {each.code for each in examine(shop.vault)}
    shop.steps("undo", "backfill", "verify", "switch", "contract")
    assert "migration_over" in {each.code for each in examine(shop.vault)}


def test_a_dry_run_writes_nothing(shop):
    """It tells the statements of expand, and how much backfill would seal."""
    shop.old_rows("ada")
    told = shop.step("expand", dry_run=True).steps
    assert [each for each in told if "ADD COLUMN email_sealed" in each]
    with pytest.raises(ConfigurationError, match="lacks the columns"):
        shop.step("backfill")
    shop.steps("expand")
    assert shop.step("backfill", dry_run=True).steps == ["would seal 4 of 4 value(s)"]
    assert shop.sql("SELECT count(*) FROM buyer WHERE email_sealed IS NOT NULL") == [(0,)]
    assert shop.sql("SELECT count(*) FROM vaultlayer_subject_key") == [(0,)]
    shop.steps("backfill", "verify", "switch")
    told = shop.step("contract", dry_run=True).steps
    assert told == ["would drop bill.address, buyer.born, buyer.email, buyer.name"]
    assert shop.read() == plain(shop)
