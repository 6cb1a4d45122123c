"""Packages: what leaves is encrypted for its recipient's key, and says for whom it is.

A package of HPKE (RFC 9180: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM, base mode) is
one JSON object. Its ``sealed`` is base64url of the encapsulated key and the ciphertext; HPKE's
``info`` is the canonical JSON (RFC 8785) of all its other members, so none of them can be changed.
A package of JWE (RFC 7516) is one in the compact serialization, made by the adapter ``jwe``.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from vaultlayer.audit.event import canonical
from vaultlayer.errors import ConfigurationError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = "vaultlayer/disclosure/1"
SUITE = "DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM"
HPKE, JWE = "hpke", "jwe"
ENTRY_POINT_GROUP = "vaultlayer.packages"
_PREFIX = "x25519:"
_JWE_DOTS = 4  # between the parts of the compact serialization


def form_of(public_key: str) -> str:
    """How packages for this key are made: ``hpke`` or ``jwe``."""
    return HPKE if public_key.startswith(_PREFIX) else JWE


def seal_for(public_key: str, header: Mapping[str, str], content: bytes) -> bytes:
    """The package of ``content`` for the holder of a key; ``header`` is in plain sight."""
    if form_of(public_key) == JWE:
        sealed: bytes = _jwe().seal(content, public_key)
        return sealed
    told = {**header, "format": FORMAT, "suite": SUITE}
    key = X25519PublicKey.from_public_bytes(_decoded(public_key.removeprefix(_PREFIX)))
    ciphertext = _suite().encrypt(content, key, info=canonical(told))
    return canonical({**told, "sealed": _encoded(ciphertext)}) + b"\n"


def open_package(package: bytes, private_key: bytes) -> bytes:
    """What a package holds: JSON in UTF-8.

    :param private_key: PEM (PKCS #8), or a JWK for a package of JWE.
    :raises IntegrityError: it was changed, is for another key, or is no package.
    """
    if package.count(b".") == _JWE_DOTS and not package.lstrip().startswith(b"{"):
        opened: bytes = _jwe().open_package(package, private_key)
        return opened
    key, suite = _private(private_key), _suite()
    try:
        told = json.loads(package)
        sealed = _decoded(told.pop("sealed"))
        if told.get("format") != FORMAT or told.get("suite") != SUITE:
            raise damaged_package()
        content: bytes = suite.decrypt(sealed, key, info=canonical(told))
    except (ValueError, KeyError, TypeError, AttributeError, InvalidTag):
        raise damaged_package() from None
    return content


def new_key() -> tuple[bytes, str]:
    """A recipient's new key: the private part as PEM, the public one as ``x25519:…``."""
    key = X25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return pem, _PREFIX + _encoded(key.public_key().public_bytes_raw())


def damaged_package() -> IntegrityError:
    """One error for whatever doesn't open."""
    return IntegrityError(
        "the package doesn't open: it was changed, or is for another key",
        hint="use the private key whose public part the sender has, and ask for it again",
    )


def _suite() -> Any:
    from cryptography.hazmat.primitives import hpke  # only who discloses needs it

    return hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


def _jwe() -> Any:
    try:
        (point,) = entry_points(group=ENTRY_POINT_GROUP, name=JWE)
        return point.load()
    except (ImportError, ValueError):
        raise ConfigurationError(
            "packages as JWE need joserfc", hint='pip install "sqlalchemy-vaultlayer[jwe]"'
        ) from None


def _private(pem: bytes) -> X25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, X25519PrivateKey):
        raise ConfigurationError(
            "this is no X25519 private key in PEM without a passphrase",
            hint="`vaultlayer disclosure key` makes one",
        )
    return key


def _encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
