"""``vault.requests``: what people ask for (GDPR articles 15 to 22), and what becomes of it.

Each step is a row of ``vaultlayer_request`` and a leaf of the log; the latest row is the state.
A request about a person nobody knows is taken, shown and answered like any other, so that the
answer tells nobody whether there is such a person.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import select

from vaultlayer.errors import ConfigurationError, KeyUnavailable
from vaultlayer.keys import tables
from vaultlayer.keys.states import ERASED
from vaultlayer.ledgers import MOST_TOLD
from vaultlayer.ledgers import request as table
from vaultlayer.privacy import ledger
from vaultlayer.privacy.acting import (
    acting_for,
    acting_for_some,
    categories_of,
    check_texts,
    ref_of,
)
from vaultlayer.privacy.request import (
    CODES,
    COMPLETED,
    IDENTIFIED,
    KINDS,
    OPEN,
    RECEIVED,
    REFUSED,
    Request,
    check_step,
    months_later,
    request_of,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import Connection

    from vaultlayer.acting import Access
    from vaultlayer.vault import Vault

_C = table.c
_NOBODYS = bytes(16)  # a key id that no key has
_MOST = {"channel": 64, "proof": 255, "text": MOST_TOLD}


class Requests:
    """``vault.requests``. Opening one needs an access that may ``administer`` something of its
    purpose; all that follows needs one that may ``administer`` all of its purpose's categories."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def open(
        self, subject_id: UUID, kind: str, *, channel: str = "", received: datetime | None = None
    ) -> Request:
        """File a request; its deadline is the settings' (``[requests] months``, 1) from when it
        was received (with a time zone; now without one).

        :param kind: ``access``, ``rectification``, ``erasure``, ``restriction``, ``objection`` or
            ``portability``.
        """
        if kind not in KINDS:
            raise ConfigurationError("no such kind of request", hint=f"use {', '.join(KINDS)}")
        if not isinstance(subject_id, UUID):
            raise ConfigurationError("a subject_id is a UUID", hint="give the row's subject_id")
        at = received or datetime.now(UTC)
        if at.tzinfo is None:
            raise ConfigurationError("received has no time zone", hint="give it one, e.g. UTC")
        first = {
            "subject": subject_id.bytes, "kind": kind, "received": int(at.timestamp()),
            "due": int(months_later(at, self._vault.settings.request_months).timestamp()),
        }  # fmt: skip
        return self._step(uuid.uuid4(), "open", RECEIVED, first, channel=channel)

    def identify(self, request_id: UUID, *, proof: str, channel: str = "") -> Request:
        """Note that whoever asked is who they say; ``proof``: where that can be seen."""
        if not proof:
            raise ConfigurationError("an identity check has a proof", hint="say how it was checked")
        return self._step(request_id, "identify", IDENTIFIED, channel=channel, proof=proof)

    def extend(self, request_id: UUID, *, text: str, months: int = 2) -> Request:
        """Put the deadline off (GDPR article 12(3): by two months at most), and say why."""
        if months not in (1, 2) or not text:
            raise ConfigurationError(
                "a deadline is put off by one or two months, with a reason",
                hint="write what the person is told in text",
            )
        return self._step(request_id, "extend", None, months=months, text=text)

    def refuse(
        self, request_id: UUID, *, code: str, text: str, items: Iterable[str] = ()
    ) -> Request:
        """Refuse a request, or some ``items`` of it: fields such as ``customer.notes``, or
        categories. The rest of it goes on then, and the report shows each with its reason.

        :param code: one of ``vaultlayer.privacy.request.CODES``.
        :param text: why, in the words that the person is told.
        """
        if code not in CODES or not text.strip():
            raise ConfigurationError(
                "a refusal has a reason's code and a text for the person",
                hint=f"code is one of {', '.join(CODES)}",
            )
        chosen = " ".join(items)
        if len(chosen) > 1024:
            raise ConfigurationError("too many items at once", hint="refuse them in several steps")
        step, state = ("withhold", None) if chosen else ("refuse", REFUSED)
        return self._step(request_id, step, state, code=code, text=text, items=chosen)

    def complete(self, request_id: UUID, *, proof: str = "", channel: str = "") -> Request:
        """Note that it was carried out; whoever asked must have been identified.

        :param proof: what shows it: an erasure's id, a report's SHA-256.
        """
        return self._step(request_id, "complete", COMPLETED, channel=channel, proof=proof)

    def get(self, request_id: UUID) -> Request:
        """One request; ConfigurationError where there is none of this id."""
        found = self._found(_C.request_id == request_id.bytes)
        if not found:
            raise _none()
        return found[0]

    def of(self, subject_id: UUID) -> list[Request]:
        """A person's requests, oldest first."""
        return self._found(_C.subject == subject_id.bytes)

    def all(self, *, open_only: bool = False) -> list[Request]:
        """All of them, the next due first."""
        found = self._found(_C.number > 0)
        return sorted((r for r in found if not open_only or r.state in OPEN), key=lambda r: r.due)

    def overdue(self, at: datetime | None = None) -> list[Request]:
        """Those still open after their deadline."""
        return [each for each in self.all(open_only=True) if each.is_overdue(at)]

    def history(self, subject_id: UUID) -> list[dict[str, Any]]:
        """Every step of a person's requests, as it was filed."""
        mine = select(table).where(_C.subject == subject_id.bytes)
        with self._vault.key_connection(None) as connection:
            return [dict(row) for row in connection.execute(_ordered(mine)).mappings()]

    def _found(self, where: Any) -> list[Request]:
        found: dict[bytes, list[Any]] = {}
        with self._vault.key_connection(None) as connection:
            for row in connection.execute(_ordered(select(table).where(where))):
                found.setdefault(bytes(row.request_id), []).append(row)
        return [request_of(rows) for rows in found.values()]

    def _step(
        self,
        request_id: UUID,
        step: str,
        state: str | None,
        first: Mapping[str, Any] | None = None,
        *,
        months: int = 0,
        code: str = "",
        text: str = "",
        items: str = "",
        channel: str = "",
        proof: str = "",
    ) -> Request:
        check_texts({"channel": channel, "proof": proof, "text": text}, _MOST)
        vault = self._vault
        access = self._may(step)
        rules = vault.governing.in_force()
        version, digest = (
            (rules.version, rules.digest)
            if rules is not None
            else (access.snapshot.bundle.version.number, access.snapshot.digest)
        )
        told = {"step": step, "code": code, "words": text, "items": items, "channel": channel}

        def make(before: Mapping[str, Any] | None) -> dict[str, Any]:
            base = before or first
            if base is None:
                raise _none()
            if before is not None:
                check_step(step, before["state"])
            due = datetime.fromtimestamp(base["due"], UTC)
            row = {name: base[name] for name in ("subject", "kind", "received")}
            row["due"] = int(months_later(due, months).timestamp())
            row |= {"tenant": access.tenant, "state": state or base["state"], **told}
            return {**row, "proof": proof, "version": version, "policy": digest}

        with vault.key_connection(None) as connection:
            of = {"request_id": request_id.bytes}
            row = ledger.append(access, connection, table, of, make)
            refs = _refs(vault, access, connection, bytes(row["subject"]))
            day = datetime.fromtimestamp(row["due"], UTC).date().isoformat()
            why = {"reason_code": code} if code else {}
            ledger.tell(
                access, None, "request", row, refs=refs, subject_request=request_id.hex,
                kind=row["kind"], change=step, state=row["state"], due=day, **why,
            )  # fmt: skip
        return self.get(request_id)

    def _may(self, step: str) -> Access:
        if step == "open":
            return acting_for_some(None, "request", step, self._vault)
        return acting_for(None, "administer", "request", (step,), categories_of(self._vault, None))


def _refs(vault: Vault, access: Access, connection: Connection, subject: bytes) -> list[str]:
    """The person's pseudonym for the log; nothing where nobody, or nobody any more, has the id.

    Both are asked for alike, so that the time it takes doesn't tell whether somebody is known.
    """
    key = tables.subject_key.c
    mine = (
        select(key.key_id)
        .where(key.subject == subject, key.tenant.in_(["", access.tenant]), key.state != ERASED)
        .order_by(key.generation.desc())
        .limit(1)
    )
    key_id = bytes(connection.scalar(mine) or _NOBODYS)
    try:
        return [ref_of(each) for each in vault.keys.fetch_anew(connection, [key_id]).values()]
    except KeyUnavailable:
        if key_id == _NOBODYS:
            return []
        raise


def _ordered(statement: Any) -> Any:
    return statement.order_by(_C.received, _C.request_id, _C.number)


def _none() -> ConfigurationError:
    return ConfigurationError(
        "there is no request of this id", hint="`vaultlayer subject request list` shows them"
    )
