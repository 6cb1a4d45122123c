"""What unwrapped keys cost and how long they live: calls, statements, TTL, bounds."""

from __future__ import annotations

import os

import pytest
from sqlalchemy import select

from vaultlayer.errors import KeyUnavailable
from vaultlayer.keys import kek_cache, tables

S = tables.subject_key


def test_one_provider_call_a_kek_not_a_person(world):
    """5,000 people of one tenant cost one KEK to make (it is tried at once) and one call to read;
    each tenant its own."""
    ids = world.new(5000, "acme")
    assert world.provider.calls == ["wrap", "unwrap"]
    world.provider.calls.clear()
    reader = world.process()
    with world.engine.connect() as connection:
        for _ in range(3):
            assert len(reader.fetch(connection, ids)) == 5000
    assert world.provider.calls == ["unwrap"]
    world.new(tenant="globex")
    assert world.provider.calls == ["unwrap", "wrap", "unwrap"]


def test_keys_are_fetched_in_batches(world):
    """2,500 cold keys: three statements of one text, 1,000 ids at most, and one for the KEK."""
    ids = world.new(2500)
    seen = world.statements()
    world.cold(ids)
    assert len(seen) == 4
    assert len(set(seen)) == 2
    assert max(statement.count("?") for statement in seen) < 10


def test_warm_keys_need_no_statement(world):
    """What is in the cache is answered from it."""
    ids = world.new(10)
    with world.engine.connect() as connection:
        world.keys.fetch(connection, ids)
        seen = world.statements()
        assert set(world.keys.fetch(connection, ids)) == set(ids)
    assert seen == []


def test_created_keys_enter_the_cache_only_by_remember(world):
    """The transaction that made a key may roll back, so the caller says when it is there."""
    with world.begin() as connection:
        made = world.keys.active(connection, "", [os.urandom(16)])
        assert world.keys.cached == {}
    world.keys.remember(made.values())
    assert list(world.keys.cached) == [key.key_id for key in made.values()]


def test_a_key_serves_until_its_time_is_over(world):
    """Until the TTL from memory, then fetched again."""
    (key_id,) = world.new()
    with world.engine.connect() as connection:
        world.keys.fetch(connection, [key_id])
        world.clock.now += 59.9
        seen = world.statements()
        world.keys.fetch(connection, [key_id])
        assert seen == []
        world.clock.now += 0.2
        world.keys.fetch(connection, [key_id])
        assert len(seen) == 1  # its KEK lives longer


def test_a_failed_refresh_extends_nothing(world):
    """With the provider away, a key serves to its own end and then fails with its own error."""
    world.keys = world.process(kek_ttl=60)
    (key_id,) = world.new()
    world.provider.failure = KeyUnavailable("the provider is away")
    with world.engine.connect() as connection:
        expires = world.keys.fetch(connection, [key_id])[key_id].expires
        world.clock.now = expires - 0.1
        world.keys.fetch(connection, [key_id])
        world.clock.now = expires
        for _ in range(3):
            with pytest.raises(KeyUnavailable, match="away"):
                world.keys.fetch(connection, [key_id])
            assert world.keys.cached[key_id].expires == expires
        world.provider.failure = None
        world.clock.now += kek_cache.RETRY
        assert world.keys.fetch(connection, [key_id])[key_id].expires == world.clock.now + 60


def test_a_provider_that_breaks_is_an_outage(world):
    """Whatever a provider raises arrives as KeyUnavailable that names its kind, not its words."""
    (key_id,) = world.new()
    world.provider.failure = OSError("password=hunter2")
    with pytest.raises(KeyUnavailable, match=r"memory:test failed \(OSError\)") as caught:
        world.cold([key_id])
    assert "hunter2" not in str(caught.value)


def test_an_unknown_provider_key_names_who_wrapped_it(world):
    """With another keyring in the settings, the error says which one the KEK was wrapped by."""
    (key_id,) = world.new()
    world.provider = type(world.provider)()
    world.provider.name = world.provider.inner.name = "memory:other"
    with pytest.raises(KeyUnavailable, match=r"memory:other doesn't unwrap .* by memory:test"):
        world.cold([key_id])


def test_the_cache_is_bounded_and_forgets_the_oldest(world):
    """Never more than max_keys; the newest stay; a larger batch is still answered whole."""
    ids = world.new(30)
    reader = world.process(max_keys=10)
    with world.engine.connect() as connection:
        for key_id in ids[:20]:
            reader.fetch(connection, [key_id])
        assert list(reader.cached) == ids[10:20]
        assert len(reader.fetch(connection, ids)) == 30
    assert len(reader.cached) == 10


def test_expired_keys_leave_memory(world):
    """Keys past their time don't stay until there are too many: the next fetch drops them."""
    ids = world.new(3)
    reader = world.process()
    with world.engine.connect() as connection:
        reader.fetch(connection, ids[:2])
        world.clock.now += 61
        reader.fetch(connection, ids[2:])
    assert list(reader.cached) == ids[2:]


def test_a_refreshed_key_is_a_new_one(world):
    """A key fetched again counts from then on, and doesn't keep expired ones in memory."""
    ids = world.new(3)
    reader = world.process()
    with world.engine.connect() as connection:
        reader.fetch(connection, ids)
        world.clock.now += 61
        reader.fetch(connection, ids[:1])
    assert list(reader.cached) == ids[:1]


def test_keks_are_dropped_when_there_are_too_many(world):
    """Fifteen tenants don't leave fifteen KEKs or index roots in caches of ten."""
    for number in range(15):
        world.new(tenant=f"t{number}")
    reader = world.process(max_keys=10)
    with world.begin() as connection:
        ids = list(connection.scalars(select(S.c.key_id)))
        reader.fetch(connection, ids)
        for number in range(15):
            world.keys.index_keys(connection, f"t{number}", "a", "b", "c")
    assert len(reader.keks.cache.cached) == 10
    with world.begin() as connection:
        for number in range(15):
            reader.index_keys(connection, f"t{number}", "a", "b", "c")
    assert len(reader.roots._cached) == 10
