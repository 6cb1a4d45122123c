"""The keys that tokens are verified with, each tied to the algorithms it may be used for."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from vaultlayer.access.jwks import RemoteKeys, is_address
from vaultlayer.errors import ConfigurationError

_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
PUBLIC = _RSA | frozenset(_CURVES.values()) | {"EdDSA"}
SECRET = frozenset({"HS256"})
_RSA_BITS = 2048  # NIST SP 800-131A
_SECRET_BYTES = 32  # RFC 7518, section 3.2


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key (or HMAC secret) and the algorithms it may verify."""

    key: Any
    algorithms: tuple[str, ...]

    def __repr__(self) -> str:
        return f"VerificationKey({', '.join(self.algorithms)})"


FindKey = Callable[[object], VerificationKey | None]


def read(
    algorithms: Collection[str],
    *,
    key: str | Path | None = None,
    jwks: str | Path | None = None,
    secret_file: str | Path | None = None,
) -> FindKey:
    """A look-up from a token's ``kid`` (None without one) to its key, None for an unknown one."""
    wanted = frozenset() if isinstance(algorithms, str) else frozenset(algorithms)
    files = [file for file in (key, jwks, secret_file) if file is not None]
    if len(files) != 1 or not isinstance(files[0], (str, Path)):
        raise ConfigurationError(
            "[tokens] must name exactly one of key, jwks and secret_file",
            hint="give the path of a public key in PEM, of a key set, or of a secret for HS256",
        )
    known = SECRET if secret_file is not None else PUBLIC
    if not wanted or not wanted <= known:
        raise ConfigurationError(
            "[tokens] algorithms don't go with the kind of key",
            hint=f'write a list, such as ["ES256"]; here it may hold {", ".join(sorted(known))}',
        )
    if jwks is not None and is_address(jwks):
        return RemoteKeys(str(jwks), lambda content: _key_set(content, wanted, str(jwks)))
    file = Path(files[0])
    content = _bytes(file)
    if jwks is not None:
        return _key_set(content, wanted, file).get
    only = _public(content, wanted, file) if key is not None else _secret(content, file)
    return lambda _kid: only


def _public(content: bytes, wanted: frozenset[str], file: Path) -> VerificationKey:
    try:
        found = _fitting(load_pem_public_key(content), wanted)
    except (ValueError, UnsupportedAlgorithm):
        found = None
    if found is None:
        raise ConfigurationError(
            f"{file} holds no public key for these algorithms",
            hint="it must be a PUBLIC KEY in PEM, of the algorithms' kind; RSA from 2048 bits",
        )
    return found


def _secret(content: bytes, file: Path) -> VerificationKey:
    secret = content.rstrip(b"\r\n")
    if len(secret) < _SECRET_BYTES or b"-----BEGIN" in secret:
        raise ConfigurationError(
            f"{file} holds no HMAC secret of {_SECRET_BYTES} bytes or more",
            hint="write one with `openssl rand -base64 48`; a public key is not a secret",
        )
    return VerificationKey(secret, tuple(SECRET))


def _key_set(
    content: bytes, wanted: frozenset[str], file: str | Path
) -> Mapping[object, VerificationKey]:
    try:
        entries = json.loads(content)["keys"]
    except (ValueError, TypeError, KeyError, RecursionError):
        entries = None
    usable: dict[object, VerificationKey] = {}
    for entry in entries if isinstance(entries, list) else ():
        found = _entry(entry, wanted, file)
        if found is None:
            continue
        if entry["kid"] in usable:
            raise ConfigurationError(
                f"{file} has two keys with one kid", hint="give each key a kid of its own"
            )
        usable[entry["kid"]] = found
    published = isinstance(file, str) and isinstance(entries, list)
    if not usable and not published:  # an issuer may withdraw all its keys
        raise ConfigurationError(
            f"{file} holds no usable key for these algorithms",
            hint='it must read {"keys": [...]} with public signature keys that have a kid',
        )
    return usable


def _entry(entry: object, wanted: frozenset[str], file: str | Path) -> VerificationKey | None:
    """None for a key that is none of ours: for encryption, without kid, of an unknown kind."""
    if not isinstance(entry, dict):
        return None
    if entry.get("kty") == "oct" or "d" in entry:
        raise ConfigurationError(
            f"{file} holds a secret key", hint="a key set has public keys only; replace that key"
        )
    if entry.get("use", "sig") != "sig" or not isinstance(entry.get("kid"), str):
        return None
    try:
        key = jwt.PyJWK(entry).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return _fitting(key, wanted & {entry["alg"]} if "alg" in entry else wanted)


def _fitting(key: object, wanted: frozenset[str]) -> VerificationKey | None:
    fit: frozenset[str] = frozenset()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= _RSA_BITS:
        fit = _RSA
    elif isinstance(key, ec.EllipticCurvePublicKey):
        fit = frozenset({_CURVES.get(key.curve.name, "")})
    elif isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
        fit = frozenset({"EdDSA"})
    return VerificationKey(key, tuple(sorted(fit & wanted))) if fit & wanted else None


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{file} can't be read ({type(error).__name__})",
            hint="check the path in [tokens]; it is relative to the settings file",
        ) from None
