"""The keyring file: opened by its passphrase alone, written whole or not at all."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import unicodedata

import pytest

from vaultlayer.crypto.envelope import key_id_of
from vaultlayer.errors import ConfigurationError, IntegrityError, KeyUnavailable, VaultLayerError
from vaultlayer.keys import local
from vaultlayer.keys.local import ARGON2ID, SCRYPT, WEAK_KDF_FOR_TESTS, LocalKeyring
from vaultlayer.keys.provider import open_provider

PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def keyring(tmp_path):
    path = tmp_path / "keyring.json"
    LocalKeyring.create(path, PASSPHRASE, kdf_for_tests=WEAK_KDF_FOR_TESTS)
    return path


def opened(path, passphrase=PASSPHRASE):
    return open_provider(f"local:{path.name}", passphrase=lambda: passphrase, base=path.parent)


def edit(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_what_is_wrapped_is_unwrapped_by_the_reopened_file(keyring):
    """Close and open again: the same key, named by the URI of the settings."""
    blob = opened(keyring).wrap(b"k" * 32, b"place")
    again = opened(keyring)
    assert again.unwrap(blob, b"place") == b"k" * 32
    assert again.name == "local:keyring.json"


def test_a_wrapped_kek_is_bound_to_its_place(keyring):
    """Another aad, a flipped bit or no envelope at all: IntegrityError."""
    provider = opened(keyring)
    blob = provider.wrap(b"k" * 32, b"place")
    for damaged, aad in [(blob, b"other"), (blob[:-1] + b"\0", b"place"), (b"", b"place")]:
        with pytest.raises(IntegrityError):
            provider.unwrap(damaged, aad)


def test_another_keyring_doesnt_unwrap(keyring, tmp_path):
    """A KEK wrapped by one keyring is unavailable with another, not corrupt."""
    blob = opened(keyring).wrap(b"k" * 32, b"place")
    other = tmp_path / "other.json"
    LocalKeyring.create(other, PASSPHRASE, kdf_for_tests=WEAK_KDF_FOR_TESTS)
    with pytest.raises(KeyUnavailable, match="doesn't hold the key"):
        opened(other).unwrap(blob, b"place")


def test_an_absolute_path_is_taken_as_it_is(keyring, tmp_path):
    """local:/abs/path doesn't depend on the settings' folder."""
    uri = f"local:{keyring}"
    open_provider(uri, passphrase=lambda: PASSPHRASE, base=tmp_path / "elsewhere")


def test_argon2id_with_the_recommended_cost_is_the_default(tmp_path):
    """RFC 9106's second recommended option, written into the file with a random salt."""
    salts = set()
    for name in ("a.json", "b.json"):
        LocalKeyring.create(tmp_path / name, PASSPHRASE)
        kdf = json.loads((tmp_path / name).read_text())["kdf"]
        salts.add(kdf.pop("salt"))
        assert kdf == {"name": "argon2id", "memory_kib": 65536, "iterations": 3, "lanes": 4}
    assert len(salts) == 2
    assert {len(base64.b64decode(salt)) for salt in salts} == {16}
    opened(tmp_path / "a.json")


def test_scrypt_takes_over_where_argon2id_is_missing(tmp_path, monkeypatch):
    """Without Argon2id in the OpenSSL at hand the file is written with scrypt, and opens."""
    monkeypatch.setattr(local, "Argon2id", _unsupported)
    path = tmp_path / "keyring.json"
    LocalKeyring.create(path, PASSPHRASE)
    kdf = json.loads(path.read_text())["kdf"]
    assert {key: kdf[key] for key in SCRYPT} == SCRYPT
    opened(path)


def test_an_argon2id_file_without_argon2id_names_the_remedy(tmp_path, monkeypatch):
    """A file from another machine that this one can't stretch is a configuration error."""
    path = tmp_path / "keyring.json"
    cheap = ARGON2ID | {"memory_kib": 32, "iterations": 1}
    LocalKeyring.create(path, PASSPHRASE, kdf_for_tests=cheap)
    monkeypatch.setattr(local, "Argon2id", _unsupported)
    with pytest.raises(ConfigurationError, match="OpenSSL"):
        opened(path)


