"""Keys as a session sees them: hierarchy, cache, time to live, erased people, index keys."""

from __future__ import annotations

import os

import pytest
from sqlalchemy import func, select, update

from vaultlayer.crypto.binding import subject_part
from vaultlayer.crypto.envelope import key_id_for
from vaultlayer.errors import ConfigurationError, KeyErased, KeyUnavailable
from vaultlayer.keys import tables

S = tables.subject_key


def count(world, table):
    with world.engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(table))


def erase(world, key_id):
    with world.begin() as connection:
        connection.execute(
            update(S).where(S.c.key_id == key_id), {"state": tables.ERASED, "wrapped": None}
        )


def test_a_key_made_here_is_the_key_another_process_fetches(any_world):
    """Make, commit, fetch elsewhere: the same key, subject, tenant, place and log_ref."""
    world, subject = any_world, os.urandom(16)
    with world.begin() as connection:
        made = world.keys.active(connection, "acme", [subject])[subject]
    fetched = world.cold([made.key_id])[made.key_id]
    sealed = made.cipher.encrypt(bytes(12), b"value", None)
    assert fetched.cipher.decrypt(bytes(12), sealed, None) == b"value"
    for name in ("key_id", "tenant", "subject", "place", "log_ref"):
        assert getattr(fetched, name) == getattr(made, name)
    assert made.place == subject_part(subject)
    assert len(made.log_ref) == 16


def test_one_person_one_key(any_world):
    """Asked again, in this process or another, a subject has the key it had."""
    world, subjects = any_world, [os.urandom(16) for _ in range(3)]
    with world.begin() as connection:
        first = world.keys.active(connection, "", subjects, fresh=True)
        again = world.keys.active(connection, "", [*subjects, subjects[0]])
    with world.begin() as connection:
        elsewhere = world.process().active(connection, "", subjects)
    ids = [{s: k.key_id for s, k in keys.items()} for keys in (first, again, elsewhere)]
    assert ids[0] == ids[1] == ids[2]
    assert count(world, S) == 3


def test_keys_differ_between_subjects_and_tenants(world):
    """No two subjects share a key or a log_ref, nor does one subject in two tenants."""
    subject = os.urandom(16)
    with world.begin() as connection:
        keys = [
            *world.keys.active(connection, "acme", [subject, os.urandom(16), b""]).values(),
            *world.keys.active(connection, "globex", [subject, b""]).values(),
        ]
    assert len({key.key_id for key in keys}) == len({key.log_ref for key in keys}) == 5


def test_the_tenants_own_key_has_no_subject(any_world):
    """A tenant-scoped row is sealed under the key of the subject b""."""
    with any_world.begin() as connection:
        (key,) = any_world.keys.active(connection, "acme", [b""]).values()
    assert any_world.cold([key.key_id])[key.key_id].subject == b""


@pytest.mark.parametrize("other", ["Acme", "acme ", "äcme", "acmé", "ACME"])
def test_tenants_that_look_alike_are_two_tenants(any_world, other):
    """No database's collation makes two tenants one."""
    subject = os.urandom(16)
    with any_world.begin() as connection:
        (one,) = any_world.keys.active(connection, "acme", [subject]).values()
        (two,) = any_world.keys.active(connection, other, [subject]).values()
    assert one.key_id != two.key_id
    assert any_world.cold([one.key_id, two.key_id])[two.key_id].tenant == other
    assert count(any_world, tables.kek) == 2


def test_a_name_the_columns_would_cut_short_is_refused(world):
    """A tenant of more than 255 bytes of UTF-8 is a configuration error."""
    with world.begin() as connection, pytest.raises(ConfigurationError, match="255 bytes"):
        world.keys.active(connection, "ä" * 128, [os.urandom(16)])


