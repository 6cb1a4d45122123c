"""Every key of the hierarchy exchanged while all of it stays readable, searchable and unique."""

from __future__ import annotations

import threading
import time
from itertools import product

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import IntegrityError as UniqueViolation

from vaultlayer import AccessDenied, NoAccess
from vaultlayer.errors import ConfigurationError, KeyUnavailable
from vaultlayer.keys import states
from vaultlayer.lifecycle.lease import alone, quiet
from vaultlayer.lifecycle.rewrite import giving_way

WHAT = ("provider", "kek", "subject", "index")
EVERYWHERE = [*product(("sqlite", "postgres"), WHAT), ("mariadb", "subject")]


def rotate(shop, what, **options):
    with shop.officer():
        return shop.vault.keys.rotate(what, wait=options.pop("wait", 0), **options)


def found(shop, name):
    with shop.sessions() as session, shop.service():
        query = select(shop.Person.id).where(shop.Person.email == f"{name}@example.com")
        return len(session.scalars(query).all())


@pytest.mark.parametrize(("any_shop", "what"), EVERYWHERE, indirect=["any_shop"])
def test_all_of_it_opens_and_is_found_afterwards(any_shop, what):
    """In this process and in another; the report proves that nothing is left, and so is the log."""
    shop = any_shop
    ids = shop.populate("ada", "bob")
    before = {name: shop.read(ids[name]) for name in ids}
    shop.add(shop.Clerk(name="eve", email="eve@example.com", badge="4711"))
    report = rotate(shop, what)
    assert report.ok, report
    assert [proof.left for proof in report.proofs] == [0]
    assert report.proofs[0].of > 0
    assert report.proofs[0].sampled == report.proofs[0].opened > 0
    for _ in range(2):
        assert {name: shop.read(ids[name]) for name in ids} == before
        assert [found(shop, name) for name in ("ada", "bob", "eve", "zoe")] == [1, 1, 1, 0]
        shop.restart()
    again = rotate(shop, what)
    assert again.ok
    assert {name: shop.read(ids[name]) for name in ids} == before


@pytest.mark.parametrize("any_shop", ["postgres"], indirect=True)
@pytest.mark.parametrize("what", ["rotate", "reseal"])
def test_postgresql_is_let_know_how_many_keys_there_are(any_shop, what):
    """A table it never looked at counts as small, and each chunk would go through all of it."""
    shop = any_shop
    shop.populate("ada", "bob")
    known = "SELECT reltuples FROM pg_class WHERE relname = 'vaultlayer_subject_key'"
    assert shop.sql(known) == [(-1,)]
    if what == "rotate":
        assert rotate(shop, "subject").ok
        assert shop.sql(known)[0][0] >= 4
    else:
        with shop.officer():
            assert shop.vault.keys.reseal().ok
        assert shop.sql(known)[0][0] >= 2


def test_a_new_generation_is_what_everything_is_under(any_shop):
    """The envelopes name new keys; the former are kept for backups, and destroyed after those."""
    shop = any_shop
    ids = shop.populate("ada", "bob")
    before = {name: shop.read(ids[name]) for name in ids}
    old = {bytes(v)[3:19] for (v,) in shop.sql("SELECT name FROM person")}
    rotate(shop, "subject")
    new = {bytes(v)[3:19] for (v,) in shop.sql("SELECT name FROM person")}
    assert not old & new
    counted = "SELECT state, count(*) FROM vaultlayer_subject_key GROUP BY state ORDER BY state"
    assert shop.sql(counted) == [("active", 2), ("decrypt_only", 2)]
    object.__setattr__(shop.vault.settings, "backup_days", 0)
    rotate(shop, "subject")
    assert shop.sql(counted) == [("active", 2), ("erased", 4)]
    shop.restart()
    assert {name: shop.read(ids[name]) for name in ids} == before


def test_one_persons_key_alone(shop):
    """Only Ada's values change; her log_ref, by which the log knows her, stays."""
    ids = shop.populate("ada", "bob")
    refs = log_refs(shop)
    before = dict(shop.sql("SELECT id, name FROM person"))
    report = rotate(shop, "subject", subject_id=ids["ada"])
    assert report.ok
    after = dict(shop.sql("SELECT id, name FROM person"))
    assert sum(before[pk] != after[pk] for pk in before) == 1
    shop.restart()
    assert log_refs(shop) == refs
    assert len(refs) == 2


