"""The keyring file: provider keys for one machine, under a passphrase.

``{"version": 1, "kdf": {...}, "keys": {name: {"wrapped": base64}}, "active": name}``, mode 0600.
The passphrase is stretched with Argon2id (RFC 9106, second recommended option: 64 MiB, t=3, p=4),
or with scrypt (RFC 7914) where the OpenSSL at hand has no Argon2id. Each key is an envelope of
version 1 under the stretched passphrase, bound to its name and to everything else in the file, so
a file edited by hand doesn't open. A passphrase is compared in Unicode's form NFC, UTF-8.
"""

from __future__ import annotations

import base64
import json
import os
import unicodedata
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from vaultlayer.crypto.binding import record_aad
from vaultlayer.crypto.envelope import key_id_for, key_id_of, open_sealed, seal
from vaultlayer.errors import (
    ConfigurationError,
    IntegrityError,
    KeyUnavailable,
    PlaintextFound,
    VaultLayerError,
)
from vaultlayer.keys.local_file import (
    SALT_BYTES,
    VERSION,
    Document,
    decode,
    exclusive,
    fingerprint,
    not_a_keyring,
    publish,
    read,
    replace,
)
from vaultlayer.keys.provider import MemoryProvider, check_oldest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SCHEME = "local"
FIRST_KEY = "1"
UNKNOWN = ""

ARGON2ID = {"name": "argon2id", "memory_kib": 64 * 1024, "iterations": 3, "lanes": 4}
SCRYPT = {"name": "scrypt", "n": 2**17, "r": 8, "p": 1}
WEAK_KDF_FOR_TESTS = {"name": "scrypt", "n": 2, "r": 1, "p": 1}


class LocalKeyring(MemoryProvider):
    """A keyring file, opened: the provider of ``local:PATH``.

    Its versions are the names in the file, which is read again whenever it was replaced: what
    another process added or destroyed counts in this one too.
    """

    def __init__(self, path: Path, name: str, passphrase: Callable[[], str]) -> None:
        self.name = name
        self._path = path
        self._passphrase = passphrase
        self._read()

    @classmethod
    def open(cls, uri: str, *, passphrase: Callable[[], str], base: Path) -> LocalKeyring:
        """Open the file that ``uri`` names, relative to ``base``.

        Raises ConfigurationError when the file is missing, damaged or open to other users,
        KeyUnavailable when the passphrase is not the one it was written with, IntegrityError
        when a key in it was altered.
        """
        return cls(base / uri.removeprefix(f"{SCHEME}:"), uri, passphrase)

    @classmethod
    def create(
        cls, path: Path, passphrase: str, *, kdf_for_tests: dict[str, Any] | None = None
    ) -> None:
        """Write a new keyring with one random key; never overwrites a file.

        ``kdf_for_tests``: ``WEAK_KDF_FOR_TESTS`` spares tests the stretching. The parameters
        are written into the file, so a weak file stays weak.
        """
        if not passphrase:
            raise ConfigurationError(
                "the keyring's passphrase is empty",
                hint="set VAULTLAYER_PASSPHRASE, or VAULTLAYER_PASSPHRASE_FILE to a file with it",
            )
        kdf, stretched = _new_kdf(passphrase, kdf_for_tests)
        del passphrase
        publish(path, _lock(kdf, stretched, {FIRST_KEY: os.urandom(32)}))

    def wrap(self, plaintext: bytes, aad: bytes) -> bytes:
        self._read_if_changed()
        return super().wrap(plaintext, aad)

    def unwrap(self, blob: bytes, aad: bytes) -> bytes:
        self._read_if_changed()
        return super().unwrap(blob, aad)

    def version_of(self, blob: bytes) -> str:
        return self._names.get(super().version_of(blob), UNKNOWN)

    def versions(self) -> list[str]:
        self._read_if_changed()
        return [self._names[key_id] for key_id in super().versions() if key_id in self._names]

    def rotate(self) -> str:
        with exclusive(self._path):
            kdf, stretched, keys = self._unlocked()
            name = str(1 + max(int(name) for name in keys))
            text = _lock(kdf, stretched, {**keys, name: os.urandom(32)})
            del stretched, keys
            replace(self._path, text)
        self._read()
        return name

    def destroy(self, version: str) -> datetime:
        """Rewrite the file without the key. Copies of the old file, and the disk's own freed
        blocks, keep it: their end is the operator's to see to."""
        with exclusive(self._path):
            check_oldest(self, version)
            kdf, stretched, keys = self._unlocked()
            del keys[version]
            text = _lock(kdf, stretched, keys)
            del stretched, keys
            replace(self._path, text)
        self._read()
        return datetime.now(UTC)

    def _read_if_changed(self) -> None:
        if fingerprint(self._path) != self._seen:
            self._read()

    def _read(self) -> None:
        self._seen = fingerprint(self._path)  # first: a change while reading is read again
        _, _, keys = self._unlocked()
        self._ring = {key_id_for(key): AESGCM(key) for key in keys.values()}
        self._names = {key_id_for(key).hex(): name for name, key in keys.items()}

    def _unlocked(self) -> tuple[dict[str, Any], bytes, dict[str, bytes]]:
        """The file's KDF, the stretched passphrase, and the keys by name, the active one last."""
        document = read(self._path)
        stretched = _stretch_for(self._path, document["kdf"], self._passphrase())
        cipher, key_id = AESGCM(stretched), key_id_for(stretched)
        names = sorted(document["keys"], key=lambda name: (name == document["active"], int(name)))
        try:
            keys = {name: _unlock_key(self._path, document, name, cipher, key_id) for name in names}
        except VaultLayerError:
            del stretched
            raise
        return document["kdf"], stretched, keys


