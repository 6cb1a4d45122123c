"""What holds the provider key, the top of the hierarchy: found by the scheme of a URI."""

from __future__ import annotations

import os
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vaultlayer.crypto.envelope import key_id_for, key_id_of, open_sealed, seal
from vaultlayer.errors import ConfigurationError, IntegrityError, KeyUnavailable, PlaintextFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

ENTRY_POINT_GROUP = "vaultlayer.key_providers"


class KeyProvider(Protocol):
    """Wraps and unwraps KEKs with a key that stays inside.

    ``unwrap`` raises KeyUnavailable when the provider can't be reached or doesn't have the key,
    IntegrityError when the blob or its ``aad`` is not what ``wrap`` was given.
    """

    @property
    def name(self) -> str:
        """What the settings call it, e.g. ``local:keyring.json``; stored with each KEK."""

    def wrap(self, plaintext: bytes, aad: bytes) -> bytes: ...

    def unwrap(self, blob: bytes, aad: bytes) -> bytes: ...


class MemoryProvider:
    """32-byte provider keys in this process's memory; the first wraps, all unwrap.

    A blob is an envelope of version 1 whose place is the ``aad``, so it names its key.
    """

    def __init__(self, keys: Iterable[bytes] = (), name: str = "memory:") -> None:
        ring = {key_id_for(key): AESGCM(key) for key in keys or (os.urandom(32),)}
        self.name = name
        self._active = next(iter(ring))
        self._ring = ring

    def wrap(self, plaintext: bytes, aad: bytes) -> bytes:
        return seal(self._ring[self._active], self._active, aad, plaintext)

    def unwrap(self, blob: bytes, aad: bytes) -> bytes:
        try:
            cipher = self._ring.get(key_id_of(blob))
        except PlaintextFound:
            raise IntegrityError(
                "a wrapped KEK is damaged", hint="restore the key tables from a backup"
            ) from None
        if cipher is None:
            raise KeyUnavailable(
                f"{self.name} doesn't hold the key that wrapped this KEK",
                hint="check that the settings name the keyring this database was written with",
            )
        return open_sealed(cipher, aad, blob)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


def open_provider(uri: str, *, passphrase: Callable[[], str], base: Path) -> KeyProvider:
    """The provider that ``uri`` names.

    Its scheme is looked up among the entry points of ``vaultlayer.key_providers``; each of them
    has ``open(uri, *, passphrase, base)``. ``passphrase`` is called only by a provider that needs
    one; ``base`` is the folder relative paths start from.
    """
    scheme, colon, _ = uri.partition(":")
    found = {point.value: point for point in entry_points(group=ENTRY_POINT_GROUP, name=scheme)}
    if not colon or len(found) != 1:
        known = sorted({point.name for point in entry_points(group=ENTRY_POINT_GROUP)})
        trouble = "several key providers serve" if found else "no key provider serves"
        raise ConfigurationError(
            f"{trouble} the scheme {scheme!r} of [keys] provider",
            hint=f"installed ones: {', '.join(known)}; others come with the extra of their name",
        )
    (point,) = found.values()
    provider: KeyProvider = point.load().open(uri, passphrase=passphrase, base=base)
    return provider
