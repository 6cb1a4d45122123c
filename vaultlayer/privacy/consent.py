"""The ledger of consents and objections: what each person said about each purpose, and when.

Append-only, in the vault's database (``vaultlayer_standing``): the latest row of a person and a
purpose counts from the next decision on. Each change is an event of the audit log as well, with
a digest of its row, so that a row changed afterwards is found.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import Connection, event, select

from vaultlayer import standing as st
from vaultlayer.access.words import OBJECTABLE
from vaultlayer.audit.event import canonical, clip
from vaultlayer.errors import ConfigurationError
from vaultlayer.keys import tables
from vaultlayer.ledgers import standing
from vaultlayer.privacy.acting import acting_for, key_of, ref_of
from vaultlayer.watch import CONSENT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy.orm import Session

    from vaultlayer.access.words import Purpose
    from vaultlayer.acting import Access
    from vaultlayer.vault import Vault

_SAID = {
    "grant": st.GRANTED, "refuse": st.REFUSED, "withdraw": st.WITHDRAWN, "object": st.OBJECTED
}  # fmt: skip
_C = standing.c
_MOST = {"text_version": 64, "channel": 64, "proof": 255}


class Consent:
    """``vault.consent``. Every method needs an access that may ``administer`` the categories of
    the purpose in question, and records who said what, and when.

    ``text_version`` is that of the text the person was shown, ``channel`` how they answered
    (``web``, ``letter``), ``proof`` where the evidence lies: a reference, never the evidence
    itself. With ``session`` it belongs to that session's transaction, else to one of its own.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def grant(self, subject_id: UUID, purpose: str, **how: Any) -> None:
        """The person agrees to the purpose; an earlier objection to it ends."""
        self._record("grant", subject_id, purpose, **how)

    def refuse(self, subject_id: UUID, purpose: str, **how: Any) -> None:
        """The person was asked, and says no."""
        self._record("refuse", subject_id, purpose, **how)

    def withdraw(self, subject_id: UUID, purpose: str, **how: Any) -> None:
        """The person takes their consent back."""
        self._record("withdraw", subject_id, purpose, **how)

    def object(self, subject_id: UUID, purpose: str, **how: Any) -> None:
        """The person objects (GDPR article 21): what may go on without consent stops too."""
        basis = self._purpose(purpose).basis
        if basis not in OBJECTABLE:
            raise ConfigurationError(
                f"{purpose} rests on {basis}, to which nobody can object",
                hint="tell the person so; restricting their data may be what they need",
            )
        self._record("object", subject_id, purpose, **how)

    def state(self, subject_id: UUID, purpose: str, *, session: Any = None) -> str:
        """``granted``, ``refused``, ``withdrawn``, ``objected``, or "" for never asked."""
        self._purpose(purpose)
        with self._connection(session) as connection:
            return _latest(connection, subject_id.bytes, purpose)[1]

    def _record(
        self,
        said: str,
        subject_id: UUID,
        purpose: str,
        *,
        text_version: str = "",
        channel: str = "",
        proof: str = "",
        session: Any = None,
    ) -> None:
        categories = self._purpose(purpose).categories
        if not isinstance(subject_id, UUID):
            raise ConfigurationError("a subject_id is a UUID", hint="give the row's subject_id")
        how = {"text_version": text_version, "channel": channel, "proof": proof}
        for name, text in how.items():
            if not isinstance(text, str) or len(text) > _MOST[name] or not text.isprintable():
                raise ConfigurationError(
                    f"{name} is not a text of at most {_MOST[name]} characters",
                    hint="give a reference to it, not the thing itself",
                )
        session = getattr(session, "sync_session", session)
        access = acting_for(session, "administer", "consent", (purpose,), categories)
        with self._connection(session) as connection:
            row = self._add(access, connection, said, subject_id.bytes, purpose, how)
        self._tell(session, row)

    def _add(
        self,
        access: Access,
        connection: Connection,
        said: str,
        subject: bytes,
        purpose: str,
        how: dict[str, str],
    ) -> dict[str, Any]:
        """Append the row, and tell of it in the log first."""
        key = key_of(access, connection, subject)
        before = _latest(connection, subject, purpose)
        while True:
            row = {
                "subject": subject,
                "purpose": purpose,
                "number": before[0] + 1,
                "tenant": key.tenant,
                "state": _after(before[1], said),
                **how,
                "recorded": int(time.time()),
                "recorded_by": clip(access.principal.sub, 255),
            }
            insert = tables.insert_if_absent(connection.dialect, standing).values(row)
            if connection.execute(insert.execution_options(preserve_rowcount=True)).rowcount:
                break
            look = tables.as_of_now(connection.dialect, _history(subject, purpose))
            before = _last(connection, look)  # another was first
        access.record(
            "consent",
            refs=[ref_of(key)],
            change=said,
            about=purpose,
            state=row["state"],
            number=row["number"],
            row=digest(row),
            **{name: text for name, text in how.items() if text and name != "proof"},
        )
        return row

    def _tell(self, session: Session | None, row: dict[str, Any]) -> None:
        """Have it count: here at once, in other processes as soon as they hear of it."""
        vault, person = self._vault, row["subject"].hex()
        if session is None:
            vault.standing.note(row["subject"], row["purpose"], row["number"], row["state"])
            vault.watch.publish(CONSENT, person)
            return
        vault.standing.forget()  # the session itself sees it before the commit

        def ended(*_: Any) -> None:
            vault.watch.publish(CONSENT, person)

        for name in ("after_commit", "after_soft_rollback"):
            event.listen(session, name, ended, once=True)

    @contextmanager
    def _connection(self, session: Any) -> Iterator[Connection]:
        session = getattr(session, "sync_session", session)
        with self._vault.key_connection(session) as connection:
            yield connection

    def _purpose(self, name: str) -> Purpose:
        purposes = self._vault.snapshot.bundle.purposes
        if name not in purposes:
            raise ConfigurationError(
                "the purpose is not declared", hint=f"use one of {', '.join(sorted(purposes))}"
            )
        return purposes[name]


def digest(row: Mapping[str, Any]) -> str:
    """SHA-256 of a row's canonical JSON, bytes in hexadecimal: what its event in the log holds."""
    told = {name: value.hex() if isinstance(value, bytes) else value for name, value in row.items()}
    return hashlib.sha256(canonical(told)).hexdigest()


def _after(state: str, said: str) -> str:
    """An objection lasts until the person agrees to the purpose."""
    return st.OBJECTED if state == st.OBJECTED and said != "grant" else _SAID[said]


def _history(subject: bytes, purpose: str) -> Any:
    return (
        select(_C.number, _C.state)
        .where(_C.subject == subject, _C.purpose == purpose)
        .order_by(_C.number.desc())
        .limit(1)
    )


def _latest(connection: Connection, subject: bytes, purpose: str) -> tuple[int, str]:
    return _last(connection, _history(subject, purpose))


def _last(connection: Connection, statement: Any) -> tuple[int, str]:
    row = connection.execute(statement).first()
    return (row.number, row.state) if row is not None else (0, "")