def test_one_provider_call_a_kek_not_a_person(world):
    """5,000 people of one tenant cost one call to make and one to read; each tenant its own."""
    ids = world.new(5000, "acme")
    assert world.provider.calls == ["wrap"]
    reader = world.process()
    with world.engine.connect() as connection:
        for _ in range(3):
            assert len(reader.fetch(connection, ids)) == 5000
    assert world.provider.calls == ["wrap", "unwrap"]
    world.new(tenant="globex")
    assert world.provider.calls == ["wrap", "unwrap", "wrap"]


def test_keys_are_fetched_in_batches(world):
    """2,500 cold keys: three statements of at most 1,000 ids, and one for the KEK."""
    ids = world.new(2500)
    seen = world.statements()
    world.cold(ids)
    assert len(seen) == 4
    assert max(statement.count("?") for statement in seen) == 1000


def test_fresh_subjects_are_not_looked_up(world):
    """fresh=True spares the SELECT of the subjects: only the KEK is looked up, then one INSERT."""
    world.new()
    seen = world.statements()
    with world.begin() as connection:
        world.keys.active(connection, "", [os.urandom(16) for _ in range(2000)], fresh=True)
    assert [statement.split()[0] for statement in seen] == ["SELECT", "INSERT"]


def test_fresh_is_not_trusted_blindly(any_world):
    """A subject that was there after all keeps its key, though fresh=True was said."""
    world, subject = any_world, os.urandom(16)
    with world.begin() as connection:
        (known,) = world.keys.active(connection, "", [subject]).values()
    with world.begin() as connection:
        found = world.keys.active(connection, "", [subject, os.urandom(16)], fresh=True)
    assert found[subject].key_id == known.key_id
    assert len(found) == 2


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


def test_nothing_is_made_under_a_rolled_back_kek(world):
    """After a rollback neither key nor KEK is used again: what is sealed next can be read."""
    subject = os.urandom(16)
    with world.engine.connect() as connection:
        (lost,) = world.keys.active(connection, "", [subject]).values()
        connection.rollback()
    with world.begin() as connection:
        (kept,) = world.keys.active(connection, "", [subject]).values()
    assert kept.key_id != lost.key_id
    assert list(world.cold([kept.key_id])) == [kept.key_id]
    with pytest.raises(KeyUnavailable):
        world.cold([lost.key_id])


def test_an_erased_key_is_erased_for_reading_and_writing(any_world):
    """fetch and active both say KeyErased, fresh or not, and no new key appears."""
    world = any_world
    (key_id,) = world.new()
    subject = world.cold([key_id])[key_id].subject
    erase(world, key_id)
    with pytest.raises(KeyErased):
        world.cold([key_id])
    for fresh in (False, True):
        with world.begin() as connection, pytest.raises(KeyErased):
            world.process().active(connection, "", [subject], fresh=fresh)
    assert count(world, S) == 1


def test_one_erased_person_doesnt_hide_the_others(world):
    """A batch with a tombstone raises, but the other keys are in the cache by then."""
    ids = world.new(5)
    erase(world, ids[2])
    reader = world.process()
    with world.engine.connect() as connection, pytest.raises(KeyErased):
        reader.fetch(connection, ids)
    assert set(reader.cached) == set(ids) - {ids[2]}


def test_a_decrypt_only_key_reads_but_doesnt_write(world):
    """A key that is being rotated out opens what it sealed and seals nothing more."""
    (key_id,) = world.new()
    with world.begin() as connection:
        connection.execute(update(S).values(state=tables.DECRYPT_ONLY))
    subject = world.cold([key_id])[key_id].subject
    with world.begin() as connection, pytest.raises(KeyUnavailable):
        world.keys.active(connection, "", [subject])


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
        assert len(seen) == 2  # the key and its KEK, which is as old


def test_a_failed_refresh_extends_nothing(world):
    """With the provider away, a key serves to its own end and then fails with its own error."""
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
        assert world.keys.fetch(connection, [key_id])[key_id].expires == expires + 60


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
    with pytest.raises(KeyUnavailable, match=r"memory:other doesn't hold .* by memory:test"):
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


