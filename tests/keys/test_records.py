"""Key records on attack: whatever is moved, swapped or changed in the tables is refused."""

from __future__ import annotations

import os
import struct

import pytest
from Crypto.Cipher import AES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from vaultlayer.crypto.binding import record_aad
from vaultlayer.crypto.envelope import key_id_for, seal
from vaultlayer.errors import IntegrityError, KeyErased, KeyUnavailable
from vaultlayer.keys import places, records, states, tables
from vaultlayer.keys.erasing import set_state
from vaultlayer.keys.keyring import RECORD

S, K, R = tables.subject_key, tables.kek, tables.index_root


def row_of(world, table, column, value):
    with world.engine.connect() as connection:
        return connection.execute(select(table).where(table.c[column] == value)).one()


def change(world, table, column, value, **new):
    with world.begin() as connection:
        assert connection.execute(update(table).where(table.c[column] == value), new).rowcount == 1


def swap(world, table, column, first, second, *names):
    """Exchange some columns of two records."""
    one, other = (row_of(world, table, column, value)._mapping for value in (first, second))
    spare = {name: os.urandom(16) for name in names if name in ("subject", "key_id", "kek_id")}
    change(world, table, column, first, **({name: one[name] for name in names} | spare))
    first = spare.get(column, first)
    change(world, table, column, second, **{name: one[name] for name in names})
    change(world, table, column, first, **{name: other[name] for name in names})


@pytest.mark.parametrize(
    "names",
    [("subject",), ("key_id",), ("wrapped",), ("key_id", "subject"), ("wrapped", "subject")],
    ids=" and ".join,
)
def test_records_swapped_between_subjects_are_refused(world, names):
    """Whichever columns two people's records exchange, neither record opens."""
    first, second = world.new(2)
    swap(world, S, "key_id", first, second, *names)
    for key_id in (first, second):
        with pytest.raises(IntegrityError):
            world.cold([key_id])


def test_swapping_all_that_is_in_a_record_changes_nothing(world):
    """The record is its columns: two rows that exchange every one of them are the same two rows."""
    first, second = world.new(2)
    swap(world, S, "key_id", first, second, "key_id", "subject", "wrapped")
    assert set(world.cold([first, second])) == {first, second}


def test_a_record_moved_to_another_tenant_is_refused(world):
    """A tenant's record doesn't open as another tenant's."""
    (key_id,) = world.new(tenant="acme")
    world.new(tenant="globex")
    change(world, S, "key_id", key_id, tenant="globex")
    with pytest.raises(IntegrityError):
        world.cold([key_id])


@pytest.mark.parametrize("was", states.STATES)
@pytest.mark.parametrize("claimed", states.STATES)
def test_a_state_cannot_be_edited(world, was, claimed):
    """Whatever state a record is in, none other can be written over it; erased says KeyErased."""
    (key_id,) = world.new()
    for state in states.STATES[2 : states.STATES.index(was) + 1]:
        into(world, key_id, state)
    if was == states.ADDED:
        return
    change(world, S, "key_id", key_id, state=claimed)
    if was == claimed != states.ERASED:
        assert list(world.cold([key_id])) == [key_id]
    else:
        with pytest.raises(KeyErased if was == claimed else IntegrityError):
            world.cold([key_id])


def into(world, key_id, state):
    with world.begin() as connection:
        rows = connection.execute(RECORD.where(S.c.key_id == key_id)).all()
        set_state(world.keys, connection, rows, state)


def test_an_erased_record_put_back_as_it_was_is_not_seen_here(world):
    """Writing an older record back revives it: the tombstones' check is what tells, not AEAD."""
    (key_id,) = world.new()
    before = row_of(world, S, "key_id", key_id)._mapping
    into(world, key_id, states.ERASED)
    change(world, S, "key_id", key_id, state=before["state"], wrapped=before["wrapped"])
    assert list(world.cold([key_id])) == [key_id]


@pytest.mark.parametrize("column", ["state", "wrapped"])
def test_an_index_roots_state_cannot_be_edited(world, column):
    """A root that is active can't be made one that is only searched, nor be taken out."""
    with world.begin() as connection:
        world.keys.index_keys(connection, "", "customer", "email", "email")
    edited = {"state": states.DECRYPT_ONLY} if column == "state" else {"wrapped": None}
    change(world, R, "tenant", "", **edited)
    with world.begin() as connection, pytest.raises(IntegrityError):
        world.process().index_keys(connection, "", "customer", "email", "email")


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_kek_that_may_wrap_cannot_be_made_one_that_may_not(world, epochs):
    """Nor the other way round: what is wrapped next would go under another KEK than it should."""
    world.new()
    with world.begin() as connection:
        for epoch in range(2, epochs + 1):
            world.keys.keks.create(connection, "", "", epoch, states.ADDED)
    claimed = states.ADDED if epochs == 1 else states.ACTIVE
    change(world, K, "epoch", epochs, state=claimed)
    for process in (world.process(), world.keys):
        with world.begin() as connection, pytest.raises(IntegrityError):
            process.active(connection, "", [os.urandom(16)])


