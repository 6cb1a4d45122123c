"""Principal: who is asking."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from vaultlayer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


@dataclass(frozen=True, slots=True, init=False)
class Principal:
    """Somebody (or some program) that asks for personal data.

    ``sub`` identifies them within ``iss``; ``roles`` is any collection of names and is kept as a
    frozenset; ``amr`` are the authentication methods (RFC 8176); ``expires`` is in seconds since
    1970 (UTC), None when the application vouches for the principal without a token, and ``token``
    is then "", else a digest of it for the record. ``claims`` holds the token's claims for the
    application's own use. Neither is compared or printed.

    Raises ConfigurationError for an empty ``sub`` and for ``roles`` given as one string.
    """

    sub: str
    roles: frozenset[str]
    tenant: str | None
    region: str | None
    amr: tuple[str, ...]
    claims: Mapping[str, object] = field(compare=False, repr=False)
    iss: str
    client: str
    expires: float | None
    token: str = field(compare=False, repr=False)

    def __init__(
        self,
        sub: str,
        roles: Collection[str],
        tenant: str | None = None,
        region: str | None = None,
        amr: Collection[str] = (),
        claims: Mapping[str, object] = MappingProxyType({}),
        iss: str = "",
        client: str = "",
        expires: float | None = None,
        token: str = "",
    ) -> None:
        if not isinstance(sub, str) or not sub:
            raise ConfigurationError(
                "a principal needs a sub", hint="give the stable id of the user or program"
            )
        kept = {
            "sub": sub,
            "roles": frozenset(_names("roles", roles)),
            "tenant": tenant,
            "region": region,
            "amr": tuple(_names("amr", amr)),
            "claims": MappingProxyType(dict(claims)),
            "iss": iss,
            "client": client,
            "expires": expires,
            "token": token,
        }
        for name, value in kept.items():
            object.__setattr__(self, name, value)


def _names(what: str, given: Collection[str]) -> Collection[str]:
    # A lone string is a collection of its letters: Principal("ada", "auditor") would hold seven
    # roles that nobody meant.
    if isinstance(given, (str, bytes)) or not all(isinstance(name, str) for name in given):
        raise ConfigurationError(
            f"{what} must be a collection of names", hint=f'write {what}=["name"]'
        )
    return given
