"""Snapshot: one policy bundle, compiled; it answers, and never changes."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from vaultlayer.access.casbin_rules import CasbinRules, Ruling
from vaultlayer.access.names import ACTIONS, Effect, is_name
from vaultlayer.errors import PolicyError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaultlayer.access.bundle import Bundle
    from vaultlayer.access.rules import Rule

# A full memo is emptied: unknown names cost time again, never more memory.
_MOST_ANSWERS = 16_384
_MOST_ROLES = 64

# Stands for a field that no rule names: a rule's field has no colon.
ANY_FIELD = "any:field"
# What no part of a question may be, for the probes.
_BAD: tuple[Any, ...] = (None, "", "\n", [], frozenset(), frozenset({None, "", "\n"}))

# roles, field, category, action, purpose, tenant, region
Question = tuple[frozenset[str], str, str, str, str, str, str]


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policy says, and why.

    ``reason`` is "rule" when ``effect`` is allow or mask. A deny has one of: no_roles,
    action_unknown, category_unknown, field_invalid, purpose_unknown, purpose_category (the
    purpose is not told for this category), place_invalid (tenant or region is no text), role
    (no rule allows it), rule_deny (a rule forbids it). ``needs_consent``: an allow or mask
    counts only if the person's consent is recorded. ``mask``: the mask that the rule names, ""
    for the field's own.
    """

    effect: Effect
    reason: str
    needs_consent: bool = False
    mask: str = ""


