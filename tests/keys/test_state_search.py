"""Every state that two people's keys can get into, searched breadth first.

2 subjects × 2 generations × 2 epochs × 2 processes × a backup of each store (data, keys, KEKs).
What may happen to a record is asked of vaultlayer/keys/states.py, the functions the code asks; what
must hold is checked in every state. Prints the states it visited.

Modelled, of each person: the state, generation and epoch of both keys; which generation their value
is under, now and in the backup of the data; the keys' records in the backup of the key tables; the
generation that each process has in its cache; whether they were erased. Of all: the state of both
epochs' KEKs, now and in their backup; the provider's versions. A step is what one transaction or
one call to the provider does, by either process. States that differ only in what the people or the
processes are called count once. Not modelled: index roots, transactions that overlap (their locks
are tests/lifecycle/test_erasure_races.py's), tombstones beside the log.
"""

from __future__ import annotations

import sys
from functools import cache
from itertools import product
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
    cached: tuple[int, ...] = ()  # a generation a process; 0: none
    erased: bool = False
    last_epoch: int = 0  # that any of their keys was ever wrapped in
    old_sealed: int = 0  # in the backup of the data
    old_keys: tuple[Key, ...] = ()  # in the backup of the key tables


class Shared(NamedTuple):
    keks: tuple[str, str] = (ACTIVE, "")  # the state of each epoch's
    versions: tuple[bool, bool] = (True, False)  # the provider's, one an epoch
    old_keks: tuple[str, str] | None = None
    saved_data: bool = False
    saved_keys: bool = False


def current(keks):
    """The epoch that wraps new keys: the newest that isn't only added."""
    return 2 if keks[1] in (ACTIVE, DECRYPT_ONLY) else 1


def into(key, state):
    assert states.may_follow(state, key.state)
    return key._replace(state=state)


def key_to_seal_with(person, process):
    """Sealing asks the database, whatever the process has in its cache."""
    return states.active(person.keys)


def alone(person, epoch):
    """The states that one step leads a person to, whoever else there is."""
    yield from _use(person, epoch)
    yield from _exchange(person, epoch)
    for process, generation in enumerate(person.cached):
        if generation:  # the TTL
            yield _with_cached(person, process, 0)
    if not person.erased:
        gone = tuple(into(key, ERASED) if key.state != ERASED else key for key in person.keys)
        gone = gone or (Key(states.FIRST, ERASED, epoch),)
        last = max(person.last_epoch, epoch if not person.keys else 0)
        yield person._replace(keys=gone, sealed=0, erased=True, last_epoch=last)


def _with_cached(person, process, generation):
    cached = tuple(generation if n == process else had for n, had in enumerate(person.cached))
    return person._replace(cached=cached)


def _use(person, epoch):
    for process in range(len(person.cached) or 1):
        using = key_to_seal_with(person, process)
        if using is not None:
            written = person._replace(sealed=using.generation)
            yield _with_cached(written, process, using.generation)
        elif states.may_make_first(person.keys):
            key = Key(states.FIRST, ACTIVE, epoch)
            made = person._replace(keys=(key,), sealed=1, last_epoch=epoch)
            yield _with_cached(made, process, 1)
        for key in person.keys:  # reading
            if key.generation == person.sealed and states.opens(key):
                yield _with_cached(person, process, key.generation)


def _exchange(person, epoch):
    using = states.active(person.keys)
    if using is not None and using.generation == 1:
        both = (into(using, DECRYPT_ONLY), Key(2, ACTIVE, epoch))
        yield person._replace(keys=both, last_epoch=max(person.last_epoch, epoch))
    for key in person.keys:
        is_used = key.generation in (person.sealed, person.old_sealed)
        if key.state == DECRYPT_ONLY and not is_used and using is not None:
            yield person._replace(keys=_replaced(person, key, into(key, ERASED)))
        if key.epoch < epoch:  # rewrapped, a tombstone too
            last = person.last_epoch if key.state == ERASED else epoch
            keys = _replaced(person, key, key._replace(epoch=epoch))
            yield person._replace(keys=keys, last_epoch=last)


def _replaced(person, old, new):
    return tuple(new if key == old else key for key in person.keys)


def together(shared, people, put_back):
    """What a step does to all: the shared state it leads to, and each person's."""
    keks, versions = shared.keks, shared.versions
    if keks[1] == "":
        yield shared._replace(keks=(keks[0], ADDED), versions=(versions[0], True)), people
    if keks[1] == ADDED:
        yield shared._replace(keks=(DECRYPT_ONLY, ACTIVE)), people
    left = sum(key.epoch == 1 for person in people for key in person.keys)
    if states.epoch_may_end(keks[0], records_left=left):  # weeks later, so no cache has anything
        cold = [person._replace(cached=(0,) * len(person.cached)) for person in people]
        yield shared._replace(keks=(ERASED, keks[1]), versions=(False, versions[1])), cold
    if not shared.saved_data:
        saved = [person._replace(old_sealed=person.sealed) for person in people]
        yield shared._replace(saved_data=True), saved
    elif put_back:
        yield shared, [person._replace(sealed=person.old_sealed) for person in people]
    if not shared.saved_keys:
        saved = [person._replace(old_keys=person.keys) for person in people]
        yield shared._replace(saved_keys=True), saved
    if shared.old_keks is None:
        yield shared._replace(old_keks=keks), people