def _unsupported(**_):
    from cryptography.exceptions import UnsupportedAlgorithm

    raise UnsupportedAlgorithm("not here")


@pytest.mark.parametrize(
    "wrong", ["", "correct horse battery stapl", PASSPHRASE + " ", "\uff23orrect"]
)
def test_a_wrong_passphrase_names_where_it_comes_from(keyring, wrong):
    """KeyUnavailable, and the hint names both variables but no passphrase."""
    with pytest.raises(KeyUnavailable) as caught:
        opened(keyring, wrong)
    assert "VAULTLAYER_PASSPHRASE " in caught.value.hint
    assert "VAULTLAYER_PASSPHRASE_FILE" in caught.value.hint
    assert not wrong.strip() or wrong not in str(caught.value)


def test_a_passphrase_is_the_same_on_every_keyboard(tmp_path):
    """Composed or decomposed, é is é."""
    path = tmp_path / "keyring.json"
    LocalKeyring.create(
        path, unicodedata.normalize("NFD", "clé privée"), kdf_for_tests=WEAK_KDF_FOR_TESTS
    )
    opened(path, unicodedata.normalize("NFC", "clé privée"))


def test_an_empty_passphrase_is_refused(tmp_path):
    """No keyring is written under nothing."""
    with pytest.raises(ConfigurationError, match="empty"):
        LocalKeyring.create(tmp_path / "keyring.json", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o660, 0o610])
def test_a_file_others_may_use_is_refused(keyring, mode):
    """Whatever bit is too many, the error is the chmod command."""
    keyring.chmod(mode)
    with pytest.raises(ConfigurationError) as caught:
        opened(keyring)
    assert caught.value.hint == f"run `chmod 600 {keyring}`"


def test_a_new_file_is_only_for_its_owner(keyring):
    """create() leaves one file, mode 0600, whatever the umask."""
    assert keyring.stat().st_mode & 0o777 == 0o600
    assert list(keyring.parent.iterdir()) == [keyring]


def test_a_missing_file_names_init(tmp_path):
    """No keyring: the error says which command writes one, and nothing asks for a passphrase."""
    with pytest.raises(ConfigurationError, match="vaultlayer init"):
        open_provider("local:none.json", passphrase=pytest.fail, base=tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"version": 1}',
        b'{"version":1,"kdf":[],"keys":{},"active":"1"}',
        b'{"version":1,"kdf":{"name":"scrypt"},"keys":[],"active":"1"}',
    ],
    ids=range(10),
)
def test_a_damaged_file_is_told_apart_from_a_wrong_passphrase(keyring, content):
    """What is no keyring at all is a configuration error that says to restore it."""
    keyring.write_bytes(content)
    with pytest.raises(ConfigurationError, match="is damaged"):
        opened(keyring)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(version=2),
        lambda d: d.update(active="2"),
        lambda d: d.update(active=["1"]),
        lambda d: d.update(extra=1),
        lambda d: d["kdf"].update(name="md5"),
        lambda d: d["kdf"].update(extra=1),
        lambda d: d["kdf"].update(n=0),
        lambda d: d["kdf"].update(n=3),
        lambda d: d["kdf"].update(n=-2),
        lambda d: d["kdf"].update(n=True),
        lambda d: d["kdf"].update(n=2.0),
        lambda d: d["kdf"].update(n="2"),
        lambda d: d["kdf"].update(n=2**40),
        lambda d: d["kdf"].update(salt=""),
        lambda d: d["kdf"].update(salt="AAAA"),
        lambda d: d["kdf"].update(salt=7),
        lambda d: d.update(keys={}),
        lambda d: d["keys"]["1"].update(wrapped=None),
        lambda d: d["keys"].update({"1": "text"}),
    ],
    ids=range(19),
)
def test_a_malformed_keyring_is_refused_before_it_costs_anything(keyring, change):
    """Unknown versions, names and parameters, and costs beyond reason, are refused as damaged."""
    edit(keyring, change)
    with pytest.raises(ConfigurationError, match="is damaged"):
        opened(keyring)


def _other_key(document):
    document["keys"]["2"] = document["keys"]["1"]


def _renamed(document):
    document["keys"] = {"2": document["keys"]["1"]}
    document["active"] = "2"


