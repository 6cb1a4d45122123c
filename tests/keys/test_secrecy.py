"""No key, passphrase or wrapped plaintext in what Python shows: repr, pickle, errors, frames."""

from __future__ import annotations

import copy
import os
import pickle

import pytest
from sqlalchemy import update

from vaultlayer.crypto.envelope import key_id_for, seal
from vaultlayer.errors import (
    ConfigurationError,
    IntegrityError,
    KeyUnavailable,
    VaultLayerError,
)
from vaultlayer.keys import keks, places, records, tables, uppers
from vaultlayer.keys.local import WEAK_KDF_FOR_TESTS, LocalKeyring
from vaultlayer.keys.provider import MemoryProvider

SECRET = bytes(range(100, 132))


def frames(error):
    """The frames of an error and of all the errors behind it."""
    seen = []
    while error is not None:
        trace = error.__traceback__
        while trace is not None:
            seen.append(trace.tb_frame)
            trace = trace.tb_next
        error = error.__cause__ or error.__context__
    return seen


def in_library(frame):
    name = frame.f_code.co_filename
    return "vaultlayer" in name and "tests" not in name


def holds(value, secret):
    """Whether a value, or what is in it, contains the secret."""
    if isinstance(value, dict):
        return any(holds(part, secret) for part in value.values())
    if isinstance(value, list | tuple | set):
        return any(holds(part, secret) for part in value)
    return isinstance(value, type(secret)) and secret in value


def assert_no_secret(error, secret):
    """Neither the error's text nor a variable of any frame behind it has the secret."""
    seen = [frame for frame in frames(error) if in_library(frame)]
    leaks = [
        (frame.f_code.co_name, name)
        for frame in seen
        for name, value in frame.f_locals.items()
        if holds(value, secret)
    ]
    assert seen
    assert leaks == []
    text = secret if isinstance(secret, str) else repr(secret)[2:-1]
    assert text not in f"{error}{error!r}{error.args}"


@pytest.fixture
def key(world):
    with world.begin() as connection:
        (key,) = world.keys.active(connection, "acme", [b"subject-of-16-by"]).values()
    return key


def test_a_key_shows_nothing(world, key):
    """repr and str of everything that holds a key name the kind of thing and nothing else."""
    kek = next(iter(world.keys.keks.cache.cached.values()))
    root = uppers.IndexRoot(bytes(16), 1, "active", SECRET)
    for thing in (key, kek, root, MemoryProvider([SECRET])):
        for shown in (repr(thing), str(thing), f"{thing}"):
            assert shown in {"<SubjectKey>", "<Kek>", "<IndexRoot>", "<MemoryProvider memory:>"}


