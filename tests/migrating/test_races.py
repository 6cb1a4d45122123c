"""What others do meanwhile: nothing is lost, doubled, sealed twice, or cut short."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from contextlib import suppress

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from vaultlayer.errors import ConfigurationError, KeyUnavailable, VaultLayerError
from vaultlayer.lifecycle.lease import alone
from vaultlayer.lifecycle.rewrite import Rewriting

WAITING = ("switch", "undo", "contract", "export")
STEPS = ("expand", "backfill", "verify", "switch", "undo", "switch", "contract", "export")


def beside(monkeypatch, deed):
    """Run ``deed`` once, between the reading of a chunk of buyers and its writing."""
    write, left = Rewriting._write_all, [deed]

    def late(rewriting, changes):
        while left and rewriting.table.name == "buyer":
            left.pop()()
        return write(rewriting, changes)

    monkeypatch.setattr(Rewriting, "_write_all", late)


def test_rows_changed_and_deleted_between_read_and_write(any_shop, monkeypatch):
    """By the old application, by the new one, emptied, deleted, erased: what they did stays."""
    shop = any_shop
    shop.old_rows("ada", "bob", "cyd", "dee", "eve", "fay")
    shop.steps("expand")
    if shop.engine.dialect.name == "sqlite":
        with shop.sessions() as session, shop.service():
            erased = session.get(shop.Buyer, 5).subject_id

    own = []

    def meanwhile():
        shop.sql("UPDATE buyer SET email = 'old@example.com' WHERE id = 1")
        with shop.sessions() as session, shop.service():
            session.get(shop.Buyer, 2).email = "new@example.com"
            session.get(shop.Buyer, 6).name = "Fay"  # as it was, sealed by the application
            session.commit()
        own.extend(shop.sql("SELECT name_sealed FROM buyer WHERE id = 6"))
        shop.sql("UPDATE buyer SET email = NULL WHERE id = 3")
        shop.sql("DELETE FROM bill WHERE buyer_id = 4")
        shop.sql("DELETE FROM buyer WHERE id = 4")
        if shop.engine.dialect.name == "sqlite":
            with shop.officer():
                shop.vault.subjects.erase(erased, reason="article 17")

    beside(monkeypatch, meanwhile)
    assert shop.step("backfill").ok
    assert shop.sql("SELECT name_sealed FROM buyer WHERE id = 6") == own
    gone = shop.engine.dialect.name == "sqlite"
    if gone:
        assert shop.sql("SELECT name_sealed, email_sealed_bidx FROM buyer WHERE id = 5") == [
            (None, None)
        ]
    shop.steps("verify", "switch")
    emails = [email for _, email, _ in shop.read()[0]]
    assert emails == [
        "old@example.com", "new@example.com", None, None if gone else "eve@example.com",
        "fay@example.com",
    ]  # fmt: skip


def test_what_is_sealed_and_equal_is_left_alone(shop):
    """A second backfill writes no byte, and neither does one after all of it was dual-written."""
    shop.old_rows("ada")
    shop.steps("expand", "backfill")
    before = shop.sql("SELECT * FROM buyer"), shop.sql("SELECT * FROM vaultlayer_term")
    shop.steps("backfill", "backfill", "verify")
    assert (shop.sql("SELECT * FROM buyer"), shop.sql("SELECT * FROM vaultlayer_term")) == before


def test_plaintext_that_looks_like_an_envelope_is_sealed_like_any_other(shop):
    """Another row's very bytes as text, and text that begins like one."""
    shop.old_rows("ada")
    shop.steps("expand", "backfill")
    ((envelope,),) = shop.sql("SELECT name_sealed FROM buyer")
    odd = [bytes(envelope).decode("latin-1"), "\xf9\x01\x00" + "x" * 60, "\ud7ff\x00"]
    for name in odd:
        shop.sql("INSERT INTO buyer (name) VALUES (:name)", name=name)
    shop.steps("backfill", "verify", "switch", "contract")
    assert [name for name, _, _ in shop.read()[0]] == ["Ada", *odd]


def test_two_backfills_at_once(any_shop):
    """The second is refused while the first goes on; a killed one's lease is gone with it."""
    shop = any_shop
    shop.old_rows("ada")
    shop.steps("expand")
    with alone(shop.engine, shop.folder / "elsewhere"):
        if shop.engine.dialect.name != "sqlite":  # two machines
            with pytest.raises(KeyUnavailable, match="another process"):
                shop.step("backfill")
    with (
        alone(shop.engine, shop.vault.settings.audit_directory),
        pytest.raises(KeyUnavailable, match="another process"),
    ):
        shop.step("backfill")
    shop.steps("backfill")


def test_a_column_too_short_is_refused_before_anything_is_written(make_shop, mariadb_engine):
    """Not truncated, whatever the server's mode."""
    shop = make_shop(mariadb_engine)
    shop.old_rows("ada")
    shop.steps("expand")
    shop.sql("ALTER TABLE buyer MODIFY email_sealed TINYBLOB")
    with pytest.raises(ConfigurationError, match=r"buyer\.email_sealed holds 255 bytes"):
        shop.step("backfill")
    assert shop.sql("SELECT count(*) FROM buyer WHERE name_sealed IS NOT NULL") == [(0,)]
    assert shop.sql("SELECT count(*) FROM vaultlayer_subject_key") == [(0,)]


def test_rows_that_lead_to_no_person_are_told(shop):
    """They can't be sealed, so the proof isn't given."""
    shop.sql("INSERT INTO bill (address) VALUES ('nowhere')")
    shop.steps("expand")
    refused = shop.step("backfill", "bill.address")
    assert [(proof.left, proof.of) for proof in refused.proofs] == [(1, 1)]
    assert any("lead to no person" in step for step in refused.steps)


