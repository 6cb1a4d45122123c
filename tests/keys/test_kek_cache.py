"""One call for many threads, refreshed ahead of time, and nothing kept longer than promised."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event

from vaultlayer.errors import KeyUnavailable
from vaultlayer.keys import kek_cache
from vaultlayer.keys.cache import Flights, _largest_share
from vaultlayer.keys.provider import MemoryProvider, Providers

HOUR = 3600.0
TTL = 2 * HOUR  # of a KEK


@pytest.fixture
def reader(world):
    """Another process, which has nothing in memory yet."""
    return world.process()


def settled(world, calls):
    """Wait for a refresh in the background to have made its call."""
    for _ in range(500):
        if len(world.provider.calls) >= calls:
            return
        time.sleep(0.01)
    raise AssertionError(world.provider.calls)


@pytest.mark.parametrize("threads", [1000])
def test_a_thousand_threads_that_miss_one_key_make_one_call(world, reader, threads):
    """One SELECT of the key, one of its KEK, one call to the provider; all get the key."""
    (key_id,) = world.new()
    world.provider.calls.clear()
    world.provider.pause.clear()
    seen = world.statements()
    got, began = [], threading.Semaphore(0)
    with world.engine.connect() as connection:

        def read():
            began.release()
            got.append(reader.fetch(connection, [key_id])[key_id].log_ref)

        workers = [threading.Thread(target=read) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for _ in workers:
            began.acquire()
        world.provider.pause.set()
        for worker in workers:
            worker.join(30)
    assert len(got) == threads
    assert len(set(got)) == 1
    assert world.provider.calls == ["unwrap"]
    assert len(seen) == 2


def test_many_people_under_one_kek_make_one_call(world, reader):
    """Threads that miss different people's keys miss the same KEK: still one call."""
    ids = world.new(200)
    world.provider.calls.clear()
    world.provider.pause.clear()

    def read(key_id):
        with world.engine.connect() as connection:
            return len(reader.fetch(connection, [key_id]))

    with ThreadPoolExecutor(12) as pool:
        reads = [pool.submit(read, key_id) for key_id in ids]
        time.sleep(0.1)
        world.provider.pause.set()
        assert sum(done.result(10) for done in reads) == 200
    assert world.provider.calls == ["unwrap"]


def test_a_provider_that_is_down_is_asked_once_a_second(world, reader):
    """However many want the KEK: one call, the same error for all; a second later another."""
    ids = world.new(30)
    world.provider.calls.clear()
    world.provider.failure = OSError("down")

    def read(key_id):
        with world.engine.connect() as connection, pytest.raises(KeyUnavailable, match="OSError"):
            reader.fetch(connection, [key_id])

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(read, ids))
    assert world.provider.calls == ["unwrap"]
    world.clock.now += kek_cache.RETRY
    world.provider.failure = None
    with world.engine.connect() as connection:
        assert len(reader.fetch(connection, ids)) == 30
    assert world.provider.calls == ["unwrap", "unwrap"]


def test_a_flapping_provider_gives_errors_or_keys_and_never_wrong_ones(world):
    """Each second it works or not: every answer is the key or KeyUnavailable."""
    (key_id,) = world.new()
    good = world.cold([key_id])[key_id].log_ref
    outcomes = []
    reader = world.process(ttl=1, kek_ttl=2)
    with world.engine.connect() as connection:
        for second in range(60):
            world.provider.failure = OSError("flap") if second % 3 else None
            world.clock.now += 1
            try:
                outcomes.append(reader.fetch(connection, [key_id])[key_id].log_ref == good)
            except KeyUnavailable:
                outcomes.append(None)
            time.sleep(0.002)  # for what runs in the background
    assert {True, None} >= set(outcomes)
    assert outcomes.count(True) >= 20


def test_a_slow_kek_holds_up_no_other(world, reader):
    """While one tenant's KEK is waited for, another tenant's key is read."""
    (slow,), (quick,) = world.new(tenant="slow"), world.new(tenant="quick")
    with world.engine.connect() as one, world.engine.connect() as two:
        world.provider.pause.clear()
        waiting = threading.Thread(target=reader.fetch, args=(one, [slow]))
        waiting.start()
        time.sleep(0.05)
        world.provider.inner.unwrap, unwrap = (
            MemoryProvider.unwrap.__get__(world.provider.inner),
            world.provider.unwrap,
        )
        world.provider.unwrap = world.provider.inner.unwrap  # this one doesn't pause
        assert set(reader.fetch(two, [quick])) == {quick}
        assert waiting.is_alive()
        world.provider.unwrap = unwrap
        world.provider.pause.set()
        waiting.join(10)
    assert set(reader.cached) == {slow, quick}


