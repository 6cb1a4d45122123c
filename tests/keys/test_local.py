"""The keyring: opened by its passphrase alone, and by nothing that was changed."""

from __future__ import annotations

import base64
import json
import random
import unicodedata

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vaultlayer.crypto.envelope import key_id_for, key_id_of, seal
from vaultlayer.errors import ConfigurationError, IntegrityError, KeyUnavailable, VaultLayerError
from vaultlayer.keys import local
from vaultlayer.keys.local import ARGON2ID, SCRYPT, WEAK_KDF_FOR_TESTS, LocalKeyring
from vaultlayer.keys.provider import MemoryProvider, open_provider

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


def _two_keys(path):
    """What a later version may write: two keys, the second of them active."""
    document = json.loads(path.read_text())
    document |= {"keys": {"1": {}, "2": {}}, "active": "2"}
    stretched = local._stretch(PASSPHRASE, document["kdf"])
    for name in "12":
        aad = local._key_aad(document, name)
        blob = seal(AESGCM(stretched), key_id_for(stretched), aad, name.encode() * 32)
        document["keys"][name]["wrapped"] = base64.b64encode(blob).decode()
    path.write_text(json.dumps(document))


def test_the_active_key_wraps_and_all_unwrap(keyring):
    """With two keys in the file, new KEKs go under the active one and old ones still open."""
    _two_keys(keyring)
    provider = opened(keyring)
    assert key_id_of(provider.wrap(b"k" * 32, b"place")) == key_id_for(b"2" * 32)
    old = MemoryProvider([b"1" * 32]).wrap(b"k" * 32, b"place")
    assert provider.unwrap(old, b"place") == b"k" * 32


@pytest.mark.parametrize("field", ["active", "keys"])
def test_keys_of_one_file_dont_change_places(keyring, field):
    """Another active key, or two keys under each other's names: IntegrityError."""
    _two_keys(keyring)

    def change(document):
        keys = document["keys"]
        if field == "active":
            document["active"] = "1"
        else:
            keys["1"], keys["2"] = keys["2"], keys["1"]

    edit(keyring, change)
    with pytest.raises(IntegrityError, match="was altered"):
        opened(keyring)


def test_base64_has_one_form(keyring):
    """Text that decodes to the same bytes but isn't what was written is refused."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

    def change(document):
        text = document["keys"]["1"]["wrapped"]
        other = text[:-3] + alphabet[alphabet.index(text[-3]) + 1] + "=="
        assert text.endswith("==")
        assert base64.b64decode(other) == base64.b64decode(text)
        document["keys"]["1"]["wrapped"] = other

    edit(keyring, change)
    with pytest.raises(IntegrityError, match="was altered"):
        opened(keyring)


def test_every_changed_character_is_noticed(keyring):
    """No single character of the file can change and the same key still be had from it."""
    good = keyring.read_text()
    blob = opened(keyring).wrap(b"k" * 32, b"place")
    some = random.randrange(4)  # each fourth in one run, all in four
    for position, character in list(enumerate(good))[some::4]:
        if character.isspace():
            continue
        other = "1" if character != "1" else "2"
        keyring.write_text(good[:position] + other + good[position + 1 :])
        with pytest.raises(VaultLayerError):
            opened(keyring).unwrap(blob, b"place")


def test_the_passphrase_is_stretched_not_stored(keyring):
    """Neither the passphrase nor a key is in the file; the envelope names a stretched key."""
    text = keyring.read_text()
    assert PASSPHRASE not in text
    blob = base64.b64decode(json.loads(text)["keys"]["1"]["wrapped"])
    assert len(blob) == 47 + 32
    assert key_id_of(blob) != bytes(16)


@pytest.mark.parametrize("uri", ["keyring.json", "", "none://x", "LOCAL:keyring.json", ":x"])
def test_an_unknown_scheme_names_the_installed_ones(tmp_path, uri):
    """A URI nobody serves is refused with the list of what is installed."""
    with pytest.raises(ConfigurationError, match="no key provider serves") as caught:
        open_provider(uri, passphrase=pytest.fail, base=tmp_path)
    assert "local" in caught.value.hint