def test_keks_are_dropped_when_there_are_too_many(world):
    """A hundred tenants don't leave a hundred KEKs in a cache of ten."""
    for number in range(15):
        world.new(tenant=f"t{number}")
    assert len(world.process(max_keys=10)._keks._cached) == 0
    reader = world.process(max_keys=10)
    with world.engine.connect() as connection:
        ids = list(connection.scalars(select(S.c.key_id)))
        reader.fetch(connection, ids)
    assert len(reader._keks._cached) == 10


def test_a_subject_id_of_another_length_is_refused(world):
    """Subjects are UUIDs, or nobody."""
    with world.begin() as connection, pytest.raises(ConfigurationError):
        world.keys.active(connection, "", [b"ada@example.com"])
    assert count(world, S) == 0


def test_the_key_id_commits_to_the_key(world, monkeypatch):
    """The id in the record is the HMAC of the very key it wraps."""
    drawn = []
    real = os.urandom
    monkeypatch.setattr(os, "urandom", lambda size: drawn.append(real(size)) or drawn[-1])
    with world.begin() as connection:
        (key,) = world.keys.active(connection, "", [bytes(16)]).values()
    assert key.key_id in {key_id_for(pool[:32]) for pool in drawn if len(pool) == 60}


def test_a_region_has_keks_of_its_own(world):
    """Two regions wrap one tenant's keys under two KEKs; each still opens what it finds."""
    (here,) = world.new()
    there = world.process(region="eu")
    with world.begin() as connection:
        (key,) = there.active(connection, "", [os.urandom(16)]).values()
    assert count(world, tables.kek) == 2
    assert set(world.cold([here, key.key_id])) == {here, key.key_id}


def test_index_keys_are_one_a_name_and_stable(any_world):
    """Each (tenant, entity, field, index) has its own 32-byte key, the same in every process."""
    world = any_world
    names = [("", "a", "b", "c"), ("t", "a", "b", "c"), ("", "ab", "", "c"), ("", "a", "b", "d")]
    with world.begin() as connection:
        here = [world.keys.index_key(connection, *name) for name in names]
    with world.begin() as connection:
        other = world.process()
        assert [other.index_key(connection, *name) for name in names] == here
    assert len(set(here)) == 4
    assert {len(key) for key in here} == {32}


def test_index_keys_come_from_memory_once_committed(world):
    """After the transaction that made the root, one look, then none until the TTL."""
    with world.begin() as connection:
        world.keys.index_key(connection, "", "a", "b", "c")
    with world.begin() as connection:
        world.keys.index_key(connection, "", "a", "b", "c")
        seen = world.statements()
        world.keys.index_key(connection, "", "a", "b", "d")
        assert seen == []
        world.clock.now += 61
        world.keys.index_key(connection, "", "a", "b", "d")
        assert seen != []


def test_a_rolled_back_index_root_is_forgotten(world):
    """What is indexed after a rollback can be found by another process."""
    name = ("", "customer", "email", "email")
    with world.engine.connect() as connection:
        lost = [world.keys.index_key(connection, *name) for _ in range(3)]
        connection.rollback()
        kept = world.keys.index_key(connection, *name)
        connection.commit()
    with world.begin() as connection:
        assert world.process().index_key(connection, *name) == kept
        assert world.keys.index_key(connection, *name) == kept
    assert kept not in lost
    assert len(set(lost)) == 1


def test_a_rolled_back_savepoint_takes_its_index_root_along(world):
    """The same holds for a savepoint inside a transaction that goes on."""
    name = ("", "customer", "email", "email")
    with world.begin() as connection:
        connection.execute(tables.kek.delete())  # makes pysqlite begin before the savepoint
        savepoint = connection.begin_nested()
        lost = world.keys.index_key(connection, *name)
        savepoint.rollback()
        kept = world.keys.index_key(connection, *name)
    with world.begin() as connection:
        assert world.process().index_key(connection, *name) == kept != lost