def _flipped(document):
    blob = bytearray(base64.b64decode(document["keys"]["1"]["wrapped"]))
    blob[40] ^= 1
    document["keys"]["1"]["wrapped"] = base64.b64encode(blob).decode()


@pytest.mark.parametrize(
    "change", [_other_key, _renamed, _flipped, lambda d: d.update(version=1.0)]
)
def test_a_file_edited_by_hand_doesnt_open(keyring, change):
    """Keys added, renamed or changed with the right passphrase: IntegrityError."""
    edit(keyring, change)
    with pytest.raises(IntegrityError, match="was altered"):
        opened(keyring)


def test_every_changed_character_is_noticed(keyring):
    """No single character of the file can change and the same key still be had from it."""
    good = keyring.read_text()
    blob = opened(keyring).wrap(b"k" * 32, b"place")
    for position, character in enumerate(good):
        if character.isspace():
            continue
        other = "1" if character != "1" else "2"
        keyring.write_text(good[:position] + other + good[position + 1 :])
        with pytest.raises(VaultLayerError):
            opened(keyring).unwrap(blob, b"place")


def test_create_never_replaces_a_file(keyring):
    """A second create() is refused and leaves the first keyring as it was."""
    before = keyring.read_bytes()
    with pytest.raises(ConfigurationError, match="already"):
        LocalKeyring.create(keyring, "another", kdf_for_tests=WEAK_KDF_FOR_TESTS)
    assert keyring.read_bytes() == before
    assert list(keyring.parent.iterdir()) == [keyring]


def test_a_folder_that_isnt_there_is_named(tmp_path):
    """create() in a missing folder is a configuration error with the path."""
    with pytest.raises(ConfigurationError, match=r"none/keyring\.json can't be written"):
        LocalKeyring.create(tmp_path / "none" / "keyring.json", "x", kdf_for_tests=SCRYPT)


@pytest.mark.parametrize("step", ["fsync", "link"])
def test_killed_while_writing_leaves_no_keyring_and_no_obstacle(tmp_path, step):
    """A process killed before the file has its name leaves nothing there; init works again."""
    path = tmp_path / "keyring.json"
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from vaultlayer.keys.local import WEAK_KDF_FOR_TESTS, LocalKeyring\n"
        f"os.{step} = lambda *_: os.kill(os.getpid(), 9)\n"
        "LocalKeyring.create(Path(sys.argv[1]), 'x', kdf_for_tests=WEAK_KDF_FOR_TESTS)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, path], check=False)
    assert killed.returncode == -9
    assert not path.exists()
    assert all(left.stat().st_mode & 0o777 == 0o600 for left in tmp_path.iterdir())
    LocalKeyring.create(path, PASSPHRASE, kdf_for_tests=WEAK_KDF_FOR_TESTS)
    opened(path)


def test_the_file_is_on_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """Order: content synced, then named, then the folder synced."""
    steps = []
    for name in ("fsync", "link"):
        real = getattr(local.os, name)
        monkeypatch.setattr(
            local.os, name, lambda *a, name=name, real=real: steps.append(name) or real(*a)
        )
    LocalKeyring.create(tmp_path / "k.json", "x", kdf_for_tests=WEAK_KDF_FOR_TESTS)
    assert steps == ["fsync", "link", "fsync"]


def test_the_passphrase_is_stretched_not_stored(keyring):
    """Neither the passphrase nor a key is in the file; the envelope names a stretched key."""
    text = keyring.read_text()
    assert PASSPHRASE not in text
    blob = base64.b64decode(json.loads(text)["keys"]["1"]["wrapped"])
    assert len(blob) == 47 + 32
    assert key_id_of(blob) != bytes(16)


@pytest.mark.parametrize("uri", ["keyring.json", "", "bao://x", "LOCAL:keyring.json", ":x"])
def test_an_unknown_scheme_names_the_installed_ones(tmp_path, uri):
    """A URI nobody serves is refused with the list of what is installed."""
    with pytest.raises(ConfigurationError, match="no key provider serves") as caught:
        open_provider(uri, passphrase=pytest.fail, base=tmp_path)
    assert "local" in caught.value.hint