class Snapshot:
    """Decides for one bundle. Any number of threads may ask; a repeated answer takes no lock.

    Raises PolicyError if the compiled rules would let in somebody nobody knows.
    """

    __slots__ = (
        "_answers",
        "_covered",
        "_lock",
        "_places",
        "_rules",
        "_rulings",
        "bundle",
        "fields",
        "fields_of",
        "roles",
        "step_ups",
    )

    def __init__(self, bundle: Bundle) -> None:
        self.bundle: Final = bundle
        # The fields that rules name, for the caller to hold against the declared ones.
        self.fields: Final = frozenset(rule.target for rule in bundle.rules if rule.is_field)
        self.fields_of: Final = _by_entity(self.fields)
        self._places = frozenset(
            place for rule in bundle.rules for place in (rule.tenant, rule.region)
        )
        self.roles: Final = frozenset(rule.role for rule in bundle.rules).union(
            link.child for link in bundle.links
        )
        self._covered = frozenset(
            (purpose.name, category)
            for purpose in bundle.purposes.values()
            for category in bundle.categories
            if not set(purpose.categories).isdisjoint(bundle.lineage(category))
        )
        # What each category and those above it ask of a sign-in; mostly nothing.
        self.step_ups: Final = {
            name: tuple(
                asked
                for above in bundle.lineage(name)
                if (asked := bundle.categories[above].step_up) is not None
            )
            for name in bundle.categories
        }
        self._rules = CasbinRules(bundle)
        self._lock = threading.Lock()
        self._answers: dict[Question, Decision] = {}
        self._rulings: dict[Question, Ruling] = {}
        self._probe()

    @property
    def digest(self) -> str:
        """The bundle's digest, for every record of a decision."""
        return self.bundle.digest

    def decide(
        self,
        roles: frozenset[str],
        field: str,
        category: str,
        action: str,
        purpose: str,
        tenant: str = "",
        region: str = "",
    ) -> Decision:
        """What somebody with all these roles may do with a field, for a purpose.

        ``field`` is "table.attribute"; ``tenant`` and ``region`` are the principal's, "" without
        one. An unknown, empty or malformed argument is a deny, never an exception.
        """
        question = (roles, field, category, action, purpose, tenant, region)
        try:
            answer = self._answers.get(question)
        except TypeError:  # something in it has no hash
            answer = None
        return self._first(question) if answer is None else answer

    def deciding_rule(
        self,
        roles: frozenset[str],
        field: str,
        category: str,
        action: str,
        purpose: str,
        tenant: str = "",
        region: str = "",
    ) -> Rule | None:
        """A rule that the decision comes from; None where no rule speaks of it."""
        question = (roles, field, category, action, purpose, tenant, region)
        with self._lock:
            return None if self._refusal(question) else self._ruling(question).rule

    def forked(self) -> None:
        """In a forked child: whoever held the lock is not there."""
        self._lock = threading.Lock()

    def _first(self, question: Question) -> Decision:
        with self._lock:
            answer = self._decide(question)
            if _is_small(question):
                _remember(self._answers, question, answer)
        return answer

    def _decide(self, question: Question) -> Decision:
        reason = self._refusal(question)
        if reason:
            return Decision("deny", reason)
        ruling = self._ruling(question)
        if ruling.effect == "deny":
            return Decision("deny", "rule_deny" if ruling.rule else "role")
        mask = ruling.rule.mask if ruling.rule and ruling.effect == "mask" else ""
        return Decision(ruling.effect, "rule", self.bundle.purposes[question[4]].consent, mask)

    def _refusal(self, question: Question) -> str:
        """Why no rule could allow this, "" if one could."""
        roles, field, category, action, purpose, *places = question
        if not isinstance(roles, frozenset) or not roles:
            return "no_roles"
        if not isinstance(action, str) or action not in ACTIONS:
            return "action_unknown"
        if not isinstance(category, str) or category not in self.bundle.categories:
            return "category_unknown"
        if not is_name(field):
            return "field_invalid"
        if not isinstance(purpose, str) or purpose not in self.bundle.purposes:
            return "purpose_unknown"
        if (purpose, category) not in self._covered:
            return "purpose_category"
        if not all(isinstance(place, str) for place in places):
            return "place_invalid"
        return "" if roles & self.roles else "role"

    def _ruling(self, question: Question) -> Ruling:
        """Casbin's answer, asked once for all questions that are the same to the rules.

        Tokens carry roles, and models have fields, that no rule mentions; Casbin need not see them.
        """
        roles, field, category, action, purpose, tenant, region = question
        same = (
            roles & self.roles,
            field if field in self.fields else "",
            category,
            action,
            purpose,
            tenant if tenant in self._places else "",
            region if region in self._places else "",
        )
        ruling = self._rulings.get(same)
        if ruling is None:
            ruling = self._rules.judge(*same)
            _remember(self._rulings, same, ruling)
        return ruling

    def _probe(self) -> None:
        """Ask what must be refused, before anybody may ask."""
        if self._rules.lets_in(f"nobody:{self.digest}"):
            raise _leaky("an unknown role")
        purpose, category = next(iter(self._covered), ("", ""))
        sample: list[Any] = [self.roles, ANY_FIELD, category, "read", purpose, "", ""]
        for place, name in enumerate(("role", "field", "category", "action", "purpose")):
            for bad in _BAD:
                asked_badly: Any = (*sample[:place], bad, *sample[place + 1 :])
                if self._decide(asked_badly).effect != "deny":
                    raise _leaky(f"an empty or malformed {name}")


def _leaky(who: str) -> PolicyError:
    return PolicyError(
        f"the compiled rules don't refuse {who}",
        hint="don't use this bundle with this version of pycasbin; please report it",
    )


def _is_small(question: Question) -> bool:
    roles, *names, tenant, region = question
    return (
        isinstance(roles, frozenset)
        and len(roles) <= _MOST_ROLES
        and all(is_name(name) for name in (*roles, *names))
        and all(place == "" or is_name(place) for place in (tenant, region))
    )


def _by_entity(fields: frozenset[str]) -> Mapping[str, frozenset[str]]:
    """The named fields of each table."""
    found: dict[str, set[str]] = {}
    for field in fields:
        found.setdefault(field.rpartition(".")[0], set()).add(field)
    return MappingProxyType({entity: frozenset(named) for entity, named in found.items()})


def _remember(memo: dict[Question, Any], question: Question, answer: object) -> None:
    if len(memo) >= _MOST_ANSWERS:
        memo.clear()
    memo[question] = answer
