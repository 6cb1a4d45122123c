"""From the claims of a verified token to a Principal, as ``[tokens]`` maps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from vaultlayer.access.names import is_name
from vaultlayer.access.principal import Principal
from vaultlayer.errors import ConfigurationError

Path = tuple[str, ...]
# RFC 9068, section 2.2: what an access token has besides iss, aud, exp and sub.
OF_ACCESS_TOKENS = ("client_id", "iat", "jti")


@dataclass(frozen=True, slots=True)
class ClaimNames:
    """Where an issuer puts what a principal needs; a path of several names leads into objects.

    ``role_names`` translates the issuer's words into roles of roles.csv, and whatever it doesn't
    list gives none; None takes the words as they are. ``tenant`` and ``region`` given here are the
    issuer's own: its tokens speak for that tenant and region alone, whatever their claims say.
    """

    roles: Path = ("roles",)
    tenant: Path = ("tenant",)
    region: Path = ("region",)
    role_names: Mapping[str, str] | None = None
    own_tenant: str | None = None
    own_region: str | None = None

    def principal(self, claims: Mapping[str, Any], issuer: str, token: str) -> Principal | None:
        """``token`` is the token's digest. None if a claim is not of the kind it should be."""
        roles, amr = _at(claims, self.roles, []), claims.get("amr", [])
        tenant, region = _at(claims, self.tenant), _at(claims, self.region)
        client = claims.get("client_id", claims.get("azp", ""))
        fit = (
            _is_text(claims["sub"])
            and all(_is_time(claims[name]) for name in ("exp", "nbf", "iat") if name in claims)
            and ("auth_time" not in claims or _is_time(claims["auth_time"]))
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
            roles=self._roles(roles),
            tenant=self.own_tenant or tenant,
            region=self.own_region or region,
            amr=amr,
            claims=claims,
            iss=issuer,
            client=client,
            expires=float(claims["exp"]),
            token=token,
        )

    def _roles(self, said: list[str]) -> list[str]:
        if self.role_names is None:
            return said
        return [self.role_names[name] for name in said if name in self.role_names]


def claim_names(settings: Mapping[str, Any]) -> ClaimNames:
    """The mapping that a table of ``[tokens]`` describes; ConfigurationError says what is odd."""
    return ClaimNames(
        roles=_path(settings, "roles_claim", "roles"),
        tenant=_path(settings, "tenant_claim", "tenant"),
        region=_path(settings, "region_claim", "region"),
        role_names=_role_names(settings.get("roles")),
        own_tenant=_own(settings, "tenant"),
        own_region=_own(settings, "region"),
    )


def _path(settings: Mapping[str, Any], key: str, default: str) -> Path:
    given = settings.get(key, default)
    path = tuple(given) if isinstance(given, (list, tuple)) else (given,)
    if not path or not all(isinstance(name, str) and name for name in path):
        raise ConfigurationError(
            f"[tokens] {key} is not a claim's name",
            hint=f'write {key} = "groups", or ["realm_access", "roles"] for a claim in a claim',
        )
    return path


def _role_names(given: object) -> Mapping[str, str] | None:
    if given is None:
        return None
    if not isinstance(given, Mapping) or not all(is_name(role) for role in given.values()):
        raise ConfigurationError(
            "[tokens.roles] doesn't map the issuer's words to names of roles",
            hint='write, under [tokens.roles], lines like "Support Staff" = "support"',
        )
    return MappingProxyType(dict(given))


def _own(settings: Mapping[str, Any], key: str) -> str | None:
    given = settings.get(key)
    if given is not None and not is_name(given):
        raise ConfigurationError(
            f"[tokens] {key} is not a name",
            hint=f"it is the {key} that every token of this issuer speaks for; or leave it out",
        )
    return given


def _at(claims: Mapping[str, Any], path: Path, default: object = None) -> Any:
    """The claim at a path; the default where any step is missing."""
    found: Any = claims
    for name in path:
        if not isinstance(found, Mapping) or name not in found:
            return default
        found = found[name]
    return found


def _is_text(claim: object) -> bool:
    return isinstance(claim, str) and 0 < len(claim) <= 255 and claim.isprintable()


def _are_texts(claim: object) -> bool:
    return isinstance(claim, list) and all(_is_text(item) for item in claim)


def _is_time(claim: object) -> bool:
    """Whole seconds since 1970 before the year 10000. A fraction has no use and many traps."""
    return isinstance(claim, int) and not isinstance(claim, bool) and 0 <= claim < 253_402_300_800
