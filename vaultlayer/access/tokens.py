"""TokenVerifier: a JSON Web Token in, a Principal out (RFC 7519, RFC 8725).

The key decides which algorithms may be used with it, never the token: a public key can't be
taken for an HMAC secret, and ``none`` is no algorithm. Keys come from a local file, never from
the token's own ``jku``, ``x5u``, ``x5c`` or ``jwk``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jwt

from vaultlayer.access import token_keys
from vaultlayer.access.names import is_name
from vaultlayer.access.principal import Principal
from vaultlayer.errors import AccessDenied, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

# Servers refuse request headers above 8 to 16 KiB, so no real token is longer.
MOST_CHARACTERS = 16_384
MOST_LEEWAY = 300
_REQUIRED = ("iss", "aud", "exp", "sub")
# RFC 8725, section 3.11: other kinds of token signed with the same key are not for us.
_TYPES = (None, "jwt", "at+jwt", "application/at+jwt")

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


class TokenVerifier:
    """Verifies the tokens of one issuer for one audience.

    ``algorithms`` are names of RFC 7518 or RFC 8037: RS, PS and ES with 256, 384 or 512, EdDSA,
    or HS256 alone. Exactly one of ``key`` (public key in PEM), ``jwks`` (JSON Web Key Set;
    tokens must then carry a known ``kid``) and ``secret_file`` (HS256, at least 32 bytes) names
    a local file; it is read once, here. ``leeway`` is in seconds, at most 300.

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
        roles_claim: str = "roles",
    ) -> None:
        for name, text in (
            ("issuer", issuer),
            ("audience", audience),
            ("roles_claim", roles_claim),
        ):
            if not isinstance(text, str) or not text:
                raise ConfigurationError(
                    f"[tokens] {name} is not a text", hint=f"set {name}; there is no default"
                )
        if not 0 <= leeway <= MOST_LEEWAY:
            raise ConfigurationError(
                f"a leeway is 0 to {MOST_LEEWAY} seconds", hint="set the clocks right instead"
            )
        self._issuer, self._audience, self._leeway = issuer, audience, leeway
        self._roles_claim = roles_claim
        self._key_for = token_keys.read(algorithms, key=key, jwks=jwks, secret_file=secret_file)

    def verify(self, token: str) -> Principal:
        """The principal a token speaks for.

        Raises AccessDenied with reason token_malformed, token_signature, token_expired or
        token_claims; nothing of the token is in its text.
        """
        outcome = self._verified(token)
        if isinstance(outcome, Principal):
            return outcome
        del token
        message, hint = _SAID[outcome]
        raise AccessDenied(message, hint=hint, reason=outcome)

    def _verified(self, token: object) -> Principal | str:
        if not isinstance(token, str) or len(token) > MOST_CHARACTERS or not token.isascii():
            return "token_malformed"
        try:
            header = jwt.get_unverified_header(token)
            if not _is_plain(header):
                return "token_malformed"
            found = self._key_for(header.get("kid"))
            if found is None:
                return "token_signature"
            claims = _JWT.decode(
                token,
                found.key,
                algorithms=found.algorithms,
                issuer=self._issuer,
                audience=self._audience,
                leeway=self._leeway,
            )
        except jwt.PyJWTError as error:
            return _reason(error)
        except TypeError:  # PyJWT before 2.15, of a signed claim that is no number
            return "token_malformed"
        return self._principal(claims) or "token_claims"

    def _principal(self, claims: Mapping[str, Any]) -> Principal | None:
        """None if a claim is not of the kind it should be."""
        expires, roles = claims["exp"], claims.get(self._roles_claim, [])
        amr, client = claims.get("amr", []), claims.get("client_id", "")
        tenant, region = claims.get("tenant"), claims.get("region")
        fit = (
            _is_text(claims["sub"])
            and all(_is_time(claims[name]) for name in ("exp", "nbf", "iat") if name in claims)
            and _are_texts(roles)
            and _are_texts(amr)
            and (client == "" or _is_text(client))
            and (tenant is None or is_name(tenant))
            and (region is None or is_name(region))
        )
        if not fit:
            return None
        return Principal(
            sub=claims["sub"],
            roles=roles,
            tenant=tenant,
            region=region,
            amr=amr,
            claims=claims,
            iss=self._issuer,
            client=client,
            expires=float(expires),
        )


def verifier(settings: Mapping[str, Any], folder: Path) -> TokenVerifier | None:
    """The verifier that ``[tokens]`` describes; None without it. Files count from ``folder``."""
    if not settings:
        return None
    if missing := {"issuer", "audience", "algorithms"} - settings.keys():
        raise ConfigurationError(
            f"[tokens] lacks {', '.join(sorted(missing))}",
            hint="there are no defaults: they say whose tokens count, and for whom",
        )
    given = dict(settings)
    for name in ("key", "jwks", "secret_file"):
        if isinstance(given.get(name), str):
            given[name] = folder / given[name]
    return TokenVerifier(**given)


class _StrictJWT(jwt.PyJWT):
    """PyJWT that refuses what RFC 7519 and RFC 8259 leave to the parser's taste."""

    def _decode_payload(self, decoded: dict[str, Any]) -> dict[str, Any]:
        try:
            claims = json.loads(
                decoded["payload"],
                object_pairs_hook=_without_twins,
                parse_constant=_refuse_constant,
            )
        except (ValueError, RecursionError):
            claims = None
        if not isinstance(claims, dict):
            raise jwt.DecodeError
        return claims


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _refuse_constant(_: str) -> None:
    raise ValueError  # NaN and Infinity are not JSON


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
_JWT = _StrictJWT(
    {"require": list(_REQUIRED), "strict_aud": True, "enforce_minimum_key_length": True}
)


def _is_plain(header: Mapping[str, Any]) -> bool:
    """A kind of token meant for us, without extensions that change what the signature covers."""
    kind = header.get("typ")
    known = (kind.lower() if isinstance(kind, str) else kind) in _TYPES
    return known and "crit" not in header and "b64" not in header


def _reason(error: jwt.PyJWTError) -> str:
    # An InvalidSignatureError is a DecodeError too, so it is looked for first.
    if isinstance(error, jwt.ExpiredSignatureError):
        return "token_expired"
    if isinstance(error, _WRONG_SIGNATURE):
        return "token_signature"
    return "token_claims" if isinstance(error, _WRONG_CLAIM) else "token_malformed"


def _is_text(claim: object) -> bool:
    return isinstance(claim, str) and 0 < len(claim) <= 255 and claim.isprintable()


def _are_texts(claim: object) -> bool:
    return isinstance(claim, list) and all(_is_text(item) for item in claim)


def _is_time(claim: object) -> bool:
    """Seconds since 1970 before the year 10000, as a JSON number."""
    return (
        isinstance(claim, (int, float))
        and not isinstance(claim, bool)
        and 0 <= claim < 253_402_300_800
    )
