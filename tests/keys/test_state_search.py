"""Every state that two people's keys can get into, searched breadth first.

2 subjects × 2 generations × 2 epochs × 2 processes × a backup of each store (data, keys, KEKs).
What may happen to a record is asked of vaultlayer/keys/states.py, the functions the code asks; what
must hold is checked in every state. Prints the states it visited.
"""

from __future__ import annotations

import itertools
import sys
from typing import NamedTuple

import pytest

from vaultlayer.keys import states
from vaultlayer.keys.states import ACTIVE, ADDED, DECRYPT_ONLY, ERASED


class Key(NamedTuple):
    generation: int
    state: str
    epoch: int  # of the KEK that wraps it


class Person(NamedTuple):
    keys: tuple[Key, ...] = ()
    sealed: int = 0  # the generation their value is under; 0: none
    cached: tuple[int, ...] = (0, 0)  # a generation a process
    erased: bool = False
    last_epoch: int = 0  # that any of their keys was ever wrapped in


class World(NamedTuple):
    people: tuple[Person, ...]
    keks: tuple[str, ...] = (ACTIVE, "")  # the state of each epoch's
    versions: tuple[bool, ...] = (True, False)  # the provider's, one an epoch
    old_data: tuple[int, ...] | None = None
    old_keys: tuple[tuple[Key, ...], ...] | None = None
    old_keks: tuple[str, ...] | None = None


def current(keks):
    """The epoch that wraps new keys: the newest that isn't only added."""
    return 2 if keks[1] in (ACTIVE, DECRYPT_ONLY) else 1


def into(key, state):
    assert states.may_follow(state, key.state)
    return key._replace(state=state)


def changed(world, n, **new):
    people = list(world.people)
    people[n] = people[n]._replace(**new)
    return world._replace(people=tuple(people))


def steps(world, processes):
    """Every state that one step leads to."""
    for n, person in enumerate(world.people):
        yield from _use(world, n, person, processes)
        yield from _exchange(world, n, person)
    keks = world.keks
    if keks[1] == "":
        yield world._replace(keks=(keks[0], ADDED), versions=(world.versions[0], True))
    if keks[1] == ADDED:
        yield world._replace(keks=(DECRYPT_ONLY, ACTIVE))
    left = sum(key.epoch == 1 for person in world.people for key in person.keys)
    if states.epoch_may_end(keks[0], records_left=left):
        yield world._replace(keks=(ERASED, keks[1]), versions=(False, world.versions[1]))
    if world.old_data is None:
        yield world._replace(old_data=tuple(person.sealed for person in world.people))
    if world.old_keys is None:
        yield world._replace(old_keys=tuple(person.keys for person in world.people))
    if world.old_keks is None:
        yield world._replace(old_keks=keks)


def _use(world, n, person, processes):
    epoch = current(world.keks)
    using = states.active(person.keys)
    if using is not None:  # write, and let a process have the key in its cache
        for process in range(processes):
            cached = tuple(
                using.generation if each == process else had
                for each, had in enumerate(person.cached)
            )
            yield changed(world, n, sealed=using.generation, cached=cached)
    elif states.may_make_first(person.keys):
        key = Key(states.FIRST, ACTIVE, epoch)
        yield changed(world, n, keys=(key,), sealed=1, last_epoch=epoch)
    else:
        assert states.is_erased(person.keys)
    for process in range(processes):  # the TTL
        if person.cached[process]:
            cached = tuple(0 if p == process else g for p, g in enumerate(person.cached))
            yield changed(world, n, cached=cached)
    if not person.erased:
        gone = tuple(into(key, ERASED) if key.state != ERASED else key for key in person.keys)
        gone = gone or (Key(states.FIRST, ERASED, epoch),)
        last = max(person.last_epoch, epoch if not person.keys else 0)
        yield changed(world, n, keys=gone, sealed=0, erased=True, last_epoch=last)


