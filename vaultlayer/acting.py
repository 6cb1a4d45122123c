"""Access: a principal acting for a purpose, from ``with vault.access(...)`` to its end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from vaultlayer.access.context import CURRENT, PINNED, no_access
from vaultlayer.access.grants import NO_REF, Grant, refusal
from vaultlayer.access.snapshot import Decision
from vaultlayer.audit.event import trace_id as current_trace
from vaultlayer.errors import ConfigurationError
from vaultlayer.orm import batch, loading

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextvars import Token
    from types import TracebackType

    from sqlalchemy.orm import Session

    from vaultlayer.access.principal import Principal
    from vaultlayer.access.snapshot import Snapshot
    from vaultlayer.audit.journal import Journal
    from vaultlayer.errors import AccessDenied
    from vaultlayer.keys.keyring import SubjectKey
    from vaultlayer.orm.field import Field
    from vaultlayer.vault import Vault


class Access:
    """One principal acting for one purpose; a context manager, used once.

    Get it from ``vault.access()``. Everything read, written and refused through it carries its
    purpose and reason in the audit log, which receives the records when the block ends.
    """

    __slots__ = (
        "__weakref__",
        "_context",
        "_entered",
        "_number",
        "_session",
        "_token",
        "_trace",
        "cached_keys",
        "closed",
        "deadline",
        "grants",
        "journal",
        "last",
        "principal",
        "purpose",
        "snapshot",
        "tenant",
        "vault",
    )

    def __init__(
        self,
        vault: Vault,
        principal: Principal,
        purpose: str,
        *,
        reason: str = "",
        session: Session | None = None,
        request_id: str = "",
        trace_id: str = "",
    ) -> None:
        self.vault: Vault = vault
        self.principal: Principal = principal
        self.purpose: str = purpose
        self.tenant: str = principal.tenant or ""
        self.snapshot: Snapshot = vault.snapshot
        self.cached_keys: dict[bytes, SubjectKey] = vault.keys.cached
        self.journal: Journal = vault.journal
        self.grants: dict[Any, Grant] = {}
        # The subject read last, how its plain envelopes begin, their key and place, and until
        # when these may be used without a new look.
        self.last: tuple[Any, Any, Any, bytes, float] = _NOBODY
        self.deadline: float = _deadline(principal)
        self.closed: bool = True
        self._entered = False
        self._session = session
        self._token: Token[Access | None] | None = None
        self._number: int | None = None
        self._context = {"purpose": purpose, "reason": reason, "request": request_id}
        self._trace = trace_id

    def __repr__(self) -> str:
        return f"<Access for {self.purpose!r}{' closed' if self.closed else ''}>"

    def __enter__(self) -> Access:
        if self._entered:
            raise ConfigurationError(
                "an access is used once", hint="ask vault.access() for a new one"
            )
        if self._session is None:
            self._token = CURRENT.set(self)
        elif self._session.hash_key in PINNED:
            raise ConfigurationError(
                "the session already has an access pinned to it",
                hint="end that access first, or use another session",
            )
        else:
            PINNED[self._session.hash_key] = self
        self._entered, self.closed = True, False
        self.vault.accesses.add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.end()
        finally:
            if self._token is not None:
                CURRENT.reset(self._token)

    def end(self) -> None:
        """End the access before its ``with`` block does; any thread may. Later use is refused."""
        if self.closed:
            return
        self.closed = True
        self.grants.clear()
        self.last = _NOBODY
        self.vault.accesses.discard(self)
        if self._session is not None:
            PINNED.pop(self._session.hash_key, None)
        if self._number is not None:
            self.journal.close_access(self._number)

    def reveal(self, rows: Any, *fields: Any) -> list[Any]:
        """Open a batch: one decision a field, one record for all.

        :param rows: mapped instances, or one of them.
        :param fields: attributes such as ``Customer.name``.
        :returns: a value per row for one field, a tuple per row for several; None where the
            row has none, ``Masked`` where the rules say mask.
        :raises AccessDenied: if any of the fields is refused; nothing is opened then.
        """
        opened = batch.reveal(self, rows, fields)
        return [values[0] for values in opened] if len(fields) == 1 else opened

    def prefetch(self, rows: Iterable[Any]) -> None:
        """Fetch the keys of loaded rows, so that reading them later does no I/O.

        Needed only with AsyncSession, for rows that were loaded before the access began:
        ``await session.run_sync(lambda _: access.prefetch(rows))``.
        """
        loading.prefetch(self, batch.as_rows(rows))

    def grant(self, field: Field, action: str) -> Grant:
        """Decide one field and action, once for this access and policy snapshot."""
        if self.closed:
            raise no_access(f"{action} of {field.label}")
        key = field if action == "read" else (field, action)
        known = self.grants.get(key)
        if known is None:
            known = self.grants[key] = self._decide(field, action)
            if self.snapshot is not self.vault.snapshot:  # reloaded meanwhile: decide anew
                self.forget()
                return self.grant(field, action)
        return known

    def forget(self) -> None:
        """Drop every grant: the policy was reloaded."""
        self.snapshot = self.vault.snapshot
        self.grants.clear()

    def forget_key(self) -> None:
        """Drop the key read with last: it may have been destroyed."""
        self.last = _NOBODY

    def refuse(self, grant: Grant, refs: Sequence[bytes] = (NO_REF,)) -> AccessDenied:
        """Journal a refusal and return its error: a denied grant, or else an expired token."""
        reason = grant.reason if grant.denied else "token_expired"
        return self.refused(grant.field, grant.action, reason, refs)

    def refused(
        self, field: Field, action: str, reason: str, refs: Sequence[bytes] = (NO_REF,)
    ) -> AccessDenied:
        """Journal that ``action`` was refused for ``reason`` and return the error."""
        prefix = self.spec(field.entity, (field.name,), action, "deny", reason)
        self.journal.append_many(prefix, refs)
        return refusal(action, field, self.purpose, reason)

    def record(self, event: str, **fields: object) -> None:
        """Write an event of this access into the log now; AuditUnavailable when it can't be."""
        told = self.journal._accesses[self._journal_number()].context
        self.vault.log.write(event, **told, **fields)

    def spec(
        self, entity: str, fields: Sequence[str], action: str, effect: str, reason: str
    ) -> bytes:
        """The journal's prefix for records of this kind."""
        number = self._journal_number()
        return self.journal.spec(number, entity, fields, action, effect, reason)

    def _decide(self, field: Field, action: str) -> Grant:
        decision = self.snapshot.decide(
            self.principal.roles, field.label, field.category, action, self.purpose
        )
        if decision.needs_consent and decision.effect != "deny":
            decision = Decision("deny", "consent_missing")  # no ledger yet: nobody has consented
        prefix = self.spec(field.entity, (field.name,), action, decision.effect, decision.reason)
        return Grant(field, action, decision, prefix, self.tenant)

    def _journal_number(self) -> int:
        if self._number is None:
            actor, purpose = self.principal, self.snapshot.bundle.purposes.get(self.purpose)
            self._number = self.journal.open_access(
                {
                    "actor": {
                        "iss": actor.iss,
                        "sub": actor.sub,
                        "client": actor.client,
                        "token": actor.token,
                        "roles": sorted(actor.roles),
                        "tenant": actor.tenant or "",
                    },
                    "basis": purpose.basis if purpose else "",
                    "policy": self.snapshot.digest,
                    "trace": current_trace() or self._trace,
                    **self._context,
                }
            )
        return self._number


_NOBODY = (object(), None, None, b"", 0.0)


def _deadline(principal: Principal) -> float:
    """The monotonic time at which the principal's token ends; infinity without one."""
    if principal.expires is None:
        return float("inf")
    return time.monotonic() + (principal.expires - time.time())
