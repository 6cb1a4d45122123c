"""Keys as a session sees them: one a person, erased for good, apart between tenants."""

from __future__ import annotations

import os

import pytest
from sqlalchemy import event, func, select

from vaultlayer.crypto.envelope import key_id_for
from vaultlayer.errors import ConfigurationError, KeyErased, KeyUnavailable
from vaultlayer.keys import states, tables
from vaultlayer.keys.erasing import erase_keys, set_state
from vaultlayer.keys.keyring import RECORD

S = tables.subject_key


def count(world, table):
    with world.engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(table))


def erase(world, key_id):
    subject = world.cold([key_id])[key_id].subject
    with world.begin() as connection:
        assert erase_keys(world.keys, connection, "", subject) == ([key_id], key_id)


def test_a_key_made_here_is_the_key_another_process_fetches(any_world):
    """Make, commit, fetch elsewhere: the same key, subject, tenant, region and log_ref."""
    world, subject = any_world, os.urandom(16)
    with world.begin() as connection:
        made = world.keys.active(connection, "acme", [subject])[subject]
    fetched = world.cold([made.key_id])[made.key_id]
    sealed = made.cipher.encrypt(bytes(12), b"value", None)
    assert fetched.cipher.decrypt(bytes(12), sealed, None) == b"value"
    for name in ("key_id", "tenant", "subject", "region", "log_ref"):
        assert getattr(fetched, name) == getattr(made, name)
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


def test_tenants_that_look_alike_are_different_tenants(any_world):
    """No database's collation makes two tenants one."""
    tenants, subject = ["acme", "Acme", "acme ", "äcme", "acmé", "ACME", ""], os.urandom(16)
    ids = {}
    with any_world.begin() as connection:
        for tenant in tenants:
            ids[tenant] = any_world.keys.active(connection, tenant, [subject])[subject].key_id
    found = any_world.cold(list(ids.values()))
    assert {found[key_id].tenant: key_id for key_id in found} == ids
    assert count(any_world, tables.kek) == len(tenants)


def test_a_name_the_columns_would_cut_short_is_refused(world):
    """A tenant of more than 255 bytes of UTF-8 is a configuration error."""
    with world.begin() as connection, pytest.raises(ConfigurationError, match="255 bytes"):
        world.keys.active(connection, "ä" * 128, [os.urandom(16)])


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
        set_state(world.keys, connection, connection.execute(RECORD).all(), states.DECRYPT_ONLY)
    subject = world.cold([key_id])[key_id].subject
    with world.begin() as connection, pytest.raises(KeyUnavailable):
        world.keys.active(connection, "", [subject])


def test_new_keys_are_written_in_one_order(world):
    """Two writers with the same people in another order can't deadlock: both go by subject."""
    subjects, written = [os.urandom(16) for _ in range(50)], []

    def note(_connection, _cursor, _statement, parameters, _context, many):
        if many:
            written.extend(value for row in parameters for value in row if value in subjects)

    event.listen(world.engine, "before_cursor_execute", note)
    with world.begin() as connection:
        world.keys.active(connection, "", subjects, fresh=True)
    assert written == sorted(subjects)


def test_new_people_cost_no_look_up(any_world):
    """Their keys go in with one statement, and how many went in is known without another."""
    sent, people = [], [os.urandom(16) for _ in range(50)]
    with any_world.begin() as connection:
        any_world.keys.active(connection, "", [os.urandom(16)], fresh=True)
        event.listen(
            connection, "before_cursor_execute", lambda *told: sent.append(told[2].split()[0])
        )
        made = any_world.keys.active(connection, "", people, fresh=True)
    assert set(made) == set(people)
    assert sent.count("INSERT") == 1
    assert count(any_world, S) == 51
    looked = [each for each in sent if each == "SELECT"]
    assert len(looked) <= 1  # for the KEK to wrap them under


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