@pytest.mark.parametrize("generation", [0, 2, -1, 2**31 - 1])
def test_another_generation_is_refused(world, generation):
    """A record says which generation of the key it is, and is bound to it."""
    (key_id,) = world.new()
    change(world, S, "key_id", key_id, generation=generation)
    with pytest.raises(IntegrityError):
        world.cold([key_id])


def test_a_record_under_another_kek_is_refused(world):
    """A record that names another tenant's KEK doesn't open."""
    (first,), (second,) = world.new(tenant="acme"), world.new(tenant="globex")
    change(world, S, "key_id", first, kek_id=row_of(world, S, "key_id", second).kek_id)
    with pytest.raises(IntegrityError):
        world.cold([first])


@pytest.mark.parametrize(
    "names",
    [("wrapped",), ("kek_id",), ("tenant",), ("kek_id", "tenant")],
    ids=" and ".join,
)
def test_swapped_keks_are_refused(world, names):
    """Two KEK records that exchange columns open nothing any more."""
    (first,), (second,) = world.new(tenant="acme"), world.new(tenant="globex")
    one, other = (row_of(world, S, "key_id", key_id).kek_id for key_id in (first, second))
    if "tenant" in names:
        change(world, K, "kek_id", other, region="elsewhere")  # the unique constraint allows it
    swap(world, K, "kek_id", one, other, *names)
    for key_id in (first, second):
        with pytest.raises(IntegrityError):
            world.cold([key_id])


@pytest.mark.parametrize("column", ["tenant", "region", "epoch"])
def test_a_kek_is_bound_to_its_place(world, column):
    """A KEK record that names another tenant, region or epoch doesn't open."""
    (key_id,) = world.new()
    kek_id = row_of(world, S, "key_id", key_id).kek_id
    change(world, K, "kek_id", kek_id, **{column: 7 if column == "epoch" else "elsewhere"})
    with pytest.raises(IntegrityError):
        world.cold([key_id])


def test_a_warm_process_doesnt_take_another_tenants_kek_either(world):
    """With both KEKs in memory, a swapped KEK record still makes no key under the wrong one."""
    (_key_id,) = world.new(tenant="acme")
    change(world, K, "tenant", "acme", tenant="globex")
    with world.begin() as connection, pytest.raises(IntegrityError):
        world.keys.active(connection, "globex", [os.urandom(16)])


def test_every_bit_of_a_wrapped_key_matters(world):
    """No single flipped bit of a wrapped subject key is accepted."""
    (key_id,) = world.new()
    stored = row_of(world, S, "key_id", key_id)
    kek = world.keys.keks.cache.cached[stored.kek_id]
    record = (stored.tenant, stored.subject, stored.generation)

    def opens(wrapped):
        row = (stored.state, stored.kek_id, wrapped, key_id, *record)
        records.open_subject_keys([row], {stored.kek_id: kek}, 0.0)

    opens(stored.wrapped)
    for bit in range(len(stored.wrapped) * 8):
        damaged = bytearray(stored.wrapped)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(IntegrityError):
            opens(bytes(damaged))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wrapped=st.one_of(st.binary(max_size=120), st.just(None)))
def test_anything_else_in_place_of_a_wrapped_key_is_refused(world, wrapped):
    """NULL, nothing, noise: always the same IntegrityError."""
    (key_id,) = world.new()
    change(world, S, "key_id", key_id, wrapped=wrapped)
    with pytest.raises(IntegrityError, match="key record is damaged"):
        world.cold([key_id])


def test_a_kek_whose_wrapped_form_changed_is_refused(world):
    """A flipped bit in a wrapped KEK is an integrity failure, not an outage."""
    (key_id,) = world.new()
    stored = row_of(world, S, "key_id", key_id)
    wrapped = row_of(world, K, "kek_id", stored.kek_id).wrapped
    change(world, K, "kek_id", stored.kek_id, wrapped=wrapped[:-1] + bytes([wrapped[-1] ^ 1]))
    with pytest.raises(IntegrityError, match="key record is damaged"):
        world.cold([key_id])


@pytest.mark.parametrize("length", [0, 16, 31, 47, 48, 49, 64])
def test_a_key_that_isnt_the_one_its_id_names_is_refused(world, length):
    """Even someone who holds the KEK can't put another key behind an id that is in use."""
    (key_id,) = world.new()
    stored = row_of(world, S, "key_id", key_id)
    kek = world.keys.keks.cache.cached[stored.kek_id]
    aad = places.subject_key_aad(
        "", stored.subject, key_id, stored.generation, stored.state
    )
    forged = seal(kek.cipher, kek.kek_id, aad, os.urandom(length))
    change(world, S, "key_id", key_id, wrapped=forged)
    with pytest.raises(IntegrityError):
        world.cold([key_id])


def test_a_provider_that_gives_another_kek_is_refused(world):
    """A KEK is checked against its id, whatever the provider says it is."""
    (key_id,) = world.new()
    for answer in (os.urandom(32), b"", os.urandom(16)):
        world.provider.inner.unwrap = lambda blob, aad, answer=answer: answer
        with pytest.raises(IntegrityError):
            world.cold([key_id])
        with world.begin() as connection, pytest.raises(IntegrityError):
            world.process().active(connection, "", [os.urandom(16)])