def test_a_kek_is_refreshed_before_it_is_urgent(world, reader):
    """From about half of its time on, in the background: nobody waits for a slow provider."""
    first, second = world.new(2)
    with world.engine.connect() as connection:
        reader.fetch(connection, [first])
        (kek,) = reader.keks.cache.cached.values()
        assert 0.4 * TTL <= kek.refresh - world.clock.now <= 0.5 * TTL
        world.provider.calls.clear()
        world.provider.pause.clear()
        world.clock.now += 0.51 * TTL
        reader.fetch(connection, [first])
        reader.fetch(connection, [second])
        assert world.provider.calls == []
        world.provider.pause.set()
        settled(world, 1)
        time.sleep(0.05)
        assert world.provider.calls == ["unwrap"]
        (kek,) = reader.keks.cache.cached.values()
        assert kek.expires == world.clock.now + TTL


def test_refreshes_are_spread(world):
    """Processes that began together don't ask together."""
    (key_id,) = world.new()
    times = set()
    with world.engine.connect() as connection:
        for _ in range(30):
            process = world.process()
            process.fetch(connection, [key_id])
            times.add(next(iter(process.keks.cache.cached.values())).refresh)
    assert len(times) == 30
    assert max(times) - min(times) > 0.02 * TTL


def test_what_nobody_uses_isnt_refreshed(world, reader):
    """A KEK at rest costs no calls and is gone at its end."""
    (key_id,) = world.new()
    with world.engine.connect() as connection:
        reader.fetch(connection, [key_id])
    world.provider.calls.clear()
    world.clock.now += TTL + 1
    time.sleep(0.02)
    assert world.provider.calls == []
    assert reader.keks.cache.at_hand(next(iter(reader.keks.cache.cached))) is None


def test_a_failed_refresh_extends_nothing(world, reader):
    """It is tried again each second, and at its end the KEK is gone."""
    (key_id,) = world.new()
    with world.engine.connect() as connection:
        reader.fetch(connection, [key_id])
        (kek,) = reader.keks.cache.cached.values()
        end = kek.expires
        world.provider.failure = OSError("away")
        world.provider.calls.clear()
        for wanted in range(1, 4):
            world.clock.now = end - TTL * 0.3 + wanted * (60 + kek_cache.RETRY)
            reader.fetch(connection, [key_id])
            settled(world, wanted)
            time.sleep(0.02)
        assert reader.keks.cache.cached[kek.kek_id].expires == end
        world.clock.now = end
        with pytest.raises(KeyUnavailable):
            reader.fetch(connection, [key_id])


def test_an_outage_of_an_hour_isnt_missed(world, reader):
    """Whenever it begins, a process in use goes on through it, and is refreshed after it."""
    ids = world.new(3)
    with world.engine.connect() as connection:
        for minute in range(8 * 60):
            world.clock.now += 60
            failing = 100 <= minute % 160 < 160
            world.provider.failure = OSError("away") if failing else None
            calls = len(world.provider.calls)
            assert len(reader.fetch(connection, ids)) == 3
            if reader.keks.cache._flights._flying:  # a refresh is under way
                settled(world, calls + 1)
                time.sleep(0.005)


@pytest.mark.parametrize("jump", [86400, -86400])
def test_a_clock_that_jumps_a_day_changes_nothing(world, jump, monkeypatch):
    """Keys live by the monotonic clock; the wall clock only dates records."""
    reader = type(world.keys)(world.provider)
    (key_id,) = world.new()
    with world.engine.connect() as connection:
        expires = reader.fetch(connection, [key_id])[key_id].expires
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + jump)
        seen = world.statements()
        assert reader.fetch(connection, [key_id])[key_id].expires == expires
        assert seen == []
        assert set(world.cold(world.new(2)))


def test_a_kek_that_wrapped_much_is_asked_for_again(world, monkeypatch):
    """An unwrapped KEK is good for so many keys; then the provider has a say again."""
    monkeypatch.setattr(kek_cache, "MOST_WRAPS", 100)
    world.new(60)
    world.provider.calls.clear()
    world.new(60)
    assert world.provider.calls == []
    world.new(1)
    assert world.provider.calls == ["unwrap"]


def test_a_forgotten_key_serves_nobody(world, reader):
    """It leaves the cache, and whoever holds it sees it expired."""
    one, two = world.new(2)
    with world.engine.connect() as connection:
        keys = reader.fetch(connection, [one, two])
        reader.forget(one.hex())
        assert keys[one].expires < world.clock.now < keys[two].expires
        assert set(reader.cached) == {two}
        reader.forget()
        assert reader.cached == {}
        assert keys[two].expires < world.clock.now


