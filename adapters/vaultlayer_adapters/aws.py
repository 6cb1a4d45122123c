"""AWS KMS: each version of the provider key is a KMS key of its own.

``aws-kms://eu-central-1/vaultlayer``: the region, and the alias without ``alias/``. Credentials,
endpoints and proxies are boto3's to find. The key that the alias points to wraps; aliases
``vaultlayer-1``, ``vaultlayer-2``, … name all versions, the oldest first. A key of your own making
will do: give it the alias.

The place of a KEK goes along as encryption context, which CloudTrail shows: it holds the tenant,
region, epoch and id of the KEK. Automatic rotation inside a KMS key doesn't matter here, since it
destroys nothing. Destroying a version schedules its key's deletion, 7 days ahead.
"""

from __future__ import annotations

import re
from base64 import b64encode
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from vaultlayer.forks import in_child
from vaultlayer.keys.provider import check_oldest
from vaultlayer.keys.remote import CALL_SECONDS, asking, damaged, misnamed, no_key, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from vaultlayer.errors import VaultLayerError

EXAMPLE = "aws-kms://eu-central-1/vaultlayer"
DELETION_DAYS = 7  # the shortest that KMS allows

_DAMAGED = {"InvalidCiphertextException", "IncorrectKeyException", "ValidationException"}
_GONE = {
    "NotFoundException",
    "DisabledException",
    "KMSInvalidStateException",
    "AccessDeniedException",
}


class Kms:
    """The keys behind one alias, in one region."""

    def __init__(self, name: str, region: str, alias: str) -> None:
        self.name = name
        self._region = region
        self._alias = f"alias/{alias}"
        self._open: Any = None
        in_child(self._disconnect)

    @classmethod
    def open(cls, uri: str, *, passphrase: Callable[[], str], base: Path) -> Kms:
        """Connects when it is first asked."""
        parts = urlsplit(uri)
        alias = parts.path.strip("/")
        if not (parts.netloc and alias) or parts.username or parts.query:
            raise misnamed("aws-kms://…", EXAMPLE)
        return cls(uri, parts.netloc, alias)

    def wrap(self, plaintext: bytes, aad: bytes) -> bytes:
        with self._asking():
            answer = self._client().encrypt(
                KeyId=self._alias, Plaintext=plaintext, EncryptionContext=self._context(aad)
            )
        return pack(_key_id(answer["KeyId"]), answer["CiphertextBlob"])

    def unwrap(self, blob: bytes, aad: bytes) -> bytes:
        version, wrapped = unpack(blob)
        with self._asking(version):
            answer = self._client().decrypt(
                KeyId=version, CiphertextBlob=wrapped, EncryptionContext=self._context(aad)
            )
        plaintext: bytes = answer["Plaintext"]
        return plaintext

    def version_of(self, blob: bytes) -> str:
        return unpack(blob)[0]

    def versions(self) -> list[str]:
        numbered, wrapping = self._aliases()
        versions = [numbered[number] for number in sorted(numbered)]
        if wrapping is None:
            return versions
        return [version for version in versions if version != wrapping] + [wrapping]

    def rotate(self) -> str:
        numbered, wrapping = self._aliases()
        with self._asking():
            kms = self._client()
            if wrapping is not None and wrapping not in numbered.values():
                self._number(wrapping, numbered)
            version: str = kms.create_key(Description=self.name)["KeyMetadata"]["KeyId"]
            self._number(version, numbered)
            try:
                kms.create_alias(AliasName=self._alias, TargetKeyId=version)
            except kms.exceptions.AlreadyExistsException:
                kms.update_alias(AliasName=self._alias, TargetKeyId=version)
        return version

    def _number(self, version: str, numbered: dict[int, str]) -> None:
        """Give a version the next number that nobody else took meanwhile."""
        kms, number = self._client(), max(numbered, default=0) + 1
        while True:
            try:
                kms.create_alias(AliasName=f"{self._alias}-{number}", TargetKeyId=version)
            except kms.exceptions.AlreadyExistsException:
                number += 1
            else:
                numbered[number] = version
                return

    def destroy(self, version: str) -> datetime:
        check_oldest(self, version)
        numbered, _ = self._aliases()
        with self._asking(version):
            gone = self._schedule(version)
            for number, key_id in numbered.items():
                if key_id == version:
                    self._client().delete_alias(AliasName=f"{self._alias}-{number}")
        return gone

    def _schedule(self, version: str) -> datetime:
        kms = self._client()
        with suppress(kms.exceptions.KMSInvalidStateException):  # scheduled already
            kms.schedule_key_deletion(KeyId=version, PendingWindowInDays=DELETION_DAYS)
        gone: datetime = kms.describe_key(KeyId=version)["KeyMetadata"].get(
            "DeletionDate", datetime.now(UTC) + timedelta(days=DELETION_DAYS)
        )
        return gone

    def _aliases(self) -> tuple[dict[int, str], str | None]:
        """The versions by number, and the one that wraps."""
        numbered: dict[int, str] = {}
        wrapping = None
        pattern = re.compile(re.escape(self._alias) + r"-(\d+)")
        with self._asking():
            for alias in self._each_alias():
                match = pattern.fullmatch(alias["AliasName"])
                if match:
                    numbered[int(match[1])] = alias["TargetKeyId"]
                elif alias["AliasName"] == self._alias:
                    wrapping = alias.get("TargetKeyId")
        return numbered, wrapping

    def _each_alias(self) -> Iterator[dict[str, Any]]:
        for page in self._client().get_paginator("list_aliases").paginate():
            yield from (alias for alias in page["Aliases"] if "TargetKeyId" in alias)

    def _context(self, aad: bytes) -> dict[str, str]:
        """The alias too, or a blob would name any key of the account, and be opened with it."""
        return {"alias": self._alias, "vaultlayer": f"v1:{b64encode(aad).decode()}"}

    def _asking(self, version: str = "") -> AbstractContextManager[None]:
        return asking(self.name, lambda error: self._meaning(error, version))

    def _meaning(self, error: Exception, version: str) -> VaultLayerError | None:
        if not isinstance(error, ClientError):
            return None
        code = error.response["Error"]["Code"]
        if code in _DAMAGED and version:
            return damaged()
        return no_key(self.name, version) if code in _GONE else None

    def _client(self) -> Any:
        if self._open is None:
            config = Config(
                connect_timeout=CALL_SECONDS / 2,
                read_timeout=CALL_SECONDS,
                retries={"total_max_attempts": 2, "mode": "standard"},
            )
            session = boto3.session.Session()  # the default one is shared with the application
            self._open = session.client("kms", region_name=self._region, config=config)
        return self._open

    def _disconnect(self) -> None:
        self._open = None

    def __repr__(self) -> str:
        return f"<Kms {self.name}>"


def _key_id(arn: str) -> str:
    return arn.rpartition("/")[2]