def opens(shared, sealed, keys, keks):
    """Whether somebody with these tables, and with the provider as it is, opens a value."""
    key = next((k for k in keys if k.generation == sealed), None)
    return (
        key is not None
        and states.opens(key)
        and keks[key.epoch - 1] not in ("", ERASED)
        and shared.versions[key.epoch - 1]
    )


def check(person, shared):
    living = [key for key in person.keys if key.state == ACTIVE]
    assert len(living) <= 1, "two active keys"
    data = {person.sealed, person.old_sealed} - {0}
    if not person.erased:
        assert len(living) == bool(person.keys), "a person without a key to write with"
        for sealed in data:
            assert opens(shared, sealed, person.keys, shared.keks), "a value is lost"
        return
    assert not living, "a key came back"
    assert states.is_erased(person.keys), "the tombstone is gone"
    for sealed in data:
        assert not opens(shared, sealed, person.keys, shared.keks), "what was put back opens"
    if any(shared.versions[: person.last_epoch]):
        return
    assert not any(person.cached), "a process still has the key past the horizon"
    tables = product(data, (person.keys, person.old_keys), (shared.keks, shared.old_keks))
    for sealed, keys, keks in tables:
        assert not opens(shared, sealed, keys, keks or shared.keks), "a backup opens it"


class Numbered:
    """Values by number, each once: a state of the search is then a few small numbers."""

    def __init__(self):
        self.values, self.numbers = [], {}

    def __call__(self, value):
        number = self.numbers.setdefault(value, len(self.values))
        if number == len(self.values):
            self.values.append(value)
        return number


class Search:
    """States as one number each: the shared part's number, and the people's in rising order."""

    def __init__(self, subjects, processes, put_back):
        self.person, self.shared = Numbered(), Numbered()
        self.subjects, self.put_back = subjects, put_back
        person = self.named(Person(cached=(0,) * processes))
        self.first = self.packed(self.shared(Shared()), [person] * subjects)
        self.alone, self.together = cache(self._alone), cache(self._together)
        self.checked = cache(self._checked)

    def named(self, one):  # whichever process is which is one to each person
        return self.person(one._replace(cached=tuple(sorted(one.cached))))

    def packed(self, s, people):
        state = s
        for n in sorted(people):
            state = state << _BITS | n
        return state

    def _alone(self, n, epoch):
        person = self.person.values[n]
        return tuple({self.named(new) for new in alone(person, epoch)} - {n})

    def _checked(self, n, s):
        check(self.person.values[n], self.shared.values[s])

    def _together(self, s, people):
        found = together(
            self.shared.values[s], [self.person.values[n] for n in people], self.put_back
        )
        return tuple({self.packed(self.shared(new), map(self.named, each)) for new, each in found})

    def after(self, state):
        """Where one step leads from a state, which is checked."""
        people = tuple([state >> _BITS * n & _MOST for n in range(self.subjects)])
        s = state >> _BITS * self.subjects
        epoch = current(self.shared.values[s].keks)
        yield from self.together(s, people)
        for n, other in zip(people, people[::-1], strict=True):
            self.checked(n, s)
            others = (other,) if self.subjects == 2 else ()
            for new in self.alone(n, epoch):
                yield self.packed(s, (new, *others))


def search(subjects, processes, *, put_back=False):
    """Visit every state; how many there are, and how many steps lead to the last.

    ``put_back``: the backup of the data may be put back at any time.
    """
    search = Search(subjects, processes, put_back)
    seen, front, depth = {search.first}, [search.first], 0
    while front:
        following = []
        for state in front:
            for new in search.after(state):
                if new not in seen:
                    seen.add(new)
                    following.append(new)
        front, depth = following, depth + bool(following)
    return len(seen), depth


_BITS, _MOST = 20, 2**20 - 1  # a person's number


def tell(capsys, text):
    with capsys.disabled():
        sys.stdout.write(f"\n{text}\n")


def test_one_person_in_every_state(capsys):
    """The short form: one subject, all generations, epochs, processes and backups; and the data
    put back."""
    visited, depth = search(1, 2, put_back=True)
    tell(capsys, f"state search, 1 subject, 2 processes: {visited} states, depth {depth}")
    assert visited > 1000


@pytest.mark.soak
def test_two_people_in_every_state(capsys):
    """The whole product."""
    visited, depth = search(2, 2)
    tell(capsys, f"state search, 2 subjects, 2 processes: {visited} states, depth {depth}")
    assert visited > 100_000


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("may_make_first", lambda records: True),
        ("epoch_may_end", lambda state, records_left: state == DECRYPT_ONLY),
        ("opens", lambda record: True),
        ("is_erased", lambda records: ERASED in {r.state for r in records} and len(records) == 1),
    ],
)
def test_the_search_finds_a_broken_rule(monkeypatch, name, broken):
    """It isn't blind: each of these rules, broken, leads to a state that must not be."""
    monkeypatch.setattr(states, name, broken)
    with pytest.raises(AssertionError):
        search(1, 1)


def test_the_search_finds_who_seals_from_a_cache(monkeypatch):
    """What the second process, and its cache, are there for."""

    def from_cache(person, process):
        had = person.cached[process]
        return next((k for k in person.keys if k.generation == had), states.active(person.keys))

    monkeypatch.setattr(f"{__name__}.key_to_seal_with", from_cache, raising=True)
    with pytest.raises(AssertionError, match="lost"):
        search(1, 2)