def _new_kdf(
    passphrase: str, kdf_for_tests: dict[str, Any] | None
) -> tuple[dict[str, Any], bytes]:
    """The parameters of a new file, and the passphrase stretched with them."""
    salt = {"salt": base64.b64encode(os.urandom(SALT_BYTES)).decode()}
    try:
        kdf = (kdf_for_tests or ARGON2ID) | salt
        return kdf, _stretch(passphrase, kdf)
    except UnsupportedAlgorithm:
        kdf = SCRYPT | salt
        return kdf, _stretch(passphrase, kdf)


def _lock(kdf: dict[str, Any], stretched: bytes, keys: dict[str, bytes]) -> str:
    """The text of a file that holds ``keys``; the last one is active."""
    document: Document = {"version": VERSION, "kdf": kdf, "keys": {name: {} for name in keys}}
    document["active"] = list(keys)[-1]
    cipher, key_id = AESGCM(stretched), key_id_for(stretched)
    for name, key in keys.items():
        blob = seal(cipher, key_id, _key_aad(document, name), key)
        document["keys"][name]["wrapped"] = base64.b64encode(blob).decode()
    return json.dumps(document, indent=2) + "\n"


def _stretch_for(path: Path, kdf: dict[str, Any], passphrase: str) -> bytes:
    try:
        return _stretch(passphrase, kdf)
    except UnsupportedAlgorithm:
        refusal = ConfigurationError(
            f"the cryptography library here can't compute the Argon2id of {path}",
            hint="use a build of `cryptography` with OpenSSL 3.2 or newer, as on the other machine",
        )
    except ValueError:  # parameters that can't be
        refusal = not_a_keyring(path)
    del passphrase
    raise refusal


def _unlock_key(path: Path, document: Document, name: str, cipher: AESGCM, key_id: bytes) -> bytes:
    try:
        blob = decode(document["keys"][name]["wrapped"])
        if key_id_of(blob) != key_id:
            raise KeyUnavailable(
                f"the passphrase doesn't open {path}",
                hint="check VAULTLAYER_PASSPHRASE or the file named by VAULTLAYER_PASSPHRASE_FILE",
            )
        return open_sealed(cipher, _key_aad(document, name), blob)
    except (ValueError, IntegrityError, PlaintextFound):
        raise IntegrityError(
            f"{path} was altered: its key {name!r} doesn't open",
            hint="restore the keyring from its backup",
        ) from None


def _key_aad(document: Document, name: str) -> bytes:
    """Binds a key to its name and to all of the file but the wrapped keys themselves."""
    outline = {**document, "keys": sorted(document["keys"])}
    text = json.dumps(outline, sort_keys=True, separators=(",", ":"))
    return record_aad("keyring-key", file=text.encode(), name=name.encode())


def _stretch(passphrase: str, kdf: dict[str, Any]) -> bytes:
    secret = unicodedata.normalize("NFC", passphrase).encode()
    salt = decode(kdf["salt"])
    if kdf["name"] == "scrypt":
        return Scrypt(salt=salt, length=32, n=kdf["n"], r=kdf["r"], p=kdf["p"]).derive(secret)
    return Argon2id(
        salt=salt,
        length=32,
        iterations=kdf["iterations"],
        lanes=kdf["lanes"],
        memory_cost=kdf["memory_kib"],
    ).derive(secret)
