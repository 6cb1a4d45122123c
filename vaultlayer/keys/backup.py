"""The backup file: KEKs under a recovery key, which people hold k of n shares of.

``{"version": 1, "recovery": id, "shares": "3 of 5", "made": RFC 3339, "keks": [...]}``. Each KEK
is an envelope of version 1 under the recovery key, bound to all of the file but the wrapped keys
themselves, so a file that was edited doesn't open. No subject key is in it, so it can't bring back
who was erased; it opens the backups of its own time, and is to be destroyed with them.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vaultlayer.crypto.binding import record_aad
from vaultlayer.crypto.envelope import key_id_for, key_id_of, open_sealed, seal
from vaultlayer.errors import (
    ConfigurationError,
    IntegrityError,
    KeyUnavailable,
    PlaintextFound,
)
from vaultlayer.keys.local_file import decode
from vaultlayer.keys.records import check_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

VERSION = 1
ENTRY_POINT_GROUP = "vaultlayer.secret_sharing"


class SecretSharing(Protocol):
    """Splits a 32-byte key into shares, and puts it together again (IntegrityError: it can't)."""

    def split(self, secret: bytes, threshold: int, shares: int) -> list[str]: ...

    def combine(self, shares: Iterable[str]) -> bytes: ...


@dataclass(frozen=True, slots=True)
class SavedKek:
    """Whose KEK it is, as its record says; the key itself goes beside it."""

    kek_id: str
    tenant: str
    region: str
    epoch: int
    state: str


def secret_sharing() -> SecretSharing:
    """SLIP-39, from the extra ``backup``."""
    (point,) = {p.value: p for p in entry_points(group=ENTRY_POINT_GROUP, name="slip39")}.values()
    try:
        found: SecretSharing = point.load()()
    except ImportError as error:
        raise ConfigurationError(
            f"splitting a key needs a library that isn't installed ({error.name})",
            hint='pip install "sqlalchemy-vaultlayer[backup]"',
        ) from None
    return found


def recovery_aad(recovery_id: bytes, shares: str) -> bytes:
    """The place of the recovery key itself, which the provider wraps for the next backup."""
    return record_aad("recovery-key", recovery_id=recovery_id, shares=shares.encode())


def sealed_backup(
    recovery_key: bytes, shares: str, made: str, keks: Mapping[SavedKek, bytes]
) -> str:
    """The text of a backup file."""
    cipher, recovery_id = AESGCM(recovery_key), key_id_for(recovery_key)
    del recovery_key
    document: dict[str, Any] = {
        "version": VERSION,
        "recovery": recovery_id.hex(),
        "shares": shares,
        "made": made,
        "keks": [asdict(kek) for kek in keks],
    }
    outline = _outline(document)
    for entry, key in zip(document["keks"], keks.values(), strict=True):
        blob = seal(cipher, recovery_id, _aad(outline, entry["kek_id"]), key)
        entry["wrapped"] = base64.b64encode(blob).decode()
    return json.dumps(document, indent=2) + "\n"


def read_backup(path: Path) -> dict[str, Any]:
    """A backup file's document, its form checked; nothing is opened."""
    try:
        document: dict[str, Any] = json.loads(path.read_text("utf-8"))
        names = {"version", "recovery", "shares", "made", "keks"}
        if document.keys() != names or document["version"] != VERSION:
            raise ValueError
        for entry in document["keks"]:
            SavedKek(**{name: entry[name] for name in entry if name != "wrapped"})
            decode(entry["wrapped"])
    except OSError as error:
        raise ConfigurationError(
            f"{path} can't be read ({type(error).__name__})", hint="name a backup file"
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ConfigurationError(
            f"{path} is not a backup of version {VERSION}, or is damaged",
            hint="take another copy of it",
        ) from None
    return document


def opened_backup(document: dict[str, Any], recovery_key: bytes) -> dict[SavedKek, bytes]:
    """The KEKs of a backup. KeyUnavailable: the shares are another set's."""
    cipher, recovery_id = AESGCM(recovery_key), key_id_for(recovery_key)
    del recovery_key
    if recovery_id.hex() != document["recovery"]:
        raise KeyUnavailable(
            "these shares are of another set than the backup's",
            hint="`vaultlayer keys backup --shares` deals a new set: take the file's own",
        )
    outline = _outline(document)
    keks: dict[SavedKek, bytes] = {}
    for entry in document["keks"]:
        saved = SavedKek(**{name: entry[name] for name in entry if name != "wrapped"})
        keks[saved] = _opened(cipher, recovery_id, _aad(outline, saved.kek_id), entry)
    return keks


def _opened(cipher: AESGCM, recovery_id: bytes, aad: bytes, entry: dict[str, Any]) -> bytes:
    try:
        blob = decode(entry["wrapped"])
        key = open_sealed(cipher, aad, blob) if key_id_of(blob) == recovery_id else b""
        if check_key(key, bytes.fromhex(entry["kek_id"])):
            return key
        del key
    except (ValueError, IntegrityError, PlaintextFound):
        pass
    raise IntegrityError("the backup was altered", hint="take another copy of it")


def _outline(document: dict[str, Any]) -> bytes:
    keks = [{name: kek[name] for name in kek if name != "wrapped"} for kek in document["keks"]]
    text = json.dumps({**document, "keks": keks}, sort_keys=True, separators=(",", ":"))
    return text.encode()


def _aad(outline: bytes, kek_id: str) -> bytes:
    return record_aad("backup-kek", file=outline, kek_id=kek_id.encode())