def test_the_rate_is_kept(shop):
    """So many rows a second, and no more."""
    shop.old_rows(*(f"n{n}" for n in range(20)))
    shop.steps("expand")
    began = time.monotonic()
    assert shop.step("backfill", "buyer.name", rate=40).ok
    assert time.monotonic() - began >= 0.5


def application(shop, number, folder, old):
    """In a process of its own: adds rows, renames them, and notes each commit.

    Until the step was killed the ``old`` application renames too, which knows plaintext alone.
    """
    rng, turn = random.Random(number), 0
    shop.engine.dispose(close=False)
    vault = shop.vault = shop.open()
    with (folder / "said").open("a") as said, (folder / "failed").open("a") as failed:
        while not (folder / "stop").exists():
            turn += 1
            name = f"x{number}-{turn}"
            try:
                with shop.sessions() as session, shop.service():
                    session.add(shop.Buyer(name=name, email=f"{name}@example.com"))
                    session.commit()
                said.write(f"{name}@example.com {name}\n")
                with shop.sessions() as session, shop.service():
                    query = sa.select(shop.Buyer).order_by(sa.desc(shop.Buyer.id)).limit(5)
                    buyer = rng.choice(session.scalars(query).all())
                    email, new = buyer.email, f"renamed-{name}"
                    if old and not (folder / "killed").exists():
                        session.rollback()
                        told = {"name": new, "email": email}
                        shop.sql("UPDATE buyer SET name = :name WHERE email = :email", **told)
                    else:
                        buyer.name = new
                        session.commit()
                said.write(f"{email} {new}\n")
            except (DBAPIError, VaultLayerError) as error:
                if not locked(error):
                    failed.write(f"{error}\n")
            time.sleep(0.002)
    vault.close()


def forked(deed):
    """Run ``deed`` in a child; its process id."""
    child = os.fork()
    if not child:
        code = 1
        try:
            deed()
            code = 0
        finally:
            os._exit(code)
    return child


def ended(child):
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def locked(error):
    """Whether a database asks to try again, as any application has to."""
    told = str(error).lower()
    return any(word in told for word in ("locked", "deadlock", "try restarting", "serializ"))


def doomed(shop, name, after):
    """A step that is killed after so many statements."""
    shop.engine.dispose(close=False)
    vault = shop.vault = shop.open()
    left = iter(range(after, -1, -1))

    def step(*_, **__):
        if not next(left, 1):
            os.kill(os.getpid(), signal.SIGKILL)

    for moment in ("before_cursor_execute", "after_cursor_execute", "commit"):
        event.listen(shop.engine, moment, step)
    with suppress(VaultLayerError):
        shop.step(name, wait=0.3) if name in WAITING else shop.step(name)
    vault.close()


def campaign(shop, rounds, seed):
    """Rounds of all steps, each killed at random and done again, beside an application."""
    rng, told = random.Random(seed), Counter()
    shop.old_rows("ada", "bob")
    shop.steps("expand")
    for number in range(rounds):
        name, folder = STEPS[number % len(STEPS)], shop.folder / f"round-{number}"
        folder.mkdir()
        shop.engine.dispose()
        writing = forked(lambda: application(shop, number, folder, number % 8 < 2))  # noqa: B023
        time.sleep(rng.uniform(0, 0.3))
        after = int(2 ** rng.uniform(0, 8))
        code = ended(forked(lambda: doomed(shop, name, after)))  # noqa: B023
        (folder / "killed").touch()
        told[f"{name} {'killed' if code else 'done'}"] += 1
        assert code in (0, -signal.SIGKILL), (name, seed, number)
        again(shop, name)
        (folder / "stop").touch()
        assert ended(writing) == 0, (name, seed, number)
        assert (folder / "failed").read_text() == "", (name, seed, number)
        check(shop, (name, seed, number))
    return told


def again(shop, name):
    """What was killed is done again until it holds, as whoever runs it would."""
    for _ in range(10):
        try:
            if shop.step(name).ok:
                return
            shop.step("backfill")
            shop.step("verify")
        except ConfigurationError as error:  # it was over before it was killed
            assert "from where this step" in error.message
            return
    raise AssertionError(name)


def check(shop, told):
    """Every row once, as it was committed last."""
    expected = {f"{name}@example.com": name.title() for name in ("ada", "bob")}
    for folder in sorted(shop.folder.glob("round-*"), key=lambda path: int(path.name[6:])):
        for line in (folder / "said").read_text().splitlines():
            email, name = line.split()
            expected[email] = name
    found = [(email, name) for name, email, _ in shop.read()[0]]
    assert len(found) == len(dict(found)), told
    assert dict(found) == expected, told


def test_killed_at_any_step_beside_an_application(shop):
    """The short form of ``test_two_hundred_kills``."""
    campaign(shop, len(STEPS), seed=int.from_bytes(os.urandom(4), "big"))


@pytest.mark.soak
@pytest.mark.parametrize("database", ["sqlite", "postgres", "mariadb"])
def test_two_hundred_kills(request, make_shop, database, capsys):
    """200 kills of each step's turn: no row lost, doubled, or sealed twice."""
    shop = make_shop(request.getfixturevalue(f"{database}_engine"))
    told = campaign(shop, 200, seed=20261124)
    with capsys.disabled():
        sys.stdout.write(f"\n{database}: {dict(sorted(told.items()))}\n")
