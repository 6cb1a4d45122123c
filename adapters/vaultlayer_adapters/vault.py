"""OpenBao and HashiCorp Vault: the provider key is a key of the transit engine.

``bao://host:8200/transit/vaultlayer``: host, mount, key. ``vault://`` is the same. The connection
is TLS; ``bao+http://`` is for an agent on this machine only. The token comes from BAO_TOKEN or
VAULT_TOKEN, or the file that one of these names with _FILE behind it, and is read again when it
is refused. VAULT_CACERT and VAULT_NAMESPACE count as they do for the servers' own tools.

The place of a KEK goes along as transit's associated data (AES-256-GCM). The key's versions are
transit's own; destroying one trims it.
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import hvac
from hvac.exceptions import Forbidden, InvalidPath, InvalidRequest

from vaultlayer.errors import ConfigurationError
from vaultlayer.forks import in_child
from vaultlayer.keys.provider import check_oldest
from vaultlayer.keys.remote import CALL_SECONDS, asking, damaged, misnamed, no_key, pack, unpack
from vaultlayer.settings import secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vaultlayer.errors import VaultLayerError

EXAMPLE = "bao://host:8200/transit/vaultlayer"
_TOKENS = ("BAO_TOKEN", "VAULT_TOKEN")
_HERE = ("127.0.0.1", "::1", "localhost")
_DAMAGED = ("authentication failed", "invalid ciphertext length", "decode")


class Transit:
    """One key of a transit engine."""

    def __init__(self, name: str, address: str, mount: str, key: str) -> None:
        self.name = name
        self._address = address
        self._at = {"mount_point": mount}
        self._key = key
        self._open: hvac.Client | None = None
        in_child(self._disconnect)

    @classmethod
    def open(cls, uri: str, *, passphrase: Callable[[], str], base: Path) -> Transit:
        """Connects when it is first asked."""
        parts = urlsplit(uri)
        mount, _, key = parts.path.strip("/").rpartition("/")
        plain = parts.scheme.endswith("+http")
        if not (parts.hostname and mount and key) or parts.username or parts.query:
            raise misnamed(f"{parts.scheme}://…", EXAMPLE)
        if plain and parts.hostname not in _HERE:
            raise ConfigurationError(
                f"{parts.scheme}:// would send KEKs over the network in the clear",
                hint=f"use TLS ({EXAMPLE}); without it only an agent on this machine is asked",
            )
        return cls(uri, f"{'http' if plain else 'https'}://{parts.netloc}", mount, key)

    def wrap(self, plaintext: bytes, aad: bytes) -> bytes:
        given = {"plaintext": _text(plaintext), "associated_data": _text(aad)}
        answer = self._ask("encrypt_data", **given)["data"]["ciphertext"]
        _, version, ciphertext = answer.split(":")
        return pack(version.removeprefix("v"), b64decode(ciphertext, validate=True))

    def unwrap(self, blob: bytes, aad: bytes) -> bytes:
        version, wrapped = unpack(blob)
        if not version.isascii() or not version.isdigit():
            raise damaged()
        given = {"ciphertext": f"vault:v{version}:{_text(wrapped)}", "associated_data": _text(aad)}
        answer = self._ask("decrypt_data", version, **given)
        return b64decode(answer["data"]["plaintext"], validate=True)

    def version_of(self, blob: bytes) -> str:
        return unpack(blob)[0]

    def versions(self) -> list[str]:
        key = self._read()
        if not key:
            return []
        # Not `keys`: those leave out what may not unwrap any more, and isn't destroyed yet.
        oldest = max(1, key["min_available_version"])
        return [str(version) for version in range(oldest, key["latest_version"] + 1)]

    def rotate(self) -> str:
        if self.versions():
            self._ask("rotate_key")
        else:
            self._ask("create_key", key_type="aes256-gcm96")
        return self.versions()[-1]

    def destroy(self, version: str) -> datetime:
        check_oldest(self, version)
        least = int(version) + 1
        limits = {"min_decryption_version": least, "min_encryption_version": least}
        mount = self._at["mount_point"]
        with asking(self.name):  # hvac's own method refuses two equal numbers
            self._client().adapter.post(f"/v1/{mount}/keys/{self._key}/config", json=limits)
        self._ask("trim_key", min_version=least)
        return datetime.now(UTC)

    def _read(self) -> dict[str, Any]:
        with asking(self.name):
            try:
                answer: dict[str, Any] = self._transit("read_key", {})["data"]
            except InvalidPath:
                return {}
        return answer

    def _ask(self, what: str, version: str = "", **given: Any) -> Any:
        """Call one of transit's functions; with the token read anew if it is refused."""
        with asking(self.name, lambda error: self._meaning(error, version)):
            try:
                return self._transit(what, given)
            except Forbidden:
                self._disconnect()
                return self._transit(what, given)

    def _meaning(self, error: Exception, version: str) -> VaultLayerError | None:
        if isinstance(error, InvalidRequest) and any(
            words in str(error.args[0]) for words in _DAMAGED
        ):
            return damaged()
        gone = isinstance(error, InvalidRequest | Forbidden | InvalidPath)
        return no_key(self.name, version) if gone else None

    def _transit(self, what: str, given: dict[str, Any]) -> Any:
        return getattr(self._client().secrets.transit, what)(self._key, **self._at, **given)

    def _client(self) -> hvac.Client:
        if self._open is None:
            self._open = hvac.Client(
                url=self._address,
                token=_token(),
                timeout=CALL_SECONDS,
                namespace=os.environ.get("VAULT_NAMESPACE"),
            )
        return self._open

    def _disconnect(self) -> None:
        self._open = None

    def __repr__(self) -> str:
        return f"<Transit {self.name}>"


def _token() -> str:
    for name in _TOKENS:
        if os.environ.get(name) or os.environ.get(f"{name}_FILE"):
            return secret(name)()
    raise ConfigurationError(
        "there is no token for OpenBao or Vault",
        hint="set BAO_TOKEN_FILE (or VAULT_TOKEN_FILE) to the file your agent writes it to",
    )


def _text(data: bytes) -> str:
    return b64encode(data).decode()
