"""kill -9 at every step of rotate, erase and backup: nothing lost or doubled, and it can go on."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections import Counter

import pytest
from sqlalchemy import create_engine, event, select

from vaultlayer import KeyErased
from vaultlayer.errors import VaultLayerError
from vaultlayer.keys import local_file
from vaultlayer.lifecycle import backups
from vaultlayer.lifecycle.tombstones import Tombstones

DEEDS = ("provider", "kek", "subject", "index", "reseal", "epoch", "erase", "deal", "backup")
FILES = ((local_file, "_write_aside"), (local_file, "_sync_folder"), (backups, "publish"))


def in_child(deed) -> int:
    """Run ``deed`` in a forked child; how it ended: 0, or minus the signal's number."""
    child = os.fork()
    if not child:
        code = 1
        try:
            deed()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def doomed(shop, deed, person, steps, number):
    """In the child: a process of its own that does the deed and is killed at one of its steps."""
    left = iter(range(steps - 1, -1, -1))

    def step(*_, **__):
        if not next(left, 1):
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(function):
        def run(*given):
            step()
            returned = function(*given)
            step()
            return returned

        return run

    shop.engine.dispose(close=False)
    shop.engine = create_engine(shop.engine.url)
    event.listen(shop.engine, "connect", shop.hasty)
    vault = shop.vault = shop.open()
    for name in ("before_cursor_execute", "after_cursor_execute", "commit"):
        event.listen(shop.engine, name, step)
    for owner, name in (*FILES, (Tombstones, "_append")):
        setattr(owner, name, counted(getattr(owner, name)))
    object.__setattr__(vault.settings, "backup_days", 0)
    with shop.officer():
        do(vault, deed, person, shop.folder, number)
    vault.close()


def do(vault, deed, person, folder, number):
    if deed == "erase":
        vault.subjects.erase(person, reason="article 17")
    elif deed == "deal":
        shares = folder / f"shares-{number}"
        vault.keys.backup(folder / f"backup-{number}", shares=(2, 3), folder=shares)
    elif deed == "backup":
        vault.keys.backup(folder / f"backup-{number}")
    elif deed == "reseal":
        vault.keys.reseal()
    elif deed == "epoch":
        vault.keys.end_epoch(min(e.epoch for e in vault.keys.epochs() if e.state != "erased"))
    else:
        vault.keys.rotate(deed, wait=0)


def campaign(shop, rounds, seed):
    """Rounds of a deed killed at a random step; everything is checked after each."""
    rng = random.Random(seed)
    ids = shop.populate("bob", "eve", bills=1)
    expected = {name: shop.read(ids[name]) for name in ids}
    with shop.officer():
        shop.vault.keys.backup(shop.folder / "first", shares=(2, 3), folder=shop.folder / "shares")
    counted: Counter[str] = Counter()
    for number in range(rounds):
        deed, name = rng.choice(DEEDS), f"p{number}"
        person = shop.populate(name, bills=1)[name]
        before = shop.read(person)
        shop.engine.dispose()
        steps = int(2 ** rng.uniform(0, 8))  # as many early ones as late ones
        code = in_child(lambda: doomed(shop, deed, person, steps, number))  # noqa: B023
        told = f"round {number} (seed {seed}): {deed} killed at step {steps}"
        assert code in (0, 1, -signal.SIGKILL), told  # 1: there was no epoch to end
        assert code != 1 or deed == "epoch", told
        counted.update({"killed": code < 0, f"{deed}: rounds": 1, f"{deed}: killed": code < 0})
        shop.restart()
        assert {who: shop.read(ids[who]) for who in ids} == expected, told
        for who in ids:
            assert found(shop, who) == 1, told
        try:
            assert shop.read(person) == before, told
            assert found(shop, name) == 1, told
        except KeyErased:
            assert deed == "erase", told
            counted["erased"] += 1
            assert found(shop, name) == 0, told
        if deed in ("deal", "backup"):
            check_backup(shop, number, told)
        shop.erase(person)
        with pytest.raises(KeyErased):
            shop.read(person)
        assert found(shop, name) == 0, told
        doubled = (
            "SELECT 1 FROM vaultlayer_subject_key WHERE state = 'active' "
            "GROUP BY tenant, subject HAVING count(*) > 1"
        )
        assert shop.sql(doubled) == [], told
        assert [n for (n,) in shop.sql(ROWS)] == [3, 3, 3], told
        forget(shop)
    with shop.officer():
        for what in ("provider", "kek", "subject", "index"):
            assert shop.vault.keys.rotate(what, wait=0).ok
    assert {who: shop.read(ids[who]) for who in ids} == expected
    return counted


ROWS = " UNION ALL ".join(f"SELECT count(*) FROM {table}" for table in ("person", "bill", "line"))


def forget(shop):
    """Delete the erased person's empty rows, so that a late round costs what an early one does."""
    newest = "(SELECT max(id) FROM {})"
    bill, person = newest.format("bill"), newest.format("person")
    shop.sql(f"DELETE FROM line WHERE bill_id = {bill}")
    shop.sql(f"DELETE FROM bill WHERE person_id = {person}")
    shop.sql(f"DELETE FROM person WHERE id = {person}")


def check_backup(shop, number, told):
    """The file is whole or absent, and the recovery key in use has its shares on the disk."""
    file = shop.folder / f"backup-{number}"
    with shop.officer():
        files = [file] if file.exists() else []
        files.append(shop.vault.keys.backup(shop.folder / f"after-{number}").file)
        for each in files:
            assert any(opens(shop, each, shares) for shares in dealt(shop)), told
    for path in shop.folder.glob("*-[0-9]*"):
        if path.is_file():
            path.unlink()


def dealt(shop):
    """Each set of shares on the disk, the newest first."""
    folders = sorted(shop.folder.glob("shares*"), key=lambda path: -path.stat().st_mtime_ns)
    return [[share.read_text() for share in sorted(f.glob("share-*"))][:2] for f in folders]


def opens(shop, file, shares):
    try:
        return shop.vault.keys.restore(file, shares, dry_run=True) > 0
    except VaultLayerError:
        return False


def found(shop, name):
    with shop.sessions() as session, shop.service():
        query = select(shop.Person.id).where(shop.Person.email == f"{name}@example.com")
        return len(session.scalars(query).all())


@pytest.mark.parametrize(("database", "rounds"), [("sqlite", 8), ("postgres", 3)])
def test_killed_at_any_step(request, make_shop, database, rounds):
    """The short form: what was there opens and is found, and what was begun can be ended."""
    shop = make_shop(request.getfixturevalue(f"{database}_engine"))
    counted = campaign(shop, rounds, seed=int.from_bytes(os.urandom(4), "big"))
    assert counted["killed"] >= rounds // 4


@pytest.mark.soak
@pytest.mark.parametrize("part", range(20))
@pytest.mark.parametrize(("database", "rounds"), [("sqlite", 30), ("postgres", 20)])
def test_a_thousand_kills(request, make_shop, database, rounds, part, capsys):
    """The long form: 1,000 rounds over all deeds and both databases, in parts: a vault opens all
    the slower, the more processes have left a shard of the log."""
    shop = make_shop(request.getfixturevalue(f"{database}_engine"))
    counted = campaign(shop, rounds, seed=20261124 + part)
    with capsys.disabled():
        told = dict(sorted(counted.items()))
        sys.stdout.write(f"\n{database}, part {part}: {rounds} rounds, {told}\n")
    assert counted["killed"] > rounds // 4
