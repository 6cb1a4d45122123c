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
)
from vaultlayer.keys.local_file import (
    SALT_BYTES,
    VERSION,
    Document,
    decode,
    not_a_keyring,
    publish,
    read,
)
from vaultlayer.keys.provider import MemoryProvider

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SCHEME = "local"
FIRST_KEY = "1"

ARGON2ID = {"name": "argon2id", "memory_kib": 64 * 1024, "iterations": 3, "lanes": 4}
SCRYPT = {"name": "scrypt", "n": 2**17, "r": 8, "p": 1}
WEAK_KDF_FOR_TESTS = {"name": "scrypt", "n": 2, "r": 1, "p": 1}


class LocalKeyring(MemoryProvider):
    """A keyring file, opened: the provider of ``local:PATH``."""

    @classmethod
    def open(cls, uri: str, *, passphrase: Callable[[], str], base: Path) -> LocalKeyring:
        """Open the file that ``uri`` names, relative to ``base``.

        Raises ConfigurationError when the file is missing, damaged or open to other users,
        KeyUnavailable when the passphrase is not the one it was written with, IntegrityError
        when a key in it was altered.
        """
        path = base / uri.removeprefix(f"{SCHEME}:")
        document = read(path)
        return cls(_unlock(path, document, passphrase), name=uri)

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
        document = _lock(passphrase, kdf_for_tests)
        del passphrase
        publish(path, json.dumps(document, indent=2) + "\n")


def _lock(passphrase: str, kdf_for_tests: dict[str, Any] | None) -> Document:
    """A document with one new key."""
    salt = {"salt": base64.b64encode(os.urandom(SALT_BYTES)).decode()}
    try:
        kdf = (kdf_for_tests or ARGON2ID) | salt
        stretched = _stretch(passphrase, kdf)
    except UnsupportedAlgorithm:
        kdf = SCRYPT | salt
        stretched = _stretch(passphrase, kdf)
    document: Document = {"version": VERSION, "kdf": kdf, "keys": {FIRST_KEY: {}}}
    document["active"] = FIRST_KEY
    aad = _key_aad(document, FIRST_KEY)
    blob = seal(AESGCM(stretched), key_id_for(stretched), aad, os.urandom(32))
    document["keys"][FIRST_KEY]["wrapped"] = base64.b64encode(blob).decode()
    return document


def _unlock(path: Path, document: Document, passphrase: Callable[[], str]) -> list[bytes]:
    """The keys, the active one first."""
    stretched = _stretch_for(path, document["kdf"], passphrase())
    cipher, key_id = AESGCM(stretched), key_id_for(stretched)
    del stretched
    names = sorted(document["keys"], key=lambda name: (name != document["active"], name))
    return [_unlock_key(path, document, name, cipher, key_id) for name in names]


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
