"""Who acts, and for what, as the audit log tells it; and until when they may."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vaultlayer.access.principal import Principal
    from vaultlayer.deciding import Deciding


def told_of(access: Deciding) -> dict[str, Any]:
    """The principal, the purpose's basis and the policies' digest."""
    actor, purpose = access.principal, access.snapshot.bundle.purposes.get(access.purpose)
    return {
        "actor": {
            "iss": actor.iss,
            "sub": actor.sub,
            "client": actor.client,
            "token": actor.token,
            "roles": sorted(access.roles),
            "tenant": actor.tenant or "",
        },
        "basis": purpose.basis if purpose else "",
        "policy": access.snapshot.digest,
    }


def deadline_of(principal: Principal) -> float:
    """The monotonic time at which the principal's token ends; infinity without one."""
    if principal.expires is None:
        return float("inf")
    return time.monotonic() + (principal.expires - time.time())
