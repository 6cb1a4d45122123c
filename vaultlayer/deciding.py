"""Deciding: every condition of an access in one place, asked once a field and once a person.

A field is decided for the access (rules, purpose, sign-in), a person for the purpose (consent,
objection, restriction, region). Both hold until something changes, or until the earliest time
at which something may: that is the access's ``deadline``, which the paths look at.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from math import inf
from typing import TYPE_CHECKING, Any

from vaultlayer.access.context import no_access
from vaultlayer.access.grants import NO_REF, Grant, refusal
from vaultlayer.access.snapshot import Decision
from vaultlayer.orm.field import DECLARED
from vaultlayer.standing import People

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection

    from vaultlayer.access.principal import Principal
    from vaultlayer.access.snapshot import Snapshot
    from vaultlayer.access.words import Purpose
    from vaultlayer.audit.journal import Journal
    from vaultlayer.errors import AccessDenied
    from vaultlayer.keys.keyring import SubjectKey
    from vaultlayer.orm.field import Field
    from vaultlayer.standing import Person
    from vaultlayer.vault import Vault

NOBODY: Any = (object(), None, None, b"", b"", 0.0)
_AGAIN = 1.0  # seconds until what is stale is looked at again


class Deciding(ABC):
    """What an access may do, and with whom."""

    __slots__ = (
        "_ends",
        "_heard",
        "_is_local",
        "_over",
        "closed",
        "deadline",
        "grants",
        "journal",
        "last",
        "people",
        "principal",
        "purpose",
        "roles",
        "snapshot",
        "tenant",
        "vault",
    )

    vault: Vault
    principal: Principal
    roles: frozenset[str]
    purpose: str
    tenant: str
    snapshot: Snapshot
    journal: Journal
    closed: bool
    grants: dict[Any, Grant]
    last: Any  # where the last value was opened (orm/loading.py's Spot)
    people: People
    deadline: float
    _is_local: bool  # the people's region counts, so that what is known is this access's own
    _heard: int  # how many changes the vault had heard of when this was begun
    _ends: float  # on the monotonic clock
    _over: str  # the reason for refusing from then on

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

    def confirm(self, grant: Grant, refs: Sequence[bytes] = (NO_REF,)) -> Grant:
        """The grant, decided anew where its time was up; its refusal, journaled, if it is denied.

        The paths ask this for a denied grant, and whenever the deadline has passed.
        """
        if self.renew():
            grant = self.grant(grant.field, grant.action)
        if grant.denied:
            raise self.refused(grant.field, grant.action, grant.reason, refs)
        if time.monotonic() >= self._ends:
            raise self.refused(grant.field, grant.action, self._over, refs)
        return grant

    def begin(self) -> None:
        """Know nothing yet but what everybody in this process knows."""
        purpose = self.snapshot.bundle.purposes.get(self.purpose)
        self._is_local = purpose is not None and (
            purpose.regions != ("*",)
            or (self.principal.region is not None and not purpose.across_regions)
        )
        self._heard = self.vault.heard
        people = People(0.0) if self._is_local else self.vault.standing.remembered(self.purpose)
        fresh = max(self.vault.policies.fresh_until, time.monotonic() + _AGAIN)
        self.deadline, self.grants, self.last, self.people = self._ends, {}, NOBODY, people
        self._lasts_until(min(fresh, people.expires or fresh))

    def look_again(self) -> None:
        """Have the next reading or writing ask what holds now; any thread may."""
        self.deadline = 0.0
        self.last = NOBODY

    def renew(self) -> bool:
        """Know nothing any more where the deadline has passed, unless the access is over too."""
        if not self.deadline <= time.monotonic() < self._ends:
            return False
        self.vault.policies.look()
        self.forget()
        return True

    def forget(self) -> None:
        """Drop what was decided: the policy was reloaded, or something of a person changed."""
        if self.snapshot is not self.vault.snapshot:
            self.snapshot = self.vault.snapshot
            self._end_records()  # those to come tell the new policy's digest
        self.begin()

    def meet(self, connection: Connection, keys: Iterable[SubjectKey | Person]) -> None:
        """Bring in what is known of the people that these keys belong to, and the decoys."""
        self.vault.audit.honeytokens.look(connection)
        purpose = self.snapshot.bundle.purposes.get(self.purpose)
        if purpose is None:
            return
        keys = list(keys)
        people = self.vault.standing.meet(connection, purpose, keys)
        self.people = self.by_region(people, purpose, keys) if self._is_local else people
        self._lasts_until(people.expires)

    def by_region(
        self, people: People, purpose: Purpose, keys: Iterable[SubjectKey | Person]
    ) -> People:
        """The same for this access alone: who is of another region is refused."""
        home = self.principal.region if not purpose.across_regions else None
        mine = People(people.expires)
        mine.known.update(self.people.known)
        for key in keys:
            strange = home is not None and key.region not in ("", home)
            outside = purpose.regions != ("*",) and key.region not in purpose.regions
            if key.subject:
                reason = people.reason(key.subject)
                if reason == "" and (strange or outside):
                    reason = "region"
                mine.known[key.subject] = reason
        return mine

    def admit(self, connection: Connection, keys: dict[SubjectKey, Field]) -> None:
        """Refuse to write fields of people who may not be touched for the purpose."""
        self.meet(connection, keys)
        for key, field in keys.items():
            reason = self.people.reason(key.subject)
            if reason != "":
                raise self.refused(field, "write", reason or "person_unknown", [key.log_ref])

    def refused(
        self, field: Field, action: str, reason: str, refs: Sequence[bytes] = (NO_REF,)
    ) -> AccessDenied:
        """Journal that ``action`` was refused for ``reason`` and return the error."""
        prefix = self.spec(field.entity, (field.name,), action, "deny", reason)
        self.journal.append_many(prefix, refs)
        return refusal(action, field, self.purpose, reason)

    def failed(
        self, field: Field, action: str, code: str, refs: Sequence[bytes] = (NO_REF,)
    ) -> None:
        """Journal that what is allowed could not be done; ``code`` is the error's."""
        prefix = self.spec(field.entity, (field.name,), action, "error", code)
        self.journal.append_many(prefix, refs)

    def spec(
        self, entity: str, fields: Sequence[str], action: str, effect: str, reason: str
    ) -> bytes:
        """The journal's prefix for records of this kind."""
        return self.journal.spec(self._records(), entity, fields, action, effect, reason)

    def decide(self, field: str, category: str, action: str) -> Decision:
        """What the rules and the person's sign-in say, without looking at anybody's data."""
        if time.monotonic() >= self.vault.policies.fresh_until:
            return Decision("deny", "policy_stale")
        decision = self.snapshot.decide(
            self.roles, field, category, action, self.purpose, self.tenant,
            self.principal.region or "",
        )  # fmt: skip
        if decision.effect == "deny":
            return decision
        left = self._sign_in_lasts(category)
        if left <= 0:
            return Decision("deny", "step_up")
        self._lasts_until(time.monotonic() + left)
        return decision

    def _decide(self, field: Field, action: str) -> Grant:
        if self.snapshot.fields_of.get(field.entity, frozenset()) - DECLARED.keys():
            decision = Decision("deny", "field_undeclared")
        else:
            decision = self.decide(field.label, field.category, action)
        prefix = self.spec(field.entity, (field.name,), action, decision.effect, decision.reason)
        if self.vault.governing.shadow is not None:
            self.try_shadow(field, action)
        return Grant(field, action, decision, prefix, self.tenant, self._mask_key)

    def _lasts_until(self, until: float) -> None:
        """What is known holds no longer; a change heard of since ``begin`` ends it at once, though
        another thread told of it while this one was still writing down what was true before."""
        self.deadline = min(self.deadline, until)
        if self._heard != self.vault.heard:
            self.look_again()

    def _sign_in_lasts(self, category: str) -> float:
        """For how many seconds the principal's sign-in will do for a category and its parents."""
        asked = self.snapshot.step_ups[category]
        if not asked:
            return inf
        now = time.time()
        return min(each.seconds_left(self.principal, now) for each in asked)

    def _mask_key(self) -> bytes:
        """What pseudonyms of this tenant are made with, for this purpose and no other."""
        return self.vault.mask_key(self.tenant, self.purpose)

    @abstractmethod
    def try_shadow(self, field: Field, action: str) -> None:
        """Record what a candidate bundle would have decided, where that differs."""

    @abstractmethod
    def _records(self) -> int:
        """The number under which the journal knows this access."""

    @abstractmethod
    def _end_records(self) -> None:
        """Log what was noted so far; what comes is noted under a new number."""
