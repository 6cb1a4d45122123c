"""A compiled decision is Casbin's own, and is what the README says in words."""

from __future__ import annotations

import dataclasses
import itertools
from types import MappingProxyType
from typing import Any

import casbin  # type: ignore[import-untyped]
from casbin.persist.adapters import StringAdapter  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultlayer.access.bundle import MODEL_LINES, Bundle
from vaultlayer.access.rules import Link, Rule
from vaultlayer.access.snapshot import Snapshot
from vaultlayer.access.words import Category, Purpose

ROLES = ("r0", "r1", "r2", "r3")
CATEGORIES = {
    name: Category(name, name, False, name.rpartition(".")[0] or None)
    for name in ("a", "a.x", "a.x.y", "a.z", "b")
}
FIELDS = ("t.f", "t.g", "a.x")
ACTIONS = ("read", "write")
PURPOSES = {
    "p0": Purpose("p0", "w", "contract", False, ("a", "b"), ("*",), "1 year"),
    "p1": Purpose("p1", "w", "consent", True, ("a.x", "b"), ("*",), "1 year"),
}

PLACES = ("", "north", "south")

RULES = st.builds(
    Rule,
    role=st.sampled_from(ROLES),
    target=st.sampled_from((*CATEGORIES, *FIELDS)),
    action=st.sampled_from(ACTIONS),
    purpose=st.sampled_from(tuple(PURPOSES)),
    effect=st.sampled_from(("allow", "mask", "deny")),
    is_field=st.booleans(),
    mask=st.sampled_from(("", "redact", "last4")),
    tenant=st.sampled_from(PLACES),
    region=st.sampled_from(PLACES),
).filter(lambda rule: rule.target in (FIELDS if rule.is_field else CATEGORIES))
# A role inherits only from later ones, so there is no circle.
LINKS = st.sets(st.sampled_from(tuple(itertools.combinations(ROLES, 2))))
QUESTIONS = st.tuples(
    st.frozensets(st.sampled_from(ROLES)),
    st.sampled_from(FIELDS),
    st.sampled_from(tuple(CATEGORIES)),
    st.sampled_from(ACTIONS),
    st.sampled_from(tuple(PURPOSES)),
    st.sampled_from(PLACES),
    st.sampled_from(PLACES),
)


def bundle_of(rules: list[Rule], links: set[tuple[str, str]]) -> Bundle:
    return Bundle(
        digest="0" * 64,
        rules=tuple(dict.fromkeys(rules)),
        links=tuple(Link(*link) for link in links),
        categories=MappingProxyType(CATEGORIES),
        purposes=MappingProxyType(PURPOSES),
    )


def covered(purpose: str, category: str) -> bool:
    return any(f"{category}.".startswith(f"{top}.") for top in PURPOSES[purpose].categories)


def in_words(bundle: Bundle, question: tuple[Any, ...]) -> str:
    """The README's rules, without Casbin: the effect, with a mask's name."""
    roles, field, category, action, purpose, tenant, region = question
    held = set(roles)
    for _ in ROLES:
        held |= {link.parent for link in bundle.links if link.child in held}
    speaking = [
        rule
        for rule in bundle.rules
        if rule.role in held
        and (rule.action, rule.purpose) == (action, purpose)
        and rule.tenant in ("", tenant)
        and rule.region in ("", region)
        and (
            rule.target == field if rule.is_field else f"{category}.".startswith(f"{rule.target}.")
        )
    ]
    if not covered(purpose, category):
        return "deny"
    for effect in ("deny", "allow", "mask"):
        for rule in speaking:
            if rule.effect == effect:
                return f"{effect}:{rule.mask}" if effect == "mask" else effect
    return "deny"


def by_plain_casbin(bundle: Bundle, question: tuple[Any, ...], masked: bool) -> bool:
    """One whole enforcer with all lines as text, made for this question alone."""
    roles, field, category, action, purpose, tenant, region = question
    lines = [f"g, somebody, {role}" for role in roles]
    lines += [f"g, {link.child}, {link.parent}" for link in bundle.links]
    lines += [f"g2, c:{name}, c:{c.parent}" for name, c in CATEGORIES.items() if c.parent]
    lines += [f"g2, something, c:{category}", f"g2, something, f:{field}"]
    granting = "mask" if masked else "allow"
    for rule in bundle.rules:
        if rule.effect in (granting, "deny"):
            effect = "deny" if rule.effect == "deny" else "allow"
            target = f"{'f' if rule.is_field else 'c'}:{rule.target}"
            places = f"{rule.tenant or '*'}, {rule.region or '*'}"
            does = f"{rule.action}, {rule.purpose}"
            lines.append(f"p, {rule.role}, {target}, {does}, {places}, {effect}")
    model = casbin.Enforcer.new_model(text="\n".join(MODEL_LINES))
    enforcer = casbin.Enforcer(model, StringAdapter("\n".join(lines)))
    return bool(enforcer.enforce("somebody", "something", action, purpose, tenant, region))


@settings(deadline=None, max_examples=150)
@given(st.lists(RULES, max_size=14), LINKS, st.lists(QUESTIONS, min_size=1, max_size=12))
def test_every_decision_is_casbins_and_the_readmes(
    rules: list[Rule], links: set[tuple[str, str]], questions: list[tuple[Any, ...]]
) -> None:
    """Random rules, links and questions, each asked twice of one snapshot."""
    bundle = bundle_of(rules, links)
    snapshot = Snapshot(bundle)
    for question in (*questions, *questions):
        decision = snapshot.decide(*question)
        told = decision.effect + (f":{decision.mask}" if decision.effect == "mask" else "")
        assert told == in_words(bundle, question)
        if covered(question[4], question[2]):
            allowed = by_plain_casbin(bundle, question, masked=False)
            assert (decision.effect == "allow") == allowed
            masked = not allowed and by_plain_casbin(bundle, question, masked=True)
            assert (decision.effect == "mask") == masked
        assert decision.needs_consent == (question[4] == "p1" and decision.effect != "deny")
        rule = snapshot.deciding_rule(*question)
        if decision.effect != "deny":
            assert rule is not None
            assert rule.effect == decision.effect
        assert (decision.reason == "rule_deny") == (rule is not None and rule.effect == "deny")


@settings(deadline=None, max_examples=50)
@given(st.lists(RULES, max_size=14), LINKS, QUESTIONS, RULES)
def test_a_deny_added_never_opens_anything(
    rules: list[Rule], links: set[tuple[str, str]], question: tuple[Any, ...], more: Rule
) -> None:
    """Denies only take away, whatever is there already."""
    deny = dataclasses.replace(more, effect="deny")
    before = Snapshot(bundle_of(rules, links)).decide(*question).effect
    after = Snapshot(bundle_of([*rules, deny], links)).decide(*question).effect
    assert after in (before, "deny")
