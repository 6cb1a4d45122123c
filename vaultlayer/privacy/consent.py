"""The ledger of consents and objections: what each person said about each purpose, and when.

Append-only, in the vault's database (``vaultlayer_standing``): the latest row of a person and a
purpose counts from the next decision on. Each change is an event of the audit log as well, with
a digest of its row, so that a row changed afterwards is found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import event, select

from vaultlayer import said as st
from vaultlayer.access.words import OBJECTABLE
from vaultlayer.errors import ConfigurationError
from vaultlayer.ledgers import standing
from vaultlayer.privacy import ledger
from vaultlayer.privacy.acting import acting_for, check_texts, key_of, ref_of
from vaultlayer.privacy.only_for import erase_only_for
from vaultlayer.watch import CONSENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from vaultlayer.access.words import Purpose
    from vaultlayer.acting import Access
    from vaultlayer.vault import Vault

_SAID = {
    "ask": st.ASKED, "grant": st.GRANTED, "refuse": st.REFUSED, "withdraw": st.WITHDRAWN,
    "object": st.OBJECTED, "restrict": st.RESTRICTED, "lift": st.FREE,
}  # fmt: skip
_C = standing.c
_TOLD = (
    "purpose", "said", "state", "text_version", "channel", "proof", "recorded", "recorded_by"
)  # fmt: skip
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

    def ask(self, subject_id: UUID, purpose: str, **how: Any) -> None:
        """The person was asked, and shown this text. What they said before goes on counting."""
        self._record("ask", subject_id, purpose, **how)

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
        """The person objects (GDPR article 21): what may go on without consent stops too.

        What is kept of them for this purpose alone, by its category, is erased with it.
        """
        basis = self._purpose(purpose).basis
        if basis not in OBJECTABLE:
            raise ConfigurationError(
                f"{purpose} rests on {basis}, to which nobody can object",
                hint="tell the person so; restricting their data may be what they need",
            )
        self._record("object", subject_id, purpose, **how)

    def state(self, subject_id: UUID, purpose: str, *, session: Any = None) -> str:
        """``granted``, ``refused``, ``withdrawn``, ``objected``, ``asked``, or "" for none."""
        self._purpose(purpose)
        latest = (
            select(_C.state)
            .where(_C.subject == subject_id.bytes, _C.purpose == purpose)
            .order_by(_C.number.desc())
            .limit(1)
        )
        with self._vault.key_connection(getattr(session, "sync_session", session)) as connection:
            return str(connection.scalar(latest) or "")

    def history(self, subject_id: UUID, *, session: Any = None) -> list[dict[str, Any]]:
        """All that was said for one person, oldest first: ``purpose`` ("" for a restriction),
        ``said``, ``state`` since then, ``text_version``, ``channel``, ``proof``, ``recorded``
        (Unix seconds) and ``recorded_by``."""
        columns = [_C[name] for name in _TOLD]
        mine = select(*columns).where(_C.subject == subject_id.bytes)
        ordered = mine.order_by(_C.recorded, _C.purpose, _C.number)
        with self._vault.key_connection(getattr(session, "sync_session", session)) as connection:
            return [dict(row) for row in connection.execute(ordered).mappings()]

    def _record(self, said: str, subject_id: UUID, purpose: str, **how: Any) -> None:
        known = self._purpose(purpose)
        say(self._vault, said, subject_id, purpose, known.categories, **how)

    def _purpose(self, name: str) -> Purpose:
        purposes = self._vault.snapshot.bundle.purposes
        if name not in purposes:
            raise ConfigurationError(
                "the purpose is not declared", hint=f"use one of {', '.join(sorted(purposes))}"
            )
        return purposes[name]


def say(
    vault: Vault,
    said: str,
    subject_id: UUID,
    purpose: str,
    categories: Iterable[str],
    *,
    text_version: str = "",
    channel: str = "",
    proof: str = "",
    session: Any = None,
) -> None:
    """Append what was said for a person of a purpose ("" for all), and have it count."""
    if not isinstance(subject_id, UUID):
        raise ConfigurationError("a subject_id is a UUID", hint="give the row's subject_id")
    how = {"text_version": text_version, "channel": channel, "proof": proof}
    check_texts(how, _MOST)
    session = getattr(session, "sync_session", session)
    what = "consent" if purpose else "restriction"
    access = acting_for(session, "administer", what, (purpose or what,), categories)
    with vault.key_connection(session) as connection:
        row = _add(access, connection, said, subject_id.bytes, purpose, how, session)
    _have_it_count(vault, session, row)
    if said == "object":
        erase_only_for(vault, access, subject_id, purpose, session)


def _add(
    access: Access,
    connection: Connection,
    said: str,
    subject: bytes,
    purpose: str,
    how: dict[str, str],
    session: Session | None,
) -> dict[str, Any]:
    key = key_of(access, connection, subject)

    def make(before: Mapping[str, Any] | None) -> dict[str, Any]:
        state = _after(before["state"] if before else "", said)
        return {"tenant": key.tenant, "said": said, "state": state, **how}

    of = {"subject": subject, "purpose": purpose}
    row = ledger.append(access, connection, standing, of, make)
    told = {name: text for name, text in how.items() if text and name != "proof"}
    name = "consent" if purpose else "restriction"
    about = {"about": purpose} if purpose else {}
    ledger.tell(
        access, session, name, row,
        refs=[ref_of(key)], change=said, state=row["state"], **about, **told,
    )  # fmt: skip
    return row


def _have_it_count(vault: Vault, session: Session | None, row: dict[str, Any]) -> None:
    """Here at once, in other processes as soon as they hear of it."""
    person = row["subject"].hex()
    if session is None:
        vault.standing.note(row["subject"], row["purpose"], row["number"], row["state"])
        vault.watch.publish(CONSENT, person)
        return
    vault.standing.forget(person)  # the session itself sees it before the commit

    def ended(*_: Any) -> None:
        vault.watch.publish(CONSENT, person)

    for name in ("after_commit", "after_soft_rollback"):
        event.listen(session, name, ended, once=True)


def _after(state: str, said: str) -> str:
    """An objection lasts until the person agrees; being asked again changes nothing said."""
    if said == "ask":
        return state or st.ASKED
    return st.OBJECTED if state == st.OBJECTED and said != "grant" else _SAID[said]
