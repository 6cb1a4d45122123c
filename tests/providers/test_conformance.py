"""What every key provider must do, whatever stands behind it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from vaultlayer.errors import ConfigurationError, IntegrityError, KeyUnavailable, VaultLayerError
from vaultlayer.keys.provider import MemoryProvider

AAD = b"a place"


@pytest.fixture
def provider(service):
    return service.open()


@pytest.fixture
def kek():
    return os.urandom(32)


def test_what_is_wrapped_is_unwrapped_by_another_process(service, provider, kek):
    """The bytes come back, and the blob holds them nowhere in the clear."""
    blob = provider.wrap(kek, AAD)
    assert service.open().unwrap(blob, AAD) == kek
    assert kek not in blob
    assert provider.wrap(kek, AAD) != blob


@pytest.mark.parametrize("aad", [b"", b"a plac", b"a place ", b"A place", bytes(300)])
def test_another_aad_is_refused(provider, kek, aad):
    """The place is part of what is unwrapped."""
    blob = provider.wrap(kek, AAD)
    with pytest.raises(IntegrityError):
        provider.unwrap(blob, aad)


def test_any_bytes_are_an_aad(provider, kek):
    """Places hold every byte, and are hundreds of bytes long."""
    for aad in (bytes(range(256)), os.urandom(1000)):
        assert provider.unwrap(provider.wrap(kek, aad), aad) == kek


def test_a_truncated_blob_is_refused(provider, kek):
    """Cut anywhere, or with something behind it: an error of ours, never other bytes."""
    blob = provider.wrap(kek, AAD)
    lengths = {0, 1, 2, len(blob) // 2, len(blob) - 17, len(blob) - 1}
    for damaged in [*(blob[:length] for length in lengths), blob + b"\0"]:
        with pytest.raises((IntegrityError, KeyUnavailable)):
            provider.unwrap(damaged, AAD)
    with pytest.raises(IntegrityError):
        provider.unwrap(blob[:-1], AAD)


def test_a_changed_blob_is_refused(provider, kek):
    """No byte of it can change."""
    blob = provider.wrap(kek, AAD)
    for place in sorted({*range(0, len(blob), 7), len(blob) - 1}):
        changed = bytearray(blob)
        changed[place] ^= 1
        with pytest.raises((IntegrityError, KeyUnavailable)):
            provider.unwrap(bytes(changed), AAD)


def test_versions_old_and_new_at_once(service, provider, kek):
    """A new version wraps in every process at once; the old one goes on unwrapping."""
    other = service.open()
    (first,) = provider.versions()
    old = provider.wrap(kek, AAD)
    second = other.rotate()
    assert provider.versions() == other.versions() == [first, second]
    new = provider.wrap(kek, AAD)
    for process in (provider, other, service.open()):
        assert process.unwrap(old, AAD) == process.unwrap(new, AAD) == kek
        assert (process.version_of(old), process.version_of(new)) == (first, second)


def test_a_destroyed_version_unwraps_nothing(service, provider, kek):
    """Only the oldest goes, and with it what it wrapped; the others stay as they were."""
    running = service.open()
    (first,) = provider.versions()
    old = provider.wrap(kek, AAD)
    second, third = provider.rotate(), provider.rotate()
    new = provider.wrap(kek, AAD)
    for not_yet in (second, third, "", "no such version"):
        with pytest.raises(ConfigurationError, match="oldest"):
            provider.destroy(not_yet)
    before = datetime.now(UTC)
    gone = provider.destroy(first)
    assert before - timedelta(minutes=1) < gone < before + timedelta(days=31)
    for process in (provider, running, service.open()):
        assert process.versions() == [second, third]
        assert service.unwraps_no_more(process, old, AAD)
        assert process.unwrap(new, AAD) == kek
    provider.destroy(second)
    with pytest.raises(ConfigurationError, match="oldest"):
        provider.destroy(third)
    assert provider.unwrap(new, AAD) == kek


def test_nothing_secret_is_shown(provider, kek):
    """Neither the repr nor an error repeats what was given."""
    blob = provider.wrap(kek, AAD)
    with pytest.raises(VaultLayerError) as caught:
        provider.unwrap(blob, b"elsewhere")
    shown = f"{provider!r} {caught.value} {caught.value!r} {provider.name}"
    for secret in (kek, blob):
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown
    assert caught.value.hint


def test_keys_dont_open_each_others_blobs(service, provider, kek):
    """A blob of one key is not another key's, whichever of them is asked."""
    if service.uri == "memory:":
        other = MemoryProvider()
    else:
        other = service.another()
        if not other.versions():
            other.rotate()
    for one, two in ((provider, other), (other, provider)):
        with pytest.raises((IntegrityError, KeyUnavailable)):
            two.unwrap(one.wrap(kek, AAD), AAD)


def test_a_key_nobody_made_doesnt_wrap(service, kek):
    """Before the first version there is none to list, and nothing of it unwraps."""
    if service.uri == "memory:" or service.uri.startswith("local:"):
        return  # these are made with their first version
    provider = service.another()
    assert provider.versions() == []
    if not service.uri.startswith("bao"):  # transit makes a key for who may make one
        with pytest.raises(KeyUnavailable, match="rotate provider"):
            provider.wrap(kek, AAD)
    first = provider.rotate()
    assert provider.versions() == [first]
    assert provider.version_of(provider.wrap(kek, AAD)) == first


def test_many_threads_at_once(service, provider):
    """Threads share a provider; each gets its own answer."""

    def round_trip(number):
        kek, aad = os.urandom(32), f"place {number}".encode()
        return provider.unwrap(provider.wrap(kek, aad), aad) == kek

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(round_trip, range(24)))


def test_a_forked_child_asks_for_itself(service, provider, kek):
    """Parent and child use no connection of each other's, while both go on."""
    blob = provider.wrap(kek, AAD)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            ok = [provider.unwrap(blob, AAD) == kek for _ in range(5)]
            code = 0 if all(ok) and provider.unwrap(provider.wrap(kek, b"x"), b"x") == kek else 2
        finally:
            os._exit(code)
    for _ in range(5):
        assert provider.unwrap(blob, AAD) == kek
    assert os.waitpid(child, 0)[1] == 0
    assert provider.unwrap(blob, AAD) == kek


def test_two_processes_rotate_at_once(service, provider, kek):
    """Both come back with a version that is there, and both go on wrapping and unwrapping."""
    blob = provider.wrap(kek, AAD)
    processes = [service.open() for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda process: process.rotate(), processes))
    assert set(made) <= set(provider.versions())
    for process in (provider, *processes):
        assert process.unwrap(blob, AAD) == kek
        assert process.version_of(process.wrap(kek, AAD)) == provider.versions()[-1]