def _exchange(world, n, person):
    epoch, using = current(world.keks), states.active(person.keys)
    if using is not None and using.generation == 1:
        both = (into(using, DECRYPT_ONLY), Key(2, ACTIVE, epoch))
        yield changed(world, n, keys=both, last_epoch=max(person.last_epoch, epoch))
    for key in person.keys:
        is_used = key.generation in (person.sealed, (world.old_data or {n: 0})[n])
        if key.state == DECRYPT_ONLY and not is_used and using is not None:
            keys = tuple(into(k, ERASED) if k == key else k for k in person.keys)
            yield changed(world, n, keys=keys)
        if key.epoch < epoch:  # rewrapped, a tombstone too
            keys = tuple(k._replace(epoch=epoch) if k == key else k for k in person.keys)
            last = person.last_epoch if key.state == ERASED else epoch
            yield changed(world, n, keys=keys, last_epoch=last)


def opens(world, sealed, keys, keks):
    """Whether somebody with these tables, and with the provider as it is, opens a value."""
    key = next((k for k in keys if k.generation == sealed), None)
    return (
        key is not None
        and states.opens(key)
        and keks[key.epoch - 1] not in ("", ERASED)
        and world.versions[key.epoch - 1]
    )


def check(world):
    for n, person in enumerate(world.people):
        living = [key for key in person.keys if key.state == ACTIVE]
        assert len(living) <= 1, "two active keys"
        if not person.erased:
            assert len(living) == bool(person.keys), "a person without a key to write with"
            assert not person.sealed or opens(world, person.sealed, person.keys, world.keks), "lost"
            if world.old_data is not None and world.old_data[n]:
                assert opens(world, world.old_data[n], person.keys, world.keks), "old data is lost"
            continue
        assert not living, "a key came back"
        assert not person.sealed, "a value came back"
        assert states.is_erased(person.keys), "the tombstone is gone"
        data = {person.sealed, (world.old_data or {n: 0})[n]}
        tables = {person.keys, (world.old_keys or {n: ()})[n]}
        if not any(world.versions[: person.last_epoch]):  # the horizon
            for sealed, keys, keks in itertools.product(
                data, tables, {world.keks, world.old_keks or world.keks}
            ):
                assert not sealed or not opens(world, sealed, keys, keks), "a backup opens it"


def same(world):
    """One of the states that differ only in what the processes and the people are called."""
    forms = []
    for order in itertools.permutations(range(len(world.people))):
        for turn in (1, -1):
            people = tuple(
                world.people[n]._replace(cached=world.people[n].cached[::turn]) for n in order
            )
            data = world.old_data and tuple(world.old_data[n] for n in order)
            keys = world.old_keys and tuple(world.old_keys[n] for n in order)
            forms.append(world._replace(people=people, old_data=data, old_keys=keys))
    return min(forms, key=repr) if len(set(forms)) > 1 else world


def search(subjects, processes):
    first = World(tuple(Person(cached=(0,) * processes) for _ in range(subjects)))
    seen, front, depth = {first}, [first], 0
    while front:
        following = []
        for world in front:
            check(world)
            for new in steps(world, processes):
                form = same(new)
                if form not in seen:
                    seen.add(form)
                    following.append(form)
        front, depth = following, depth + bool(following)
    return len(seen), depth


def tell(capsys, text):
    with capsys.disabled():
        sys.stdout.write(f"\n{text}\n")


def test_one_person_in_every_state(capsys):
    """The short form: one subject, all generations, epochs, processes and backups."""
    visited, depth = search(1, 2)
    tell(capsys, f"state search, 1 subject: {visited} states, depth {depth}")
    assert visited > 1000


@pytest.mark.soak
def test_two_people_in_every_state(capsys):
    """The long form: two subjects, who share epochs and backups. Caches are the short form's."""
    visited, depth = search(2, 0)
    tell(capsys, f"state search, 2 subjects: {visited} states, depth {depth}")
    assert visited > 10_000


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("may_make_first", lambda records: ERASED not in {r.state for r in records} or True),
        ("epoch_may_end", lambda state, records_left: state == DECRYPT_ONLY),
        ("opens", lambda record: True),
    ],
)
def test_the_search_finds_a_broken_rule(monkeypatch, name, broken):
    """It isn't blind: each of these rules, broken, leads to a state that must not be."""
    monkeypatch.setattr(states, name, broken)
    with pytest.raises(AssertionError):
        search(1, 1)