@pytest.mark.parametrize("through", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_key_isnt_copied_or_pickled(key, through):
    """Whatever leads to __reduce__ is refused, with what to do instead."""
    with pytest.raises(ConfigurationError, match="pickled or copied"):
        through(key)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_no_holder_of_keys_is_pickled(world, key, protocol):
    """Neither Keys nor a provider nor a KEK can be pickled, by any protocol."""
    kek = next(iter(world.keys.keks.cache.cached.values()))
    for thing in (key, kek, world.keys, MemoryProvider([SECRET])):
        with pytest.raises((TypeError, pickle.PicklingError, VaultLayerError)):
            pickle.dumps(thing, protocol)


def test_a_failing_wrap_leaves_no_kek_in_the_traceback(world):
    """A provider that fails while wrapping has the KEK in its frames; the error doesn't."""
    world.provider.failure = OSError("connection reset")
    with world.begin() as connection, pytest.raises(KeyUnavailable) as caught:
        world.keys.active(connection, "", [os.urandom(16)])
    (kek,) = world.provider.seen
    assert len(kek) == 32
    assert_no_secret(caught.value, kek)
    assert not {"wrap", "_called"} & {frame.f_code.co_name for frame in frames(caught.value)}


def test_a_provider_error_with_a_cause_loses_its_cause(world):
    """The causes' frames are the provider's as well."""

    def wrap(plaintext, aad):
        world.provider.seen.append(plaintext)
        try:
            raise OSError("connection reset")
        except OSError as error:
            raise KeyUnavailable("the provider is away", hint="try later") from error

    world.provider.wrap = wrap
    with world.begin() as connection, pytest.raises(KeyUnavailable, match="away") as caught:
        world.keys.active(connection, "", [os.urandom(16)])
    assert_no_secret(caught.value, world.provider.seen[0])
    assert "wrap" not in {frame.f_code.co_name for frame in frames(caught.value)}
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_a_wrong_kek_isnt_in_the_traceback(world, key):
    """A KEK that doesn't fit its id is out of the frames before the error is raised."""
    world.provider.inner.unwrap = lambda blob, aad: SECRET
    with pytest.raises(IntegrityError) as caught:
        world.cold([key.key_id])
    assert_no_secret(caught.value, SECRET)


def test_a_wrong_subject_key_isnt_in_the_traceback(world, key):
    """Nor a subject key that doesn't fit its id, nor the right keys opened before it."""
    kek = next(iter(world.keys.keks.cache.cached.values()))
    aad = places.subject_key_aad("acme", key.subject, key.key_id, 1, "active")
    with world.begin() as connection:
        connection.execute(
            update(tables.subject_key),
            {"wrapped": seal(kek.cipher, kek.kek_id, aad, SECRET + bytes(16))},
        )
    with pytest.raises(IntegrityError) as caught:
        world.cold([key.key_id])
    assert_no_secret(caught.value, SECRET)


def test_keys_opened_before_a_damaged_one_arent_in_the_traceback(world, monkeypatch):
    """A batch that fails at its end shows none of the keys it had opened."""
    ids = world.new(5)
    with world.begin() as connection:
        connection.execute(
            update(tables.subject_key).where(tables.subject_key.c.key_id == max(ids)),
            {"wrapped": b"noise"},
        )
    opened = []
    real = records.key_id_for
    monkeypatch.setattr(records, "key_id_for", lambda key: opened.append(key) or real(key))
    with pytest.raises(IntegrityError) as caught:
        world.cold(sorted(ids))
    assert len(opened) >= 4  # the KEK is among them
    for secret in opened:
        assert_no_secret(caught.value, secret)


def test_a_failing_insert_shows_no_key(world, monkeypatch):
    """The database's own error carries wrapped keys only."""
    drawn = []
    for module in (records, keks):
        real = os.urandom
        monkeypatch.setattr(
            module.os, "urandom", lambda size, real=real: drawn.append(real(size)) or drawn[-1]
        )
    world.new()
    tables.subject_key.drop(world.engine)
    with world.begin() as connection, pytest.raises(Exception, match="no such table") as caught:
        world.keys.active(connection, "", [os.urandom(16)], fresh=True)
    pools = [pool for pool in drawn if len(pool) == 60]
    assert pools
    for pool in pools:
        assert_no_secret(caught.value, pool[:32])


def test_a_wrong_passphrase_isnt_in_the_traceback(tmp_path):
    """Neither the passphrase that failed nor the stretched key is shown."""
    path = tmp_path / "keyring.json"
    LocalKeyring.create(path, "the right one", kdf_for_tests=WEAK_KDF_FOR_TESTS)
    with pytest.raises(KeyUnavailable) as caught:
        LocalKeyring.open(
            "local:keyring.json", passphrase=lambda: "the wrong one", base=path.parent
        )
    assert_no_secret(caught.value, "the wrong one")
    with pytest.raises(ConfigurationError) as caught:
        LocalKeyring.create(path, "the new one", kdf_for_tests=WEAK_KDF_FOR_TESTS)
    assert_no_secret(caught.value, "the new one")
    path.write_text(path.read_text().replace('"n": 2', '"n": 3'))
    with pytest.raises(ConfigurationError) as caught:
        LocalKeyring.open(
            "local:keyring.json", passphrase=lambda: "the third one", base=path.parent
        )
    assert_no_secret(caught.value, "the third one")


def test_the_tables_hold_no_key(world, tmp_path):
    """Every byte of the database file: no subject key, no KEK, no log_ref, no provider key."""
    drawn, real = [], os.urandom
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "urandom", lambda size: drawn.append(real(size)) or drawn[-1])
        world.new(20)
    world.engine.dispose()
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    (pool,) = (pool for pool in drawn if len(pool) == 20 * 60)
    for start in range(0, len(pool), 60):
        key, log_ref = pool[start : start + 32], pool[start + 32 : start + 48]
        assert key_id_for(key) in stored
        assert key not in stored
        assert log_ref not in stored
    kek, _ = world.provider.seen
    assert kek not in stored
