"""Roles taken on for a while: a grant that somebody gives, and breaking the glass.

An emergency is the principal's own act: an ``e`` line of ``roles.csv`` allows it, it takes a
justification, lasts minutes, is told of in the log and to Python's ``logging`` before it opens
anything, and stays on a list until a second person has reviewed it. A grant is given to one
principal for one purpose and a time, for any number of accesses or for one.
"""

from __future__ import annotations

import logging
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update

from vaultlayer.access.grants import refusal
from vaultlayer.audit.event import access_context, clip
from vaultlayer.errors import ConfigurationError
from vaultlayer.ledgers import MOST_WORDS, elevation
from vaultlayer.privacy.acting import acting_for

if TYPE_CHECKING:
    from collections.abc import Collection

    from vaultlayer.acting import Access
    from vaultlayer.errors import AccessDenied
    from vaultlayer.vault import Vault

EMERGENCY, GRANT = "emergency", "grant"
SHORTEST = 12  # characters of a justification
_DAY = 86_400
MOST_DAYS = 90

_C = elevation.c
_logger = logging.getLogger("vaultlayer")


@dataclass(frozen=True, slots=True)
class Elevation:
    """Roles that an access has beside its principal's, up to ``ends`` (monotonic clock)."""

    roles: frozenset[str]
    ends: float
    over: str  # the reason code from then on


