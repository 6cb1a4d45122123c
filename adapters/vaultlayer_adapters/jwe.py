"""Packages as JWE (RFC 7516), through joserfc, for partners whose systems speak JOSE.

A256GCM for the content; the key is agreed by ECDH-ES+A256KW (RFC 7518 section 4.6, RFC 8037) with
an EC or OKP key, and wrapped by RSA-OAEP-256 for an RSA one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from vaultlayer.errors import ConfigurationError
from vaultlayer.privacy.package import damaged_package

if TYPE_CHECKING:
    from collections.abc import Mapping

_KINDS: Mapping[str, Any] = {"EC": ECKey, "OKP": OKPKey, "RSA": RSAKey}
_AGREED, _WRAPPED, _CONTENT = "ECDH-ES+A256KW", "RSA-OAEP-256", "A256GCM"
_ALGORITHMS = [_AGREED, _WRAPPED, _CONTENT]


def seal(content: bytes, public_key: str) -> bytes:
    """The compact serialization, for a public JWK."""
    known = json.loads(public_key)
    header = {"alg": _algorithm(known), "enc": _CONTENT, "cty": "json"}
    if isinstance(known.get("kid"), str):
        header["kid"] = known["kid"]
    sealed = jwe.encrypt_compact(header, content, _key(known), algorithms=_ALGORITHMS)
    return sealed.encode()


def open_package(package: bytes, private_key: bytes) -> bytes:
    """What the package holds; ``private_key`` is a JWK."""
    try:
        known = json.loads(private_key)
        key = _key(known)
    except ValueError:
        raise ConfigurationError(
            "the private key is no JWK", hint="a package of JWE opens with the JWK's private key"
        ) from None
    try:
        opened = jwe.decrypt_compact(package.strip(), key, algorithms=_ALGORITHMS)
    except (JoseError, ValueError, KeyError, TypeError):
        raise damaged_package() from None
    if opened.plaintext is None or opened.headers().get("alg") != _algorithm(known):
        raise damaged_package()
    return opened.plaintext


def _key(known: Mapping[str, Any]) -> Any:
    kind = _KINDS.get(str(known.get("kty"))) if isinstance(known, dict) else None
    try:
        if kind is not None:
            return kind.import_key(known)
    except (JoseError, ValueError, KeyError, TypeError):
        pass
    raise ConfigurationError("the key is no JWK that packages can use", hint="use EC, OKP or RSA")


def _algorithm(known: Mapping[str, Any]) -> str:
    return _WRAPPED if known.get("kty") == "RSA" else _AGREED