def test_a_key_that_was_read_before_it_was_forgotten_isnt_kept(world, reader):
    """The word comes between the SELECT and the cache: served once, not from then on."""
    (key_id,) = world.new()

    def forget_now(*_):
        reader.forget(key_id.hex())

    with world.engine.connect() as connection:
        event.listen(world.engine, "after_cursor_execute", forget_now)
        key = reader.fetch(connection, [key_id])[key_id]
        event.remove(world.engine, "after_cursor_execute", forget_now)
        assert key.expires < world.clock.now
        seen = world.statements()
        for _ in range(3):
            reader.fetch(connection, [key_id])
        assert len(seen) == 3  # an old snapshot may still show the record: never cached again


def test_a_busy_tenant_pushes_out_its_own_keys(world):
    """Where there is too much, the largest tenants give, the oldest first."""
    small, large = world.new(20, "small"), world.new(300, "large")
    reader = world.process(max_keys=100)
    with world.engine.connect() as connection:
        reader.fetch(connection, small)
        for start in range(0, 300, 10):
            reader.fetch(connection, large[start : start + 10])
            assert len(reader.cached) <= 100
    assert set(small) <= set(reader.cached)
    assert set(large[-70:]) <= set(reader.cached)


@pytest.mark.parametrize(
    ("sizes", "most", "share"),
    [([1, 1], 2, 2), ([5], 3, 3), ([1, 9], 6, 5), ([4, 4, 4], 6, 2), ([0, 10, 2], 4, 2)],
)
def test_room_is_shared_fairly(sizes, most, share):
    """Each may keep its share; what a small one leaves, the others have."""
    assert _largest_share(sizes, most) == share
    assert sum(min(size, share) for size in sizes) <= most


def test_nothing_waits_for_its_own_thread(world):
    """Another asyncio task's fetch can't go on while this one waits for it."""
    flights = Flights()
    flight, mine, _ = flights.claim([b"a"])
    again, also_mine, others = flights.claim([b"a"])
    assert (mine, also_mine, others) == ([b"a"], [b"a"], set())
    flights.land(again, also_mine)
    with ThreadPoolExecutor(1) as pool:
        _, theirs, waiting = pool.submit(flights.claim, [b"a", b"b"]).result()
    assert (theirs, waiting) == ([b"b"], {flight})
    assert not flight.landed.is_set()
    flights.land(flight, mine)
    assert flight.landed.is_set()


def test_a_forked_child_starts_empty(world, reader):
    """No key of the parent's is in the child's cache, and no lock of its threads is waited for."""
    ids = world.new(3)
    with world.engine.connect() as connection:
        reader.fetch(connection, ids)
    world.engine.dispose()
    held, go_on = threading.Event(), threading.Event()

    def hold():
        with reader._at_hand._lock, reader.keks.cache._lock:
            held.set()
            go_on.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(5)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            empty = not reader.cached and not reader.keks.cache.cached
            with world.engine.connect() as connection:
                code = 0 if empty and len(reader.fetch(connection, ids)) == 3 else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    go_on.set()
    holder.join()
    assert set(reader.cached) == set(ids)


def test_old_and_new_provider_at_once(world):
    """Moving from one provider to another: the old one unwraps until nothing needs it."""
    old, new = world.provider, MemoryProvider(name="memory:new")
    (before,) = world.new(tenant="a")
    world.provider = Providers(new, former=[old])
    moved = world.process()
    with world.begin() as connection:
        (after,) = moved.active(connection, "b", [os.urandom(16)]).values()
    assert set(world.cold([before, after.key_id])) == {before, after.key_id}
    world.provider = Providers(new)
    assert set(world.cold([after.key_id])) == {after.key_id}
    with pytest.raises(KeyUnavailable, match=r"memory:test.*former"):
        world.cold([before])


def test_each_region_has_its_own_provider(world):
    """A region's keys are wrapped by its provider, and by no other."""
    eu, rest = MemoryProvider(name="memory:eu"), MemoryProvider(name="memory:rest")
    world.provider = Providers(rest, regions={"eu": eu})
    with world.begin() as connection:
        process = world.process()
        (there,) = process.active(connection, "", [os.urandom(16)], region="eu").values()
        (here,) = process.active(connection, "", [os.urandom(16)]).values()
    assert (there.region, here.region) == ("eu", "")
    found = world.cold([there.key_id, here.key_id])
    assert {key.region for key in found.values()} == {"eu", ""}
    world.provider = Providers(rest)
    assert set(world.cold([here.key_id])) == {here.key_id}
    with pytest.raises(KeyUnavailable, match="memory:eu"):
        world.cold([there.key_id])
