"""Blind-index keys: stable, apart, and never derived from a root that was rolled back."""

from __future__ import annotations

from vaultlayer.keys import tables


def test_index_keys_are_one_a_name_and_stable(any_world):
    """Each (tenant, entity, field, index) has its own 32-byte key, the same in every process."""
    world = any_world
    names = [("", "a", "b", "c"), ("t", "a", "b", "c"), ("", "ab", "", "c"), ("", "a", "b", "d")]
    with world.begin() as connection:
        here = [world.keys.index_keys(connection, *name) for name in names]
    with world.begin() as connection:
        other = world.process()
        assert [other.index_keys(connection, *name) for name in names] == here
    assert len({key for (key,) in here}) == 4
    assert {len(key) for (key,) in here} == {32}


def test_index_keys_come_from_memory_once_committed(world):
    """After the transaction that made the root, one look, then none until the TTL."""
    with world.begin() as connection:
        world.keys.index_keys(connection, "", "a", "b", "c")
    with world.begin() as connection:
        world.keys.index_keys(connection, "", "a", "b", "c")
        seen = world.statements()
        world.keys.index_keys(connection, "", "a", "b", "d")
        assert seen == []
        world.clock.now += 61
        world.keys.index_keys(connection, "", "a", "b", "d")
        assert seen != []


def test_a_rolled_back_index_root_is_forgotten(world):
    """What is indexed after a rollback can be found by another process."""
    name = ("", "customer", "email", "email")
    with world.engine.connect() as connection:
        lost = [world.keys.index_keys(connection, *name) for _ in range(3)]
        connection.rollback()
        kept = world.keys.index_keys(connection, *name)
        connection.commit()
    with world.begin() as connection:
        assert world.process().index_keys(connection, *name) == kept
        assert world.keys.index_keys(connection, *name) == kept
    assert kept not in lost
    assert len({key for (key,) in lost}) == 1


def test_a_rolled_back_savepoint_takes_its_index_root_along(world):
    """The same holds for a savepoint inside a transaction that goes on."""
    name = ("", "customer", "email", "email")
    with world.begin() as connection:
        connection.execute(tables.kek.delete())  # makes pysqlite begin before the savepoint
        savepoint = connection.begin_nested()
        lost = world.keys.index_keys(connection, *name)
        savepoint.rollback()
        kept = world.keys.index_keys(connection, *name)
    with world.begin() as connection:
        assert world.process().index_keys(connection, *name) == kept != lost
