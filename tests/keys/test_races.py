"""Several processes at once, on each database: one key for a person, whoever comes first."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from vaultlayer.errors import KeyUnavailable
from vaultlayer.keys import tables


@pytest.mark.parametrize("ending", ["commit", "rollback"])
@pytest.mark.parametrize("fresh", [False, True])
def test_two_transactions_make_the_same_key_at_once(any_world, ending, fresh):
    """The second waits for the first, then has the first one's key, or its own after a rollback."""
    world, subject, started = any_world, os.urandom(16), threading.Event()

    def second():
        with world.begin() as connection:
            started.set()
            return world.process().active(connection, "", [subject], fresh)[subject].key_id

    with ThreadPoolExecutor(1) as pool:
        with world.engine.connect() as connection:
            first = world.keys.active(connection, "", [subject])[subject].key_id
            waiting = pool.submit(second)
            started.wait(5)
            time.sleep(0.2)
            assert not waiting.done()
            getattr(connection, ending)()
        got = waiting.result(10)
    assert (got == first) == (ending == "commit")
    assert list(world.cold([got])) == [got]


def test_many_threads_agree_on_many_people(any_world):
    """Eight processes that need the same 40 people's keys at once end with 40 keys."""
    world, subjects = any_world, [os.urandom(16) for _ in range(40)]
    gate = threading.Barrier(8)

    def process(number):
        gate.wait(5)
        with world.begin() as connection:
            mine = subjects[number:] + subjects[:number]
            keys = world.process().active(connection, "acme", mine)
            roots = world.process().index_keys(connection, "acme", "e", "f", "i")
        return {subject: key.key_id for subject, key in keys.items()}, roots

    with ThreadPoolExecutor(8) as pool:
        first, *others = pool.map(process, range(8))
    assert all(other == first for other in others)
    with world.engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(tables.subject_key)) == 40
        assert connection.scalar(select(func.count()).select_from(tables.kek)) == 1
    assert set(world.cold(list(first[0].values()))) == set(first[0].values())


@pytest.mark.parametrize("database", ["postgres", "mariadb"])
def test_a_snapshot_that_cant_show_the_winner(request, database):
    """In REPEATABLE READ the late one gets the winner's key, or an error to retry."""
    world = _world(request, database)
    subject = os.urandom(16)
    world.new()
    late = world.engine.connect().execution_options(isolation_level="REPEATABLE READ")
    with late:
        late.execute(select(tables.subject_key)).all()  # takes the snapshot
        with world.begin() as connection:
            winner = world.keys.active(connection, "", [subject])[subject].key_id
            root = world.keys.index_keys(connection, "", "e", "f", "i")
        if database == "mariadb":
            assert world.process().index_keys(late, "", "e", "f", "i") == root
        try:
            got = world.process().active(late, "", [subject])[subject].key_id
        except (KeyUnavailable, OperationalError):
            got = None
        assert got == (winner if database == "mariadb" else None)
        late.rollback()
        assert world.process().active(late, "", [subject])[subject].key_id == winner


def test_the_cache_stands_threads_and_stays_bounded(world):
    """Readers, refreshes and evictions at once: right answers, never more than max_keys."""
    ids = world.new(60)
    reader = world.process(max_keys=20)

    def read(number):
        with world.engine.connect() as connection:
            for start in range(40):
                wanted = [ids[(start * 7 + number + step) % 60] for step in range(5)]
                assert set(reader.fetch(connection, wanted)) == set(wanted)
                assert len(reader.cached) <= 25
                if number == 0:
                    world.clock.now += 10

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(read, range(6)))
    assert len(reader.cached) <= 20


def _world(request, database):
    world_class = type(request.getfixturevalue("world"))
    return world_class(request.getfixturevalue(f"{database}_engine"))
