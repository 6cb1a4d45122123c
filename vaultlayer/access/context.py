"""Which access is acting now: the one pinned to a row's session, else the context variable."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from vaultlayer.errors import NoAccess

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from vaultlayer.acting import Access

CURRENT: ContextVar[Access | None] = ContextVar("vaultlayer_access", default=None)

# The connection whose statement is being sent: a blind index is hashed while its parameters are
# bound, and that may need the index key from the database.
EXECUTING: ContextVar[ref[Connection] | None] = ContextVar("vaultlayer_executing", default=None)

# Session.hash_key -> the access pinned to that session. Pinning wins over the context
# variable, so a session handed to one principal never answers another.
PINNED: dict[int, Access] = {}

# The session behind a connection, noted when its transaction begins.
SESSIONS: WeakKeyDictionary[Connection, ref[Session]] = WeakKeyDictionary()


def acting(session: Session | None) -> Access | None:
    """The access that acts in ``session`` or, without one, in this context."""
    if PINNED and session is not None:
        return PINNED.get(session.hash_key) or CURRENT.get()
    return CURRENT.get()


def acting_on(connection: Connection) -> Access | None:
    """The access that acts on a connection, by the session it serves."""
    session = SESSIONS.get(connection)
    return acting(session() if session is not None else None)


def executing() -> tuple[Access | None, Any]:
    """The access and connection of the statement being sent now."""
    noted = EXECUTING.get()
    connection = noted() if noted is not None else None
    return (CURRENT.get(), None) if connection is None else (acting_on(connection), connection)


def no_access(what: str) -> NoAccess:
    return NoAccess(
        f"{what} without an access",
        hint="do it inside `with vault.access(principal, purpose=...):`",
    )
