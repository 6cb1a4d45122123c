"""``doctor`` finds blind indexes that are slow, made otherwise, or left over."""

from __future__ import annotations

from vaultlayer.doctor import examine
from vaultlayer.orm.entity import entity_of


def told(world):
    found = examine(world.vault)
    return {(each.code, each.where) for each in found if each.code.startswith("search_")}


def test_of_blind_indexes(world, monkeypatch):
    world.populate()
    assert told(world) == set()
    world.sql("DROP INDEX ix_person_city_bidx")
    world.sql("ALTER TABLE person ADD COLUMN secret_bidx BLOB")
    index = entity_of(world.Person.__mapper__).fields["phone"].indexes[0]
    monkeypatch.setattr(index, "name", "equality/phone:GB/3")
    assert told(world) == {
        ("search_unindexed", "person.city_bidx"),
        ("search_left_over", "person.secret_bidx"),
        ("search_changed", "person.phone"),
    }
