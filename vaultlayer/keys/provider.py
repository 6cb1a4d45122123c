"""What holds the provider key, the top of the hierarchy: found by the scheme of a URI."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vaultlayer.crypto.envelope import key_id_for, key_id_of, open_sealed, seal
from vaultlayer.errors import ConfigurationError, IntegrityError, KeyUnavailable, PlaintextFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from vaultlayer.settings import Settings

ENTRY_POINT_GROUP = "vaultlayer.key_providers"


class KeyProvider(Protocol):
    """Wraps and unwraps KEKs with a key that stays inside and has versions, one an epoch.

    KeyUnavailable: the provider can't be reached, or doesn't have the key. IntegrityError: the
    blob or its ``aad`` is not what ``wrap`` was given. A blob names its version.
    """

    @property
    def name(self) -> str:
        """What the settings call it, e.g. ``local:keyring.json``; stored with each KEK."""

    def wrap(self, plaintext: bytes, aad: bytes) -> bytes:
        """Under the newest version, whichever process added it."""

    def unwrap(self, blob: bytes, aad: bytes) -> bytes: ...

    def version_of(self, blob: bytes) -> str:
        """The version that wrapped a blob, without asking anybody."""

    def versions(self) -> list[str]:
        """The versions that still unwrap, oldest first; the last one wraps. [] before the first."""

    def rotate(self) -> str:
        """Add a version (the first, where there is none) and return its name.

        It wraps from now on; the others only unwrap.
        """

    def destroy(self, version: str) -> datetime:
        """Destroy the oldest version; from the moment returned nobody can bring it back.

        It unwraps nothing any more when this returns. ConfigurationError for every other
        version: what is newer may still be needed, and what wraps always is.
        """


class MemoryProvider:
    """32-byte provider keys in this process's memory, oldest first; the last one wraps.

    A blob is an envelope of version 1 whose place is the ``aad``, so it names its key.
    """

    def __init__(self, keys: Iterable[bytes] = (), name: str = "memory:") -> None:
        self.name = name
        self._ring = {key_id_for(key): AESGCM(key) for key in keys or (os.urandom(32),)}

    def wrap(self, plaintext: bytes, aad: bytes) -> bytes:
        key_id, cipher = next(reversed(self._ring.items()))
        return seal(cipher, key_id, aad, plaintext)

    def unwrap(self, blob: bytes, aad: bytes) -> bytes:
        cipher = self._ring.get(_key_id_of(blob))
        if cipher is None:
            raise KeyUnavailable(
                f"{self.name} doesn't hold the key that wrapped this KEK",
                hint="check that the settings name the keyring this database was written with",
            )
        return open_sealed(cipher, aad, blob)

    def version_of(self, blob: bytes) -> str:
        return _key_id_of(blob).hex()

    def versions(self) -> list[str]:
        return [key_id.hex() for key_id in self._ring]

    def rotate(self) -> str:
        key = os.urandom(32)
        key_id = key_id_for(key)
        self._ring[key_id] = AESGCM(key)
        return key_id.hex()

    def destroy(self, version: str) -> datetime:
        check_oldest(self, version)
        del self._ring[bytes.fromhex(version)]
        return datetime.now(UTC)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class Providers:
    """The providers of one vault at once: each region's own, and those it had before.

    A region without one of its own has ``provider``. ``former`` only unwrap, until the last KEK
    they wrapped has been wrapped anew.
    """

    def __init__(
        self,
        provider: KeyProvider,
        *,
        regions: Mapping[str, KeyProvider] | None = None,
        former: Iterable[KeyProvider] = (),
    ) -> None:
        self._default = provider
        self._regions = dict(regions or {})
        self._by_name = {each.name: each for each in (*former, *self._regions.values(), provider)}

    def of_region(self, region: str) -> KeyProvider:
        """The one that wraps a region's KEKs."""
        return self._regions.get(region, self._default)

    def that_wrapped(self, name: str, region: str) -> KeyProvider:
        """The one a KEK's record names. One that was renamed in the settings is its region's."""
        return self._by_name.get(name) or self.of_region(region)

    def all(self) -> list[KeyProvider]:
        """Each of them once, the default last."""
        return list(self._by_name.values())


def check_oldest(provider: KeyProvider, version: str) -> None:
    """ConfigurationError unless ``destroy`` may take this version."""
    known = provider.versions()
    if version not in known[:-1][:1]:
        raise ConfigurationError(
            f"{provider.name} doesn't destroy version {version!r}: it isn't the oldest of several",
            hint=f"its versions, oldest first: {', '.join(known) or 'none'}; the last one wraps",
        )


def _key_id_of(blob: bytes) -> bytes:
    try:
        return key_id_of(blob)
    except PlaintextFound:
        raise IntegrityError(
            "a wrapped KEK is damaged", hint="restore the key tables from a backup"
        ) from None


def open_providers(settings: Settings, passphrase: Callable[[], str]) -> Providers:
    """All that ``[keys]`` names."""

    def opened(uri: str) -> KeyProvider:
        return open_provider(uri, passphrase=passphrase, base=settings.folder)

    return Providers(
        opened(settings.provider),
        regions={region: opened(uri) for region, uri in settings.regions.items()},
        former=[opened(uri) for uri in settings.former],
    )


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
    try:
        factory = point.load()
    except ImportError as error:
        raise ConfigurationError(
            f"the key provider of {scheme!r} needs a library that isn't installed ({error.name})",
            hint=f'pip install "sqlalchemy-vaultlayer[{point.module.rpartition(".")[2]}]"',
        ) from None
    provider: KeyProvider = factory.open(uri, passphrase=passphrase, base=base)
    return provider
