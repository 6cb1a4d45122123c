"""Access: a principal acting for a purpose, from ``with vault.access(...)`` to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vaultlayer.access.context import CURRENT, PINNED
from vaultlayer.actor import deadline_of, told_of
from vaultlayer.audit.event import trace_id as current_trace
from vaultlayer.audit.slots import texts
from vaultlayer.crypto.refusals import damaged
from vaultlayer.deciding import NOBODY, Deciding
from vaultlayer.errors import ConfigurationError, IntegrityError
from vaultlayer.orm import batch, fetching
from vaultlayer.orm.sorting import in_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextvars import Token
    from datetime import date
    from types import TracebackType

    from sqlalchemy.orm import Session

    from vaultlayer.access.principal import Principal
    from vaultlayer.keys.keyring import SubjectKey
    from vaultlayer.orm.field import Field
    from vaultlayer.orm.sorting import Collation
    from vaultlayer.privacy.disclosing import Package
    from vaultlayer.privacy.elevation import Elevation
    from vaultlayer.vault import Vault


class Access(Deciding):
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
        "decoys",
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
        vault.policies.look()
        self.vault = vault
        self.principal = principal
        self.purpose = purpose
        self.tenant = principal.tenant or ""
        self.roles = principal.roles
        self.snapshot = vault.snapshot
        self.cached_keys: dict[bytes, SubjectKey] = vault.keys.cached
        self.journal = vault.journal
        self.decoys: set[bytes] = vault.audit.honeytokens.marked  # subjects nobody should open
        self._ends, self._over = deadline_of(principal), "token_expired"
        self.closed = True
        self.begin()
        self._entered = False
        self._session = session
        self._token: Token[Access | None] | None = None
        self._number: int | None = None
        self._context = {"purpose": purpose, "reason": reason, "request": request_id}
        self._trace = trace_id

    def __repr__(self) -> str:
        return f"<Access for {self.purpose!r}{' closed' if self.closed else ''}>"

    @property
    def reason(self) -> str:
        """Why, in the application's words."""
        return self._context["reason"]

    def elevate(self, elevation: Elevation) -> None:
        """Take on more roles, until they end."""
        self.roles |= elevation.roles
        if elevation.ends < self._ends:
            self._ends, self._over = elevation.ends, elevation.over
        self.begin()

    def __enter__(self) -> Access:
        if self._entered:
            raise ConfigurationError(
                "an access is used once", hint="ask vault.access() for a new one"
            )
        self.vault.begin_audit()
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
        self.last = NOBODY
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

    def sorted(
        self, statement: Any, *fields: Any, limit: int, session: Any = None,
        collation: Collation = "unicode", descending: bool = False,
    ) -> list[Any]:  # fmt: skip
        """The rows of ``select(Customer)…`` in the order of sealed fields; NULLs come last.

        Every row is opened for it: one decision a field, one record for all, as ``reveal``.

        :param limit: how many rows may be opened at most; with more the call is refused.
        :param session: where to execute it, unless the access is pinned to one.
        :param collation: ``unicode`` (letters, then accents, then case), ``binary``, or a
            function from a value to its sort key.
        """
        using = getattr(session, "sync_session", session) or self._session
        if using is None:
            raise ConfigurationError("sorted() needs a session", hint="pass session=session")
        return in_order(self, using, statement, fields, limit, collation, descending)

    def disclose(
        self, subjects: Any, fields: Sequence[Any], *, recipient: str, reason: str,
        basis: str = "", kind: str = "processor", reference: str = "", public_key: str = "",
        withhold: str = "", review: date | None = None, session: Any = None,
    ) -> Package:  # fmt: skip
        """Give fields of people to somebody: a package for their key, in the ledger first.

        :param subjects: rows that have a ``subject_id``, or such ids.
        :param kind: consent, processor, internal, judicial, legal, government (disclosure.md).
        :param recipient: a processor of processors.toml, or for the other kinds a name.
        :param basis: of GDPR article 6; else the purpose's, or the law's where that compels it.
        :param withhold: why the law forbids to tell the people; ``review``: until when.
        """
        return self.vault.disclosures.make(
            self, subjects, fields, recipient=recipient, reason=reason, basis=basis, kind=kind,
            reference=reference, public_key=public_key, withhold=withhold, review=review,
            session=session or self._session,
        )  # fmt: skip

    def prefetch(self, rows: Iterable[Any]) -> None:
        """Fetch the keys of loaded rows, so that reading them later does no I/O.

        Needed only with AsyncSession, for rows that were loaded before the access began:
        ``await session.run_sync(lambda _: access.prefetch(rows))``.
        """
        fetching.prefetch(self, batch.as_rows(rows))

    def can(self, attribute: Any, of: Any = None, *, action: str = "read") -> bool:
        """Whether the access may do this, masked readings included; nothing is opened for it.

        :param attribute: such as ``Customer.email``.
        :param of: a loaded row, to ask about its person too (consent, restriction, region).
        """
        return self.deny_reason(attribute, of, action=action) is None

    def deny_reason(
        self, attribute: Any, of: Any = None, *, action: str = "read"
    ) -> str | None:
        """The stable code with which it would be refused; None if it wouldn't be."""
        return batch.deny_reason(self, attribute, of, action)

    def record(self, event: str, **fields: object) -> None:
        """Write an event of this access into the log now; AuditUnavailable when it can't be."""
        self.vault.log.write(event, **self.journal.context(self._records()), **fields)

    def damaged(self, field: Field, refs: Sequence[bytes]) -> IntegrityError:
        """Journal that these people's values may be read and didn't open; return the error."""
        self.failed(field, "read", IntegrityError.code, refs)
        return damaged()

    def alarm(self, field: Field, ref: bytes) -> None:
        """Tell at once that a decoy is being opened; AuditUnavailable, and it stays closed."""
        told = {"entity": field.entity, "fields": [field.name], "refs": texts([ref])}
        self.record("alarm", alarm="honeytoken", **told)

    def try_shadow(self, field: Field, action: str) -> None:
        """Record what a candidate bundle would have decided, where that differs."""
        self.vault.governing.try_shadow(self, field, action)

    def _records(self) -> int:
        if self._number is None:
            self._number = self.journal.open_access(self.told())
        return self._number

    def _end_records(self) -> None:
        if self._number is not None:
            number, self._number = self._number, None
            self.journal.close_access(number)

    def told(self) -> dict[str, Any]:
        """Who acts, and for what, as the audit log tells it."""
        return {**told_of(self), "trace": current_trace() or self._trace, **self._context}