def test_a_provider_that_cannot_unwrap_what_it_wraps_is_noticed_in_time(world):
    """Nothing is sealed under a KEK before the provider has given it back."""
    other = os.urandom(32)
    world.provider.inner.unwrap = lambda blob, aad: other
    with world.begin() as connection, pytest.raises(KeyUnavailable, match="another key"):
        world.keys.active(connection, "", [os.urandom(16)])
    with world.engine.connect() as connection:
        assert connection.execute(select(K)).all() == []


def test_an_unknown_state_is_refused(world):
    """A record in a state nobody knows isn't used."""
    (key_id,) = world.new()
    change(world, S, "key_id", key_id, state="restricted?")
    with pytest.raises(IntegrityError):
        world.cold([key_id])


def test_a_key_without_record_or_kek_is_unavailable(world):
    """A missing record is told apart from a damaged and from an erased one."""
    (key_id,) = world.new()
    with pytest.raises(KeyUnavailable, match="no key record"):
        world.cold([os.urandom(16)])
    with world.begin() as connection:
        connection.execute(K.delete())
    with pytest.raises(KeyUnavailable, match="no record of the KEK"):
        world.cold([key_id])


@pytest.mark.parametrize("column", ["wrapped", "root_id", "tenant", "epoch", "kek_id"])
def test_an_index_root_is_bound_to_its_place(world, column):
    """Index roots that exchange columns, or move to another epoch, give no index key."""
    name = ("customer", "email", "email")
    with world.begin() as connection:
        for tenant in ("acme", "globex"):
            world.keys.index_keys(connection, tenant, *name)
    if column == "epoch":
        change(world, R, "tenant", "acme", epoch=2)
    elif column == "tenant":
        change(world, R, "tenant", "acme", tenant="elsewhere")
    else:
        stolen = row_of(world, R, "tenant", "globex")._mapping[column]
        with world.begin() as connection:
            connection.execute(R.delete().where(R.c.tenant == "globex"))
        change(world, R, "tenant", "acme", **{column: stolen})
    tenant = "elsewhere" if column == "tenant" else "acme"
    with world.begin() as connection, pytest.raises(IntegrityError):
        world.process().index_keys(connection, tenant, *name)


def test_a_forged_index_root_is_refused(world):
    """Even someone who holds the KEK can't put another root behind an id that is in use."""
    with world.begin() as connection:
        world.keys.index_keys(connection, "", "customer", "email", "email")
    stored = row_of(world, R, "tenant", "")
    kek = world.keys.keks.cache.cached[stored.kek_id]
    aad = places.index_root_aad("", stored.epoch, stored.root_id, stored.state)
    forged = seal(kek.cipher, kek.kek_id, aad, os.urandom(32))
    change(world, R, "tenant", "", wrapped=forged)
    with world.begin() as connection, pytest.raises(IntegrityError):
        world.process().index_keys(connection, "", "customer", "email", "email")


def test_another_library_reads_a_record_from_its_description(world):
    """The record is what it is said to be: PyCryptodome opens it with AAD built by hand."""
    with world.begin() as connection:
        (key,) = world.keys.active(connection, "acme", [bytes(range(16))]).values()
    stored = row_of(world, S, "key_id", key.key_id)
    kek = row_of(world, K, "kek_id", stored.kek_id)
    opened = world.provider.inner.unwrap(
        kek.wrapped,
        record_aad(
            "kek",
            tenant=b"acme",
            region=b"",
            epoch=struct.pack(">q", 1),
            kek_id=stored.kek_id,
            state=b"in use",
        ),
    )
    whose = key.key_id + struct.pack(">q", 1) + bytes(range(16))
    suite_item = b"\x06" + struct.pack(">I", 2) + b"\x01\x00"
    cipher = AES.new(opened, AES.MODE_GCM, nonce=stored.wrapped[19:31])
    place = record_aad("subject-key", state=b"active", tenant=b"acme", whose=whose)
    cipher.update(place + suite_item)
    material = cipher.decrypt_and_verify(stored.wrapped[31:-16], stored.wrapped[-16:])
    assert stored.wrapped[:19] == b"\xf9\x01\x00" + stored.kek_id
    assert key_id_for(material[:32]) == key.key_id
    assert material[32:] == key.log_ref


@given(
    st.lists(
        st.tuples(
            st.text(max_size=4),
            st.sampled_from([b"", bytes(16), b"s" * 16]),
            st.sampled_from([bytes(16), b"k" * 16]),
            st.integers(0, 3),
            st.sampled_from(states.STATES),
        ),
        min_size=2,
        max_size=2,
        unique=True,
    )
)
def test_two_records_never_share_their_aad(two):
    """The AAD of a record says all of tenant, subject, key id, generation and state."""
    first, second = (places.subject_key_aad(*record) for record in two)
    assert first != second
