"""An access, carried to other machines: signed, short-lived, and without any key or token.

A grant is a JSON Web Token (RFC 7519) with HMAC-SHA-256 under a key derived from the tenant's
index root: whoever holds the same vault can check it, and nobody else can make one. It says who
acts, for what, which fields and actions, and until when. Rules, consent and restrictions are
decided anew where it is used, so it opens nothing that the principal may not open there.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import jwt

from vaultlayer.access.principal import Principal
from vaultlayer.errors import AccessDenied, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection

    from vaultlayer.acting import Access
    from vaultlayer.vault import Vault

_AUDIENCE = "vaultlayer/spark/1"
_LONGEST = 24 * 3600


def give(access: Access, fields: Collection[str], actions: Collection[str], seconds: float) -> str:
    """A grant of some fields and actions of an access; it never outlasts the access's token.

    Roles that an access took on in an emergency or by an elevation stay where they were given.
    """
    if not 0 < seconds <= _LONGEST:
        raise ConfigurationError(
            "a grant lasts between a moment and a day", hint="give lifetime=... in seconds"
        )
    actor, now = access.principal, time.time()
    claims = {
        "aud": _AUDIENCE,
        "iat": int(now),
        "exp": int(min(now + seconds, actor.expires or now + seconds)),
        "sub": actor.sub,
        "actor": [actor.iss, actor.client],
        "roles": sorted(actor.roles),
        "tenant": actor.tenant,
        "region": actor.region,
        "amr": list(actor.amr),
        "sign_in": {k: v for k, v in actor.claims.items() if k in ("acr", "auth_time", "iat")},
        "purpose": access.purpose,
        "reason": access.reason,
        "fields": sorted(fields),
        "actions": sorted(actions),
    }
    return jwt.encode(claims, _keys(access.vault, access.tenant)[0], "HS256")


def use(
    vault: Vault, tenant: str, grant: str, fields: Collection[str], actions: Collection[str]
) -> Access:
    """The access that a grant stands for, to be used in a ``with`` block.

    :raises AccessDenied: it is not signed by this vault, is over, or is for something else.
    """
    claims = _read(vault, tenant, grant)
    if not set(fields) <= set(claims["fields"]) or not set(actions) <= set(claims["actions"]):
        raise _refused("grant_scope", "it was given for other fields or actions")
    iss, client = claims["actor"]
    principal = Principal(
        claims["sub"],
        claims["roles"],
        claims["tenant"],
        claims["region"],
        claims["amr"],
        claims["sign_in"],
        iss,
        client,
        claims["exp"],
    )
    return vault.access(principal, purpose=claims["purpose"], reason=claims["reason"])


def _read(vault: Vault, tenant: str, grant: str) -> dict[str, Any]:
    for key in _keys(vault, tenant):  # several while index roots are exchanged
        try:
            read: dict[str, Any] = jwt.decode(
                grant, key, ["HS256"], audience=_AUDIENCE, options={"require": ["exp", "aud"]}
            )
        except jwt.InvalidSignatureError:
            continue
        except jwt.ExpiredSignatureError:
            raise _refused("grant_over", "its time has passed: begin the work anew") from None
        except jwt.InvalidTokenError:
            break
        if (read["tenant"] or "") == tenant:
            return read
    raise _refused("grant_invalid", "this vault didn't sign it, or not for this tenant")


def _keys(vault: Vault, tenant: str) -> list[bytes]:
    with vault.key_connection(None) as keys_on:
        return vault.keys.index_keys(keys_on, tenant, "", "spark", "grant/1")


def _refused(reason: str, hint: str) -> AccessDenied:
    return AccessDenied("the grant can't be used", hint=f"{hint} (code: {reason})", reason=reason)