def log_refs(shop):
    active = "SELECT key_id FROM vaultlayer_subject_key WHERE state = 'active'"
    with shop.engine.connect() as connection:
        ids = [bytes(key_id) for (key_id,) in shop.sql(active)]
        keys = shop.vault.keys.fetch(connection, ids).values()
    return {key.subject: key.log_ref for key in keys}


def test_an_erased_person_stays_erased_through_every_rotation(any_shop):
    """Nothing of hers is counted, resealed or revived; the tombstone goes along to the new KEK."""
    shop = any_shop
    ids = shop.populate("ada", "bob")
    before = shop.read(ids["bob"])
    shop.erase(ids["ada"])
    for what in WHAT:
        report = rotate(shop, what)
        assert report.ok, report
        shop.restart()
        with pytest.raises(Exception, match="was destroyed"):
            shop.read(ids["ada"])
        assert shop.read(ids["bob"]) == before
    assert len(shop.sql("SELECT 1 FROM vaultlayer_subject_key WHERE state = 'active'")) == 1


def test_an_epochs_end(any_shop):
    """Refused while it protects keys or backups need it; then the old KEK and version are gone."""
    shop = any_shop
    ids = shop.populate("ada")
    before = shop.read(ids["ada"])
    with shop.officer(), pytest.raises(ConfigurationError, match="protects"):
        shop.vault.keys.end_epoch(1)
    rotate(shop, "kek")
    with shop.officer(), pytest.raises(ConfigurationError, match="are kept until"):
        shop.vault.keys.end_epoch(1)
    object.__setattr__(shop.vault.settings, "backup_days", 0)
    assert len(shop.vault.keys.keks.provider("").versions()) == 2
    with shop.officer():
        assert shop.vault.keys.end_epoch(1) is not None
    assert len(shop.vault.keys.keks.provider("").versions()) == 1
    told = [(e.epoch, e.state, e.keys_left) for e in shop.vault.keys.epochs()]
    assert told[0] == (1, states.ERASED, 0)
    assert told[1][:2] == (2, states.ACTIVE)
    shop.restart()
    assert shop.read(ids["ada"]) == before
    shop.populate("bob")


@pytest.mark.parametrize("stage", [states.ADDED, states.ACTIVE])
def test_two_live_roots_find_everything_and_keep_values_unique(any_shop, stage):
    """While roots are exchanged: rows under either are found, and no value is stored twice."""
    shop = any_shop
    shop.populate("ada")
    half_way(shop, stage)
    shop.populate("bob")
    assert [found(shop, name) for name in ("ada", "bob")] == [1, 1]
    for name in ("ada", "bob"):
        with pytest.raises(UniqueViolation):
            shop.populate(name)
    with shop.sessions() as session, shop.service():  # a row keeps its own value
        ada = session.scalars(
            select(shop.Person).where(shop.Person.email == "ada@example.com")
        ).one()
        ada.email = "ada@example.com"
        session.commit()
        both = shop.Person.email.in_(["ada@example.com", "bob@example.com"])
        assert len(session.scalars(select(shop.Person).where(both)).all()) == 2
        other = select(shop.Person).where(shop.Person.email != "ada@example.com")
        assert len(session.scalars(other).all()) == 1
    report = rotate(shop, "index")
    assert report.ok
    assert [found(shop, name) for name in ("ada", "bob")] == [1, 1]
    with pytest.raises(UniqueViolation):
        shop.populate("ada")


def half_way(shop, stage):
    """Stop an index rotation after its first or second step, as a kill would."""

    class Stopped(Exception):
        pass

    def stop(told, _):
        if stage == states.ADDED or "resealing" in told:
            raise Stopped

    with shop.officer(), pytest.raises(Stopped):
        shop.vault.keys.rotate("index", wait=0, progress=stop)
    shop.restart()
    live = shop.sql("SELECT state FROM vaultlayer_index_root ORDER BY epoch")
    assert live[-1] == (stage,)


def test_a_dry_run_changes_nothing(shop):
    """Not a byte of any table, and no step in the log."""
    shop.populate("ada")
    shop.read(next(iter(shop.populate("bob").values())))
    dump = all_tables(shop)
    for what in WHAT:
        report = rotate(shop, what, dry_run=True)
        assert report.dry_run
    with shop.officer():
        shop.vault.keys.reseal(dry_run=True)
    assert all_tables(shop) == dump


def all_tables(shop):
    names = "person", "bill", "line", "vaultlayer_kek", "vaultlayer_subject_key"
    return {name: sorted(map(str, shop.sql(f"SELECT * FROM {name}"))) for name in names}


