"""The end of a migration: the plaintext is in no byte of the database's files."""

from __future__ import annotations

from datetime import date

import pytest
import sqlalchemy as sa
from sqlalchemy import create_engine, event

from vaultlayer.errors import ConfigurationError, KeyUnavailable
from vaultlayer.lifecycle.migrating import expanding
from vaultlayer.testing import assert_no_plaintext

CANARIES = [f"canary-{n}-{'x' * n}" for n in range(40)]


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_no_byte_of_the_plaintext_is_left_in_sqlites_files(make_shop, tmp_path, mode):
    """Database, WAL and journal, with another connection open all the time."""
    folder = tmp_path / "data"
    folder.mkdir()
    engine = create_engine(f"sqlite:///{folder}/shop.db")
    event.listen(
        engine, "connect", lambda connection, _: connection.execute(f"PRAGMA journal_mode = {mode}")
    )
    shop = make_shop(engine)
    shop.old_rows(*CANARIES)
    shop.sql("CREATE INDEX by_mail ON buyer (email, id)")
    idle = engine.connect()
    idle.execute(sa.text("SELECT 1 FROM buyer")).all()
    idle.rollback()
    with pytest.raises(AssertionError):
        assert_no_plaintext(folder, CANARIES)
    shop.steps("expand", "backfill", "verify", "switch")
    expected = shop.read()
    report = shop.step("contract")
    assert report.ok
    assert "backups made before now hold the plaintext until" in report.steps[-1]
    assert_no_plaintext(folder, [*CANARIES, *(each.title() for each in CANARIES)])
    idle.close()
    assert shop.read() == expected
    engine.dispose()


def test_a_file_in_use_is_told_and_scrubbed_by_the_next_run(shop, monkeypatch):
    """A reader that never ends: the proof isn't given; run again, it is."""
    shop.old_rows("canary-in-use")
    shop.steps("expand", "backfill", "verify", "switch")
    monkeypatch.setattr("vaultlayer.lifecycle.migrating.contracting._TRIES", 1)
    write = shop.vault.migrations.set

    def reader_first(connection, fields, stage):
        write(connection, fields, stage)
        if stage == "contracted" and not held:
            held.append(shop.engine.connect())
            held[0].exec_driver_sql("BEGIN")
            held[0].exec_driver_sql("SELECT count(*) FROM buyer").all()

    held = []
    monkeypatch.setattr(shop.vault.migrations, "set", reader_first)
    report = shop.step("contract")
    assert not report.ok
    assert any("run contract again" in step for step in report.steps)
    held[0].close()
    assert shop.step("contract").ok
    assert_no_plaintext(shop.folder, ["canary-in-use"])


def test_what_sqlite_cant_drop_is_refused_before_anything_is_done(shop):
    """A UNIQUE constraint is refused at once, a view when the column goes; both say what to do."""
    shop.sql("CREATE VIEW mailing AS SELECT email FROM buyer")
    shop.sql("DROP TABLE bill")
    shop.sql("CREATE TABLE bill (id INTEGER PRIMARY KEY, buyer_id INTEGER, address TEXT UNIQUE)")
    shop.old_rows("ada")
    shop.steps("expand", "backfill", "verify", "switch")
    with pytest.raises(ConfigurationError, match=r"bill\.address can't be dropped: a constraint"):
        shop.step("contract")
    assert {one.stage for one in shop.vault.migrations.status()} == {"switched"}
    buyers = [shop.Buyer.name, shop.Buyer.email, shop.Buyer.born]
    with pytest.raises(KeyUnavailable, match=r"(?s)can't be dropped.*vaultlayer scan"):
        shop.step("contract", *buyers)
    assert shop.read()[0][0][0] == "Ada"
    shop.sql("DROP VIEW mailing")
    assert shop.step("contract", *buyers).ok
    assert shop.read() == [[("Ada", "ada@example.com", date(1931, 7, 23))], ["1 ada Street"]]
    shop.steps("undo", "backfill", "verify")  # of the address alone, which is left


@pytest.mark.parametrize("database", ["postgres", "mariadb"])
def test_postgresql_and_mariadb_rewrite_the_table(request, make_shop, database):
    """NOT NULL is relaxed before anybody stops writing; afterwards the table's file is another."""
    shop = make_shop(request.getfixturevalue(f"{database}_engine"))
    shop.old_rows(*CANARIES)
    shop.steps("expand", "backfill", "verify", "switch")
    file = {
        "postgres": "SELECT pg_relation_filenode('buyer')",
        "mariadb": "SELECT table_id FROM information_schema.innodb_sys_tables "
        "WHERE name = concat(database(), '/buyer')",
    }[database]
    before = shop.sql(file)
    shop.steps("contract")
    assert shop.sql(file) != before
    for name in ("undo", "backfill", "switch"):
        with pytest.raises(ConfigurationError, match="is contracted"):
            shop.step(name)


@pytest.mark.parametrize("code", ["55P03", "40P01", 1205, 1213])
def test_ddl_that_lost_to_a_lock_is_tried_again(sqlite_engine, code):
    """Too long a wait, or a deadlock; anything else is told, by the database's code."""
    codes = [code, code, 1146]

    class Refused(Exception):
        pass

    @event.listens_for(sqlite_engine, "before_cursor_execute")
    def refuse(*_):
        raise sa.exc.OperationalError("CREATE", {}, Refused(codes.pop(0)))

    with pytest.raises(KeyUnavailable, match=r"changed now \(OperationalError 1146\)"):
        expanding.run(sqlite_engine, "CREATE TABLE a (b)")
    assert codes == []
