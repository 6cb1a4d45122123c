"""Which access is acting now: the one pinned to a row's session, else the context variable."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from vaultlayer.errors import NoAccess

if TYPE_CHECKING:
    from vaultlayer.acting import Access

CURRENT: ContextVar[Access | None] = ContextVar("vaultlayer_access", default=None)

# Session.hash_key -> the access pinned to that session. Pinning wins over the context
# variable, so a session handed to one principal never answers another.
PINNED: dict[int, Access] = {}


def acting(session: Any = None) -> Access | None:
    """The access that acts in ``session`` (a sync Session) or, without one, in this context."""
    if PINNED and session is not None:
        return PINNED.get(session.hash_key) or CURRENT.get()
    return CURRENT.get()


def require(session: Any, what: str) -> Access:
    """``acting()``, or ``NoAccess`` that says what was attempted."""
    access = acting(session)
    if access is None:
        raise no_access(what)
    return access


def no_access(what: str) -> NoAccess:
    return NoAccess(
        f"{what} without an access",
        hint="do it inside `with vault.access(principal, purpose=...):`",
    )
