"""TokenVerifier: a JSON Web Token in, a Principal out (RFC 7519, RFC 8725, RFC 9068).

The key decides which algorithms may be used with it, never the token: a public key can't be
taken for an HMAC secret, and ``none`` is no algorithm. Keys come from where ``[tokens]`` says,
never from the token's own ``jku``, ``x5u``, ``x5c`` or ``jwk``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jwt

from vaultlayer.access import token_keys
from vaultlayer.access.claims import OF_ACCESS_TOKENS, claim_names
from vaultlayer.access.jwks import RemoteKeys, is_address
from vaultlayer.access.principal import Principal
from vaultlayer.access.token_form import ACCESS_TOKEN, StrictJWT, header_of, issuer_of, kind_of
from vaultlayer.crypto.digest import digest
from vaultlayer.errors import (
    AccessDenied,
    ConfigurationError,
    KeyUnavailable,
    VaultLayerError,
)

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

MOST_LEEWAY = 300
_REQUIRED = ("iss", "aud", "exp", "sub")

_SAID = {
    "token_malformed": ("the token is not a well-formed JWT", "send the compact form (RFC 7515)"),
    "token_signature": (
        "the token's signature, key id or algorithm is not accepted",
        "check that the [tokens] key and algorithms are the issuer's",
    ),
    "token_expired": ("the token has expired", "get a new one from the issuer"),
    "token_claims": (
        "the token's claims are not accepted",
        "it needs iss, aud, exp and sub; compare them with [tokens] in the settings",
    ),
}


class Verifier:
    """What turns a token into a principal; this one knows no issuer."""

    def outcome(self, token: str) -> Principal | VaultLayerError:
        """The principal a token speaks for, or the error to raise once the token is let go of.

        AccessDenied has the reason token_malformed, token_signature, token_expired or
        token_claims; KeyUnavailable says that the issuer's published keys can't be had. Nothing
        of the token is in either.
        """
        return ConfigurationError(
            "tokens can't be verified: the settings have no [tokens]",
            hint="set issuer, audience, algorithms and key, or pass a Principal",
        )

    def ready(self, token: str) -> bool:
        """Whether `outcome` answers at once, without waiting for the network."""
        return True

    def verify(self, token: str) -> Principal:
        """The principal, or the error of `outcome` raised, with no frame that holds the token."""
        outcome = self.outcome(token)
        del token
        if isinstance(outcome, Principal):
            return outcome
        raise outcome


class TokenVerifier(Verifier):
    """Verifies the tokens of one issuer for one audience.

    ``algorithms`` are names of RFC 7518 or RFC 8037: RS, PS and ES with 256, 384 or 512, EdDSA,
    or HS256 alone. Exactly one of ``key`` (public key in PEM), ``jwks`` (JSON Web Key Set;
    tokens must then carry a known ``kid``) and ``secret_file`` (HS256, at least 32 bytes) names
    a local file, read once, here; ``jwks`` may be an https address instead, see `RemoteKeys`.
    ``typ="at+jwt"`` accepts access tokens of RFC 9068 only. ``leeway`` is in seconds, at most 300.
    The others say where the issuer puts roles, tenant and region, see `ClaimNames`.

    Raises ConfigurationError for an empty issuer or audience, an unknown or mixed choice of
    algorithms, and a file that doesn't hold fitting keys.
    """

    def __init__(
        self,
        issuer: str,
        audience: str,
        algorithms: Collection[str],
        *,
        key: str | Path | None = None,
        jwks: str | Path | None = None,
        secret_file: str | Path | None = None,
        leeway: float = 0,
        typ: str | None = None,
        **mapping: Any,
    ) -> None:
        for name, text in (("issuer", issuer), ("audience", audience)):
            if not isinstance(text, str) or not text:
                raise ConfigurationError(
                    f"[tokens] {name} is not a text", hint=f"set {name}; there is no default"
                )
        if isinstance(leeway, bool) or not isinstance(leeway, (int, float)) or not (
            0 <= leeway <= MOST_LEEWAY
        ):  # fmt: skip
            raise ConfigurationError(
                f"a leeway is 0 to {MOST_LEEWAY} seconds", hint="set the clocks right instead"
            )
        if typ not in (None, ACCESS_TOKEN):
            raise ConfigurationError(
                f'[tokens] typ is not "{ACCESS_TOKEN}"', hint="set that, or leave it out"
            )
        self.issuer, self._audience, self._leeway = issuer, audience, leeway
        self._only_access_tokens = typ is not None
        self._names = claim_names(mapping)
        self._key_for = token_keys.read(algorithms, key=key, jwks=jwks, secret_file=secret_file)

    def outcome(self, token: str) -> Principal | VaultLayerError:
        outcome = self._verified(token)
        return outcome if isinstance(outcome, Principal) else _refusal(outcome)

    def ready(self, token: str) -> bool:
        if not isinstance(self._key_for, RemoteKeys):
            return True
        header = header_of(token)
        return header is None or self._key_for.ready(header.get("kid"))

    def _verified(self, token: object) -> Principal | str | None:
        """The principal, or why not; None when there are no keys to tell by."""
        header = header_of(token)
        if header is None or not isinstance(token, str):
            return "token_malformed"
        is_access_token = kind_of(header) == ACCESS_TOKEN
        if self._only_access_tokens and not is_access_token:
            return "token_malformed"
        try:
            found = self._key_for(header.get("kid"))
            if found is None:
                return "token_signature"
            claims = _JWT.decode(
                token,
                found.key,
                algorithms=found.algorithms,
                issuer=self.issuer,
                audience=self._audience,
                leeway=self._leeway,
            )
        except KeyUnavailable:
            return None
        except jwt.PyJWTError as error:
            return _reason(error)
        except TypeError:  # PyJWT before 2.15, of a signed claim that is no number
            return "token_malformed"
        if is_access_token and not all(claims.get(name) for name in OF_ACCESS_TOKENS):
            return "token_claims"
        return self._names.principal(claims, self.issuer, digest(token)) or "token_claims"


class Issuers(Verifier):
    """Several issuers: a token is verified by the one it says it is from, with that one's keys."""

    def __init__(self, verifiers: Sequence[TokenVerifier]) -> None:
        self._verifiers = {verifier.issuer: verifier for verifier in verifiers}
        if len(self._verifiers) < len(verifiers):
            raise ConfigurationError(
                "two [[tokens]] have one issuer", hint="each issuer has one table and one audience"
            )

    def outcome(self, token: str) -> Principal | VaultLayerError:
        verifier = self._of(token)
        if verifier is not None:
            return verifier.outcome(token)
        return _refusal("token_malformed" if header_of(token) is None else "token_claims")

    def ready(self, token: str) -> bool:
        verifier = self._of(token)
        return verifier is None or verifier.ready(token)

    def _of(self, token: object) -> TokenVerifier | None:
        issuer = issuer_of(token)
        return self._verifiers.get(issuer) if isinstance(issuer, str) else None