class Elevations:
    """``vault.elevations``: give, revoke, list and review them."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def give(
        self, sub: str, role: str, *, purpose: str, seconds: int, iss: str = "", once: bool = False
    ) -> str:
        """Let a principal hold ``role`` for ``purpose`` for a while: in one access, or in any.

        Needs an access that may ``administer`` the purpose's categories, of somebody else than
        ``sub``; its reason is the grant's. Returns the id that ``vault.access(grant=…)`` takes.
        """
        access = self._acting(purpose)
        if (iss, sub) == (access.principal.iss, access.principal.sub):
            raise self._refuse(access, GRANT, "grant_own")
        if role not in access.snapshot.roles:
            raise ConfigurationError(
                "no rule mentions the role that was to be given", hint="check its spelling"
            )
        if not 0 < seconds <= MOST_DAYS * _DAY:
            raise ConfigurationError(
                f"a grant is for 1 second to {MOST_DAYS} days", hint="for longer, change roles.csv"
            )
        row = self._row(access, GRANT, {role}, purpose, seconds, access.reason)
        row.update(iss=iss, sub=sub, given_by=access.principal.sub, uses_left=1 if once else None)
        return self._begin(access, row, "given")

    def use(self, access: Access, grant: str) -> Elevation:
        """The roles of a grant, for the access that begins; a use of it is gone then."""
        mine = (
            _C.elevation_id == _id(grant),
            _C.kind == GRANT,
            _C.tenant == access.tenant,
            _C.iss == access.principal.iss,
            _C.sub == access.principal.sub,
            _C.purpose == access.purpose,
        )
        now = int(time.time())
        with self._vault.key_connection(None) as connection:
            row = connection.execute(select(elevation).where(*mine)).first()
            if row is None:
                raise self._refuse(access, GRANT, "grant_unknown")
            lasting = update(elevation).where(*mine, _C.closed.is_(None), _C.ends > now)
            if row.uses_left is None:
                used = lasting.values(uses_left=None)
            else:
                used = lasting.where(_C.uses_left > 0).values(uses_left=_C.uses_left - 1)
            if connection.execute(used).rowcount != 1:
                raise self._refuse(access, GRANT, "grant_over")
        roles = frozenset(row.roles.split())
        self._tell(access, GRANT, "used", grant, roles)
        return Elevation(roles, time.monotonic() + row.ends - time.time(), "grant_over")

    def break_glass(self, access: Access, justification: str) -> Elevation:
        """The roles that the access's principal may take on in an emergency, told of first."""
        if not isinstance(justification, str) or len(justification.strip()) < SHORTEST:
            raise ConfigurationError(
                f"an emergency takes a justification of {SHORTEST} characters or more",
                hint="say what has happened, for the second person who will review it",
            )
        bundle = access.snapshot.bundle
        taken = [each for each in bundle.emergencies if each.role in bundle.held(access.roles)]
        if not taken:
            raise self._refuse(access, EMERGENCY, "emergency_not_allowed")
        roles = frozenset(each.takes for each in taken)
        seconds = 60 * min(each.minutes for each in taken)
        row = self._row(access, EMERGENCY, roles, access.purpose, seconds, justification)
        self._begin(access, row, "opened")
        _logger.warning(
            "an emergency access was opened for %s as %s: review it with "
            "`vaultlayer policy emergencies`", access.purpose, ", ".join(sorted(roles)),
        )  # fmt: skip
        return Elevation(roles, time.monotonic() + seconds, "emergency_over")

    def open(self, *, reviewed: bool = False) -> list[dict[str, Any]]:
        """The emergencies that wait for a review, the oldest first; or all of them."""
        wanted = select(elevation).where(_C.kind == EMERGENCY).order_by(_C.begins)
        if not reviewed:
            wanted = wanted.where(_C.closed.is_(None))
        with self._vault.key_connection(None) as connection:
            rows = connection.execute(wanted).mappings().all()
        return [{**row, "elevation_id": bytes(row["elevation_id"]).hex()} for row in rows]

    def review(self, emergency: str, verdict: str) -> None:
        """Close an emergency: by a second person, who may ``administer`` what it was for."""
        if not isinstance(verdict, str) or not verdict.strip():
            raise ConfigurationError("a review needs a verdict", hint="say what was found")
        self._close(EMERGENCY, emergency, "reviewed", verdict)

    def revoke(self, grant: str, why: str = "") -> None:
        """End a grant before its time; accesses that use it already go on until they close."""
        self._close(GRANT, grant, "revoked", why)

    def _close(self, kind: str, elevation_id: str, change: str, verdict: str) -> None:
        this = (_C.elevation_id == _id(elevation_id), _C.kind == kind)
        with self._vault.key_connection(None) as connection:
            row = connection.execute(select(elevation).where(*this)).first()
        if row is None or row.closed is not None:
            raise ConfigurationError(
                f"there is no open {kind} of this id", hint="`vaultlayer policy emergencies --all`"
            )
        access = self._acting(row.purpose)
        if access.tenant != row.tenant:
            raise self._refuse(access, kind, "tenant")
        actor = access.principal
        if kind == EMERGENCY and (actor.iss, actor.sub) == (row.iss, row.sub):
            raise self._refuse(access, kind, "review_own")
        self._tell(access, kind, change, elevation_id, row.roles.split())
        done = {
            "closed": int(time.time()),
            "closed_by": clip(actor.sub, 255),
            "verdict": clip(verdict.strip(), MOST_WORDS),
        }
        with self._vault.key_connection(None) as connection:
            connection.execute(update(elevation).where(*this, _C.closed.is_(None)).values(done))

    def _acting(self, purpose: str) -> Access:
        declared = self._vault.snapshot.bundle.purposes.get(purpose)
        if declared is None:
            raise ConfigurationError("the purpose is not declared", hint="see purposes.toml")
        return acting_for(None, "administer", "elevation", (purpose,), declared.categories)

    def _row(
        self, access: Access, kind: str, roles: Collection[str], purpose: str, seconds: int,
        why: str,
    ) -> dict[str, Any]:  # fmt: skip
        now = int(time.time())
        return {
            "elevation_id": uuid.uuid4().bytes,
            "kind": kind,
            "tenant": access.tenant,
            "iss": access.principal.iss,
            "sub": access.principal.sub,
            "roles": " ".join(sorted(roles)),
            "purpose": purpose,
            "why": clip(why.strip(), MOST_WORDS),
            "given_by": "",
            "begins": now,
            "ends": now + seconds,
            "uses_left": None,
        }

    def _begin(self, access: Access, row: dict[str, Any], change: str) -> str:
        """Log it, then store it: what is stored was told of."""
        elevation_id: str = row["elevation_id"].hex()
        self._tell(access, row["kind"], change, elevation_id, row["roles"].split())
        with self._vault.key_connection(None) as connection:
            connection.execute(insert(elevation).values(row))
        return elevation_id

    def _tell(
        self, access: Access, kind: str, change: str, elevation_id: str, roles: Collection[str]
    ) -> None:
        told = {"kind": kind, "change": change, "elevation": elevation_id, "took": sorted(roles)}
        self._vault.log.write("elevation", **access_context(access.told()), **told)

    def _refuse(self, access: Access, kind: str, reason: str) -> AccessDenied:
        told = {"kind": kind, "change": "refused", "reason_code": reason}
        self._vault.log.write("elevation", **access_context(access.told()), **told)
        return refusal("take on" if kind == GRANT else "have", kind, access.purpose, reason)


def _id(text: str) -> bytes:
    try:
        return uuid.UUID(text).bytes
    except (ValueError, TypeError, AttributeError):
        raise ConfigurationError(
            "this is no id of a grant or an emergency", hint="it has 32 hexadecimal digits"
        ) from None
