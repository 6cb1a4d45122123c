"""Google Cloud KMS: the provider key is a CryptoKey, its versions are KMS's own.

``gcp-kms:projects/P/locations/L/keyRings/R/cryptoKeys/K``. Credentials are the application
default ones. The place of a KEK goes along as additional authenticated data; checksums are sent
and compared both ways, as Google advises. A destroyed version stays recoverable for as long as
the CryptoKey's ``destroyScheduledDuration`` says (30 days by default).

REST, not gRPC: it works through HTTP proxies, and it is what the tests speak, to a local server
that follows the REST reference. No Google service has been asked by them.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from google.api_core.exceptions import BadRequest, Conflict, Forbidden, NotFound
from google.cloud import kms_v1
from google_crc32c import value as crc32c

from vaultlayer.errors import KeyUnavailable
from vaultlayer.forks import in_child
from vaultlayer.keys.provider import check_oldest
from vaultlayer.keys.remote import CALL_SECONDS, asking, damaged, misnamed, no_key, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from vaultlayer.errors import VaultLayerError

EXAMPLE = "gcp-kms:projects/shop/locations/europe-west3/keyRings/main/cryptoKeys/vaultlayer"
_NAME = re.compile(r"(projects/[^/]+/locations/[^/]+/keyRings/[^/]+)/cryptoKeys/([\w-]{1,63})")
_STATES = kms_v1.CryptoKeyVersion.CryptoKeyVersionState
_SENT: dict[str, Any] = {"timeout": CALL_SECONDS, "retry": None}


class CloudKms:
    """One CryptoKey. ``connect`` makes a client; a test gives another one."""

    def __init__(self, name: str, ring: str, key: str, connect: Callable[[], Any]) -> None:
        self.name = name
        self._ring = ring
        self._key_id = key
        self._key = f"{ring}/cryptoKeys/{key}"
        self._connect = connect
        self._open: Any = None
        in_child(self._disconnect)

    @classmethod
    def open(cls, uri: str, *, passphrase: Callable[[], str], base: Path) -> CloudKms:
        """Connects when it is first asked."""
        match = _NAME.fullmatch(uri.partition(":")[2].strip("/"))
        if match is None:
            raise misnamed(uri, EXAMPLE)
        return cls(uri, match[1], match[2], _client)

    def wrap(self, plaintext: bytes, aad: bytes) -> bytes:
        request = {
            "name": self._key,
            "plaintext": plaintext,
            "plaintext_crc32c": crc32c(plaintext),
            "additional_authenticated_data": aad,
            "additional_authenticated_data_crc32c": crc32c(aad),
        }
        with self._asking():
            answer = self._client().encrypt(request=request, **_SENT)
            verified = answer.verified_plaintext_crc32c
            if not verified or answer.ciphertext_crc32c != crc32c(answer.ciphertext):
                raise self._garbled()
            return pack(answer.name.rpartition("/")[2], answer.ciphertext)

    def unwrap(self, blob: bytes, aad: bytes) -> bytes:
        version, wrapped = unpack(blob)
        if not version.isascii() or not version.isdigit():
            raise damaged()
        request = {
            "name": self._key,
            "ciphertext": wrapped,
            "ciphertext_crc32c": crc32c(wrapped),
            "additional_authenticated_data": aad,
            "additional_authenticated_data_crc32c": crc32c(aad),
        }
        with self._asking(version):
            answer = self._client().decrypt(request=request, **_SENT)
            plaintext: bytes = answer.plaintext
            if answer.plaintext_crc32c != crc32c(plaintext):
                raise self._garbled()
        return plaintext

    def version_of(self, blob: bytes) -> str:
        return unpack(blob)[0]

    def versions(self) -> list[str]:
        with self._asking():
            try:
                primary = self._client().get_crypto_key(name=self._key, **_SENT).primary.name
                listed = list(self._client().list_crypto_key_versions(parent=self._key, **_SENT))
            except NotFound:
                return []
        enabled = [_number(each.name) for each in listed if each.state == _STATES.ENABLED]
        wraps = _number(primary)
        return sorted(enabled, key=lambda version: (version == wraps, int(version)))

    def rotate(self) -> str:
        with self._asking():
            client = self._client()
            try:
                made = client.create_crypto_key_version(parent=self._key, **_SENT)
            except NotFound:
                return self._create()
            version = _number(made.name)
            client.update_crypto_key_primary_version(
                name=self._key, crypto_key_version_id=version, **_SENT
            )
        return version

    def destroy(self, version: str) -> datetime:
        check_oldest(self, version)
        name = f"{self._key}/cryptoKeyVersions/{version}"
        with self._asking(version):
            gone = self._client().destroy_crypto_key_version(name=name, **_SENT).destroy_time
        return datetime.fromtimestamp(gone.timestamp(), UTC)

    def _create(self) -> str:
        key = {"purpose": kms_v1.CryptoKey.CryptoKeyPurpose.ENCRYPT_DECRYPT}
        try:
            made = self._client().create_crypto_key(
                parent=self._ring, crypto_key_id=self._key_id, crypto_key=key, **_SENT
            )
        except Conflict:  # another process was faster
            made = self._client().get_crypto_key(name=self._key, **_SENT)
        return _number(made.primary.name)

    def _asking(self, version: str = "") -> AbstractContextManager[None]:
        return asking(self.name, lambda error: self._meaning(error, version))

    def _meaning(self, error: Exception, version: str) -> VaultLayerError | None:
        if not isinstance(error, BadRequest | Forbidden | NotFound):
            return None
        invalid = isinstance(error, BadRequest) and _status(error) == "INVALID_ARGUMENT"
        return damaged() if invalid and version else no_key(self.name, version)

    def _garbled(self) -> KeyUnavailable:
        return KeyUnavailable(
            f"what {self.name} answered was changed on its way", hint="try again in a moment"
        )

    def _client(self) -> Any:
        if self._open is None:
            self._open = self._connect()
        return self._open

    def _disconnect(self) -> None:
        self._open = None

    def __repr__(self) -> str:
        return f"<CloudKms {self.name}>"


def _status(error: BadRequest) -> str:
    """The canonical code that the answer holds: HTTP calls several of them 400."""
    with suppress(AttributeError, KeyError, TypeError, ValueError):
        return str(error.response.json()["error"]["status"])
    return ""


def _client() -> Any:
    return kms_v1.KeyManagementServiceClient(transport="rest")


def _number(name: str) -> str:
    return name.rpartition("/")[2]
