"""The keyring file: provider keys for one machine, under a passphrase.

``{"version": 1, "kdf": {...}, "keys": {name: {"wrapped": base64}}, "active": name}``, mode 0600.
The passphrase is stretched with Argon2id (RFC 9106, second recommended option: 64 MiB, t=3, p=4),
or with scrypt (RFC 7914) where the OpenSSL at hand has no Argon2id. Each key is an envelope of
version 1 under the stretched passphrase, bound to its name and to everything else in the file, so
a file edited by hand doesn't open.
"""

from __future__ import annotations

import base64
import json
import os
import stat
import tempfile
import unicodedata
from contextlib import suppress
from pathlib import Path
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
from vaultlayer.keys.provider import MemoryProvider

if TYPE_CHECKING:
    from collections.abc import Callable

SCHEME = "local"
VERSION = 1
FIRST_KEY = "1"
SALT_BYTES = 16

ARGON2ID = {"name": "argon2id", "memory_kib": 64 * 1024, "iterations": 3, "lanes": 4}
SCRYPT = {"name": "scrypt", "n": 2**17, "r": 8, "p": 1}
WEAK_KDF_FOR_TESTS = {"name": "scrypt", "n": 2, "r": 1, "p": 1}

_PARAMETERS = {settings["name"]: settings.keys() - {"name"} for settings in (ARGON2ID, SCRYPT)}
_MOST_MEMORY_KIB = 4 * 1024 * 1024

Document = dict[str, Any]


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
        document = _read(path)
        return cls(_unlock(path, document, passphrase()), name=uri)

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
        document = _lock(passphrase, {FIRST_KEY: os.urandom(32)}, FIRST_KEY, kdf_for_tests)
        _publish(path, json.dumps(document, indent=2) + "\n")


def _lock(
    passphrase: str, keys: dict[str, bytes], active: str, kdf: dict[str, Any] | None
) -> Document:
    salt = base64.b64encode(os.urandom(SALT_BYTES)).decode()
    try:
        settings = {**(kdf or ARGON2ID), "salt": salt}
        stretched = _stretch(passphrase, settings)
    except UnsupportedAlgorithm:
        settings = {**SCRYPT, "salt": salt}
        stretched = _stretch(passphrase, settings)
    cipher, key_id = AESGCM(stretched), key_id_for(stretched)
    document: Document = {"version": VERSION, "kdf": settings, "keys": dict.fromkeys(keys)}
    document["active"] = active
    for name, key in keys.items():
        blob = seal(cipher, key_id, _key_aad(document, name), key)
        document["keys"][name] = {"wrapped": base64.b64encode(blob).decode()}
    return document


def _unlock(path: Path, document: Document, passphrase: str) -> list[bytes]:
    """The keys, the active one first."""
    try:
        stretched = _stretch(passphrase, document["kdf"])
    except UnsupportedAlgorithm:
        raise ConfigurationError(
            f"the cryptography library here can't compute the Argon2id of {path}",
            hint="use a build of `cryptography` with OpenSSL 3.2 or newer, as on the other machine",
        ) from None
    cipher, key_id = AESGCM(stretched), key_id_for(stretched)
    del passphrase, stretched
    names = sorted(document["keys"], key=lambda name: (name != document["active"], name))
    return [_unlock_key(path, document, name, cipher, key_id) for name in names]


def _unlock_key(path: Path, document: Document, name: str, cipher: AESGCM, key_id: bytes) -> bytes:
    try:
        blob = base64.b64decode(document["keys"][name]["wrapped"], validate=True)
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
    salt = base64.b64decode(kdf["salt"])
    if kdf["name"] == "scrypt":
        return Scrypt(salt=salt, length=32, n=kdf["n"], r=kdf["r"], p=kdf["p"]).derive(secret)
    return Argon2id(
        salt=salt,
        length=32,
        iterations=kdf["iterations"],
        lanes=kdf["lanes"],
        memory_cost=kdf["memory_kib"],
    ).derive(secret)


def _read(path: Path) -> Document:
    try:
        with path.open("rb") as file:
            if os.name == "posix":
                _refuse_open_mode(path, os.fstat(file.fileno()).st_mode)
            document: Document = json.loads(file.read())
        _check_form(document)
    except FileNotFoundError:
        raise ConfigurationError(
            f"there is no keyring at {path}",
            hint="`vaultlayer init` writes one; or correct [keys] provider in the settings",
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"{path} can't be read ({type(error).__name__})",
            hint="it must be a file that belongs to the user who runs this program",
        ) from None
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ConfigurationError(
            f"{path} is not a keyring of version {VERSION}, or is damaged",
            hint="restore it from its backup; without it nothing sealed under it can be read",
        ) from None
    return document


def _refuse_open_mode(path: Path, mode: int) -> None:
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigurationError(
            f"other users of this machine may use {path}", hint=f"run: chmod 600 {path}"
        )


def _check_form(document: Document) -> None:
    """ValueError, KeyError or TypeError for all that is not a keyring of this version."""
    kdf, keys = document["kdf"], document["keys"]
    numbers = {key: value for key, value in kdf.items() if key not in ("name", "salt")}
    well_formed = (
        document.keys() == {"version", "kdf", "keys", "active"}
        and document["version"] == VERSION
        and numbers.keys() == _PARAMETERS[kdf["name"]]
        and all(type(value) is int and value > 0 for value in numbers.values())
        and len(base64.b64decode(kdf["salt"], validate=True)) == SALT_BYTES
        and all(isinstance(key["wrapped"], str) for key in keys.values())
        and document["active"] in keys
    )
    memory_kib = numbers.get("memory_kib", 0) + numbers.get("n", 0) * numbers.get("r", 0) // 8
    if not well_formed or memory_kib > _MOST_MEMORY_KIB:
        raise ValueError


def _publish(path: Path, text: str) -> None:
    """Put a new file in its place whole or not at all, on disk when this returns.

    A hard link, not a rename: it fails when there is a file already, and a keyring that is
    replaced by mistake takes everything sealed under it along.
    """
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    except FileExistsError:
        raise ConfigurationError(
            f"there is a file at {path} already",
            hint="it may be the only key to your data: move it away yourself if it is not needed",
        ) from None
    finally:
        with suppress(FileNotFoundError):
            Path(temporary).unlink()
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
