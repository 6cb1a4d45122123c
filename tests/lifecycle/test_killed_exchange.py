"""kill -9 at every step of rotate and erase: nothing lost, nothing doubled, and it can go on."""

from __future__ import annotations

import os
import random
import signal
import sys

import pytest
from sqlalchemy import create_engine, event, select

from vaultlayer import KeyErased
from vaultlayer.lifecycle.tombstones import Tombstones

DEEDS = ("provider", "kek", "subject", "index", "reseal", "epoch", "erase")


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


def doomed(shop, deed, person, steps):
    """In the child: a process of its own that does the deed and is killed at one of its steps."""
    left = iter(range(steps - 1, -1, -1))

    def step(*_, **__):
        if not next(left, 1):
            os.kill(os.getpid(), signal.SIGKILL)

    shop.engine.dispose(close=False)
    shop.engine = create_engine(shop.engine.url)
    for name in ("before_cursor_execute", "after_cursor_execute", "commit"):
        event.listen(shop.engine, name, step)
    append = Tombstones._append

    def counted(self, lines):
        step()
        append(self, lines)
        step()

    Tombstones._append = counted
    vault = shop.vault = shop.open()
    object.__setattr__(vault.settings, "backup_days", 0)
    with shop.officer():
        if deed == "erase":
            vault.subjects.erase(person, reason="article 17")
        elif deed == "reseal":
            vault.keys.reseal()
        elif deed == "epoch":
            vault.keys.end_epoch(min(e.epoch for e in vault.keys.epochs() if e.state != "erased"))
        else:
            vault.keys.rotate(deed, wait=0)
    vault.close()


def campaign(shop, rounds, seed):
    """Rounds of a deed killed at a random step; everything is checked after each."""
    rng = random.Random(seed)
    ids = shop.populate("bob", "eve", bills=1)
    expected = {name: shop.read(ids[name]) for name in ids}
    killed = erased = 0
    for number in range(rounds):
        deed, name = rng.choice(DEEDS), f"p{number}"
        person = shop.populate(name, bills=1)[name]
        before = shop.read(person)
        shop.engine.dispose()
        steps = int(2 ** rng.uniform(0, 8))  # as many early ones as late ones
        code = in_child(lambda: doomed(shop, deed, person, steps))  # noqa: B023
        assert code in (0, 1, -signal.SIGKILL)  # 1: there was no epoch to end
        assert code != 1 or deed == "epoch", (number, deed, steps)
        killed += code != 0
        shop.restart()
        told = f"round {number} (seed {seed}): {deed} killed at step {steps}"
        assert {who: shop.read(ids[who]) for who in ids} == expected, told
        for who in ids:
            assert found(shop, who) == 1, told
        try:
            assert shop.read(person) == before, told
            assert found(shop, name) == 1, told
        except KeyErased:
            assert deed == "erase", told
            erased += 1
            assert found(shop, name) == 0, told
        shop.erase(person)
        with pytest.raises(KeyErased):
            shop.read(person)
        assert found(shop, name) == 0, told
        doubled = (
            "SELECT 1 FROM vaultlayer_subject_key WHERE state = 'active' "
            "GROUP BY tenant, subject HAVING count(*) > 1"
        )
        assert shop.sql(doubled) == [], told
        assert shop.sql("SELECT count(*) FROM person") == [(3 + number,)], told
    with shop.officer():
        for what in ("provider", "kek", "subject", "index"):
            assert shop.vault.keys.rotate(what, wait=0).ok
    assert {who: shop.read(ids[who]) for who in ids} == expected
    return killed, erased


def found(shop, name):
    with shop.sessions() as session, shop.service():
        query = select(shop.Person.id).where(shop.Person.email == f"{name}@example.com")
        return len(session.scalars(query).all())


@pytest.mark.parametrize(("database", "rounds"), [("sqlite", 14), ("postgres", 6)])
def test_killed_at_any_step(request, make_shop, database, rounds):
    """The short form: what was there opens and is found, and what was begun can be ended."""
    shop = make_shop(request.getfixturevalue(f"{database}_engine"))
    killed, _ = campaign(shop, rounds, seed=int.from_bytes(os.urandom(4), "big"))
    assert killed > rounds // 4


@pytest.mark.soak
@pytest.mark.parametrize(("database", "rounds"), [("sqlite", 700), ("postgres", 300)])
def test_a_thousand_kills(request, make_shop, database, rounds, capsys):
    """The long form: 1,000 rounds over all deeds and both databases."""
    shop = make_shop(request.getfixturevalue(f"{database}_engine"))
    killed, erased = campaign(shop, rounds, seed=20261124)
    with capsys.disabled():
        sys.stdout.write(f"\n{database}: {rounds} rounds, {killed} killed, {erased} erased\n")
    assert killed > rounds // 4
