"""Azure Key Vault Managed HSM: each version of the provider key is a 256-bit key of its own.

``azure-hsm://NAME.managedhsm.azure.net/vaultlayer``: keys ``vaultlayer-1-…``, ``vaultlayer-2-…``
in that HSM; the one with the highest number wraps. (Azure can't destroy one version of a key.)
Credentials are those that azure-identity's DefaultAzureCredential finds.

The place of a KEK is the associated data of A256GCM. Only a Managed HSM has symmetric keys; a
plain Key Vault has RSA keys, under whose public half anybody could wrap a KEK of their own, so it
is refused. A destroyed key is purged where the HSM allows it, else it is gone when its retention
(7 to 90 days) ends.

The tests speak to a local server that follows the REST reference. No Azure service has been asked.
"""

from __future__ import annotations

import re
import secrets
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential
from azure.keyvault.keys import KeyClient
from azure.keyvault.keys.crypto import EncryptionAlgorithm

from vaultlayer.errors import ConfigurationError
from vaultlayer.forks import in_child
from vaultlayer.keys.provider import check_oldest
from vaultlayer.keys.remote import CALL_SECONDS, asking, damaged, misnamed, no_key, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from vaultlayer.errors import VaultLayerError

EXAMPLE = "azure-hsm://NAME.managedhsm.azure.net/vaultlayer"
_ALGORITHM = EncryptionAlgorithm.a256_gcm
_VERSION = re.compile("[1-9][0-9]*-[0-9a-f]{6}")
_BAD_REQUEST = 400
_GONE = (403, 404, 409)  # not allowed, not there, deleted
_NONCE_BYTES, _TAG_BYTES = 12, 16
_RETENTION_DAYS = 90  # the longest; assumed where the HSM doesn't say


class ManagedHsm:
    """The keys of one name in one HSM. ``options`` go to Azure's client; tests need some."""

    def __init__(
        self, name: str, host: str, key: str, credential: Any = None, **options: Any
    ) -> None:
        self.name = name
        self._url = f"https://{host}"
        self._key = key
        self._credential = credential
        self._options: dict[str, Any] = {
            "retry_total": 1,
            "connection_timeout": CALL_SECONDS / 2,
            "read_timeout": CALL_SECONDS,
            **options,
        }
        self._open: KeyClient | None = None
        in_child(self._disconnect)

    @classmethod
    def open(cls, uri: str, *, passphrase: Callable[[], str], base: Path) -> ManagedHsm:
        """Connects when it is first asked."""
        parts = urlsplit(uri)
        key = parts.path.strip("/")
        if not (parts.netloc and re.fullmatch("[0-9A-Za-z-]{1,120}", key)) or parts.username:
            raise misnamed("azure-hsm://…", EXAMPLE)
        if re.search(r"(^|\.)vault\.", parts.netloc):
            raise ConfigurationError(
                "a plain Azure Key Vault can't hold the provider key: it has no symmetric keys",
                hint=f"use a Managed HSM: {EXAMPLE}",
            )
        return cls(uri, parts.netloc, key)

    def wrap(self, plaintext: bytes, aad: bytes) -> bytes:
        with self._asking():
            versions = self._versions()
            if not versions:
                raise no_key(self.name)
            answer = self._cipher(versions[-1]).encrypt(
                _ALGORITHM, plaintext, additional_authenticated_data=aad
            )
            return pack(versions[-1], answer.iv + answer.ciphertext + answer.tag)

    def unwrap(self, blob: bytes, aad: bytes) -> bytes:
        version, wrapped = unpack(blob)
        if not _VERSION.fullmatch(version) or len(wrapped) <= _NONCE_BYTES + _TAG_BYTES:
            raise damaged()
        nonce, tag = wrapped[:_NONCE_BYTES], wrapped[-_TAG_BYTES:]
        given = {"iv": nonce, "authentication_tag": tag, "additional_authenticated_data": aad}
        with self._asking(version):
            ciphertext = wrapped[_NONCE_BYTES:-_TAG_BYTES]
            answer = self._cipher(version).decrypt(_ALGORITHM, ciphertext, **given)
        plaintext: bytes = answer.plaintext
        return plaintext

    def version_of(self, blob: bytes) -> str:
        return unpack(blob)[0]

    def versions(self) -> list[str]:
        with self._asking():
            return self._versions()

    def rotate(self) -> str:
        with self._asking():
            number = max((_age(version)[0] for version in self._versions()), default=0) + 1
            # The random end keeps two apart that are made at once.
            version = f"{number}-{secrets.token_hex(3)}"
            self._client().create_oct_key(
                f"{self._key}-{version}",
                size=256,
                hardware_protected=True,
                key_operations=["encrypt", "decrypt"],
            )
        return version

    def destroy(self, version: str) -> datetime:
        check_oldest(self, version)
        key = f"{self._key}-{version}"
        with self._asking(version):
            deleted = self._client().begin_delete_key(key).result()
            with suppress(HttpResponseError):  # it is under purge protection
                self._client().purge_deleted_key(key)
                return datetime.now(UTC)
        longest = datetime.now(UTC) + timedelta(days=_RETENTION_DAYS)
        gone: datetime = deleted.scheduled_purge_date or longest
        return gone

    def _versions(self) -> list[str]:
        start = f"{self._key}-"
        listed = [key.name for key in self._client().list_properties_of_keys() if key.enabled]
        found = [name.removeprefix(start) for name in listed if name.startswith(start)]
        return sorted(filter(_VERSION.fullmatch, found), key=_age)

    def _cipher(self, version: str) -> Any:
        return self._client().get_cryptography_client(f"{self._key}-{version}")

    def _asking(self, version: str = "") -> AbstractContextManager[None]:
        return asking(self.name, lambda error: self._meaning(error, version))

    def _meaning(self, error: Exception, version: str) -> VaultLayerError | None:
        if not isinstance(error, HttpResponseError):
            return None
        if error.status_code == _BAD_REQUEST and version:
            return damaged()
        return no_key(self.name, version) if error.status_code in _GONE else None

    def _client(self) -> KeyClient:
        if self._open is None:
            credential = self._credential or DefaultAzureCredential()
            self._open = KeyClient(self._url, credential, **self._options)
        return self._open

    def _disconnect(self) -> None:
        self._open = None

    def __repr__(self) -> str:
        return f"<ManagedHsm {self.name}>"


def _age(version: str) -> tuple[int, str]:
    return int(version.partition("-")[0]), version