def test_one_at_a_time(any_shop):
    """A second process is refused while the first is at it, and may go on once it is gone."""
    shop = any_shop
    shop.populate("ada")
    with alone(shop.engine, shop.folder / "other"), pytest.raises(KeyUnavailable):
        if shop.engine.dialect.name == "sqlite":
            with alone(shop.engine, shop.folder / "other"):
                pass
        rotate(shop, "kek")
    assert rotate(shop, "kek").ok


def test_it_waits_for_older_transactions_and_no_longer(any_shop):
    """MariaDB renews what it tells of transactions only where nobody asked for 0.1 s.

    So who asks more often waits for one that is long over, and who asks right after another misses
    one that began in between.
    """
    engine, over = any_shop.engine, []
    with engine.connect() as older:
        older.execute(text("UPDATE person SET id = id"))

        def end():
            time.sleep(0.7)
            over.append(time.monotonic())
            older.rollback()

        ending = threading.Thread(target=end)
        ending.start()
        quiet(engine, patience=4)
        assert over
        assert time.monotonic() - over[0] < 3
        ending.join()
        if engine.dialect.name != "sqlite":
            if engine.dialect.name != "postgresql":
                any_shop.sql("SELECT count(*) FROM information_schema.innodb_trx")
            older.execute(text("UPDATE person SET id = id"))
            with pytest.raises(KeyUnavailable, match="still open") as refused:
                quiet(engine, patience=0.3)
            assert "run the command again" in refused.value.hint


@pytest.mark.parametrize("database", ["postgres", "mariadb"])
def test_it_waits_for_no_lock_that_others_hold(request, make_shop, database):
    """Of two that wait for each other the database ends one: it isn't to be the application's."""
    shop = make_shop(request.getfixturevalue(f"{database}_engine"))
    shop.populate("ada")
    touch = text("UPDATE person SET id = id")
    with shop.engine.connect() as application:
        application.execute(touch)
        began = time.monotonic()
        with pytest.raises(DBAPIError), giving_way(shop.engine) as connection:
            connection.execute(touch)
        assert time.monotonic() - began < 5
        application.rollback()
    shop.engine.dispose()
    with giving_way(shop.engine) as connection:
        connection.execute(touch)
    if database == "mariadb":  # the pool's connection waits as it did before
        ((seconds,),) = shop.sql("SELECT @@SESSION.innodb_lock_wait_timeout")
        assert seconds > 0


def test_it_takes_an_access_that_may_administer(shop):
    """NoAccess without one; AccessDenied, recorded, with another role."""
    shop.populate("ada")
    with pytest.raises(NoAccess):
        shop.vault.keys.rotate("kek")
    with shop.service(), pytest.raises(AccessDenied):
        shop.vault.keys.rotate("kek")
    with pytest.raises(ConfigurationError, match="no key 'lock'"):
        rotate(shop, "lock")


def test_damaged_values_are_told_and_left_alone(shop):
    """A value that no key opens isn't destroyed by resealing: the report isn't ok."""
    shop.populate("ada", "bob")
    shop.sql("UPDATE person SET name = zeroblob(60) WHERE id = 1")
    report = rotate(shop, "subject")
    assert not report.ok
    assert report.damaged >= 1
    assert shop.sql("SELECT name FROM person WHERE id = 1") == [(bytes(60),)]


def test_what_is_written_meanwhile_is_not_lost(any_shop):
    """Between reading a chunk and writing it somebody assigns: the new value stays, resealed."""
    shop = any_shop
    ids = shop.populate("ada", "bob")
    written = []

    def meanwhile(told, _):
        if told.startswith("making keys") and not written:
            written.append(told)

    from vaultlayer.lifecycle import rewrite

    original = rewrite.Rewriting._write

    def late(self, changes):
        if self.table.name == "person" and len(written) < 2:
            written.append("late")
            with shop.sessions() as session, shop.service():
                ada = session.scalars(
                    select(shop.Person).where(shop.Person.subject_id == ids["ada"])
                ).one()
                ada.name = "Ada, meanwhile"
                session.commit()
        return original(self, changes)

    rewrite.Rewriting._write = late
    try:
        report = rotate(shop, "subject", progress=meanwhile)
    finally:
        rewrite.Rewriting._write = original
    assert "late" in written
    assert report.ok
    assert shop.read(ids["ada"])[0] == "Ada, meanwhile"
    assert shop.read(ids["bob"])[0] == "bob"