def verifier(settings: Mapping[str, Any] | Sequence[Mapping[str, Any]], folder: Path) -> Verifier:
    """What ``[tokens]`` or several ``[[tokens]]`` describe; files count from ``folder``."""
    tables = [settings] if isinstance(settings, Mapping) else settings
    verifiers = [_one(table, folder) for table in tables if table]
    return Issuers(verifiers) if len(verifiers) > 1 else next(iter(verifiers), Verifier())


def _one(settings: Mapping[str, Any], folder: Path) -> TokenVerifier:
    if missing := {"issuer", "audience", "algorithms"} - settings.keys():
        raise ConfigurationError(
            f"[tokens] lacks {', '.join(sorted(missing))}",
            hint="there are no defaults: they say whose tokens count, and for whom",
        )
    given = dict(settings)
    for name in ("key", "jwks", "secret_file"):
        if isinstance(given.get(name), str) and not (name == "jwks" and is_address(given[name])):
            given[name] = folder / given[name]
    return TokenVerifier(**given)


_WRONG_SIGNATURE = (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError, jwt.InvalidKeyError)
_WRONG_CLAIM = (
    jwt.ImmatureSignatureError,
    jwt.InvalidAudienceError,
    jwt.InvalidIssuedAtError,
    jwt.InvalidIssuerError,
    jwt.MissingRequiredClaimError,
    jwt.exceptions.InvalidJTIError,
    jwt.exceptions.InvalidSubjectError,
)
_JWT = StrictJWT(
    {"require": list(_REQUIRED), "strict_aud": True, "enforce_minimum_key_length": True}
)


def _reason(error: jwt.PyJWTError) -> str:
    # An InvalidSignatureError is a DecodeError too, so it is looked for first.
    if isinstance(error, jwt.ExpiredSignatureError):
        return "token_expired"
    if isinstance(error, _WRONG_SIGNATURE):
        return "token_signature"
    return "token_claims" if isinstance(error, _WRONG_CLAIM) else "token_malformed"


def _refusal(reason: str | None) -> AccessDenied | KeyUnavailable:
    if reason is None:
        return KeyUnavailable(
            "the token issuer's keys can't be fetched now",
            hint="check that the address under [tokens] jwks answers; trying later may help",
        )
    message, hint = _SAID[reason]
    return AccessDenied(message, hint=hint, reason=reason)
