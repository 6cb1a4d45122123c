"""Artefacts about keys and people: the inventory, the provider, a self-test, consents, drills."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import cryptography
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.backends.openssl import backend
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import func, select

from vaultlayer.evidence.artefact import Artefact, absent, finding, there
from vaultlayer.keys import tables
from vaultlayer.ledgers import honeytoken, standing

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from vaultlayer.vault import Vault

_DAY = 86_400
# NIST's gcmEncryptExtIV256, the McGrew and Viega test case 16 (without its truncation).
_KEY = bytes.fromhex("feffe9928665731c6d6a8f9467308308" * 2)
_NONCE = bytes.fromhex("cafebabefacedbaddecaf888")
_PLAIN = bytes.fromhex(
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
)
_AAD = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
_SEALED = bytes.fromhex(
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
    "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
    "76fc6ece0f4e1768cddf8853bb2d551b"
)


def key_inventory(connection: Connection) -> Artefact:
    """How many keys there are, by state and epoch, and how old the oldest active KEK is."""
    kek, subject = tables.kek.c, tables.subject_key.c
    keks: Any = connection.execute(
        select(kek.state, func.count(), func.min(kek.created)).group_by(kek.state)
    ).all()
    subjects: Any = connection.execute(
        select(subject.state, func.count()).group_by(subject.state)
    ).all()
    if not keks:
        return absent("there is no key yet")
    now = int(time.time())
    ages = {state: (now - oldest) // _DAY for state, _, oldest in keks}
    return there(
        f"{sum(count for _, count, _ in keks)} KEK(s) above "
        f"{sum(count for _, count in subjects):,} subject keys",
        keks={state: count for state, count, _ in keks},
        oldest_in_days=ages,
        subject_keys=dict(map(tuple, subjects)),
    )


def key_provider(vault: Vault) -> Artefact:
    settings = vault.settings
    return there(
        "what holds the provider key",
        scheme=settings.provider.partition(":")[0],
        region=settings.region,
        key_ttl_seconds=int(settings.key_ttl),
    )


def self_test() -> Artefact:
    """AES-256-GCM against a published vector, and against a forged tag."""
    cipher = AESGCM(_KEY)
    right = cipher.encrypt(_NONCE, _PLAIN, _AAD) == _SEALED
    try:
        cipher.decrypt(_NONCE, _SEALED[:-1] + b"\0", _AAD)
        forged = True
    except InvalidTag:
        forged = False
    facts = {
        "algorithm": "AES-256-GCM",
        "cryptography": cryptography.__version__,
        "openssl": backend.openssl_version_text(),
    }
    if not right or forged:
        return finding("AES-256-GCM doesn't give what the published vector says", **facts)
    return there("AES-256-GCM gives the published vector's bytes and refuses a forged tag", **facts)


def consents(connection: Connection) -> Artefact:
    """What people said, by state: all entries of the ledger."""
    rows: Any = connection.execute(
        select(standing.c.state, func.count()).group_by(standing.c.state)
    ).all()
    if not rows:
        return absent("nobody has agreed, refused, withdrawn or objected yet")
    return there("entries of the ledger by what was said", entries=dict(map(tuple, rows)))


def marked(connection: Connection) -> int:
    return int(connection.execute(select(func.count()).select_from(honeytoken)).scalar() or 0)
