"""A snapshot says no to all that no rule allows, and exactly what Casbin says to the rest."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vaultlayer.access.bundle import read_bundle
from vaultlayer.access.inheritance import MOST_LINKS
from vaultlayer.access.names import ACTIONS
from vaultlayer.access.snapshot import Decision, Snapshot
from vaultlayer.errors import PolicyError

Build = Callable[[str], Snapshot]
GOOD = ("customer.email", "contact.email", "read", "customer_service")
SUPPORT = frozenset({"support"})


@pytest.fixture(scope="module")
def policies(starter: Path) -> Snapshot:
    return Snapshot(read_bundle(starter))


def test_the_starter_allows_masks_and_denies(policies: Snapshot) -> None:
    """One of each, with reason and the purpose's need of consent."""
    marketer = frozenset({"marketer"})
    assert policies.decide(SUPPORT, *GOOD) == Decision("allow", "rule", False)
    assert policies.decide(
        marketer, "customer.email", "contact.email", "read", "direct_marketing"
    ) == Decision("mask", "rule", True)
    assert policies.decide(
        marketer, "customer.phone", "contact.email", "write", "direct_marketing"
    ) == Decision("deny", "role")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"roles": frozenset()}, "no_roles"),
        ({"roles": frozenset({"intern"})}, "role"),
        ({"roles": frozenset({"auditor"})}, "role"),
        ({"category": "contact.fax"}, "category_unknown"),
        ({"action": "peek"}, "action_unknown"),
        ({"purpose": "curiosity"}, "purpose_unknown"),
        ({"purpose": "product_improvement"}, "purpose_category"),
        ({"category": "identity.document"}, "rule_deny"),
        ({"field": "customer email"}, "field_invalid"),
    ],
)
def test_each_refusal_has_its_reason(
    policies: Snapshot, change: dict[str, Any], reason: str
) -> None:
    """The reasons are stable codes."""
    names = ("roles", "field", "category", "action", "purpose")
    asked: dict[str, Any] = dict(zip(names, (SUPPORT, *GOOD), strict=True))
    for _ in range(2):
        assert policies.decide(**{**asked, **change}) == Decision("deny", reason)


HOSTILE: list[Any] = [
    None, "", " ", "\n", "\x00", "*", ".*", "support\n", "a,b", "r.sub", "p.sub", "true", 0, 1,
    True, b"support", [], {}, set(), frozenset(), ("support",), "x" * 10_000,
    "\uff53upport", "principal#0", "category:contact.email", object(),
    float("nan"), frozenset({None}), frozenset({""}),
    frozenset({"support\n", b"support", 7}), {"support"}, ["support"], "support",
]  # fmt: skip


@pytest.mark.parametrize("place", range(5))
def test_nothing_unknown_empty_or_malformed_is_let_in(policies: Snapshot, place: int) -> None:
    """In every place of the question, as often as it is asked; never an exception."""
    for bad in HOSTILE:
        asked: list[Any] = [SUPPORT, *GOOD]
        if bad == asked[place] or (
            place == 1 and bad in ("support", "category:contact.email", "p.sub", "r.sub", "true")
        ):
            continue
        asked[place] = bad
        for _ in range(2):
            assert policies.decide(*asked).effect == "deny", bad
        assert policies.deciding_rule(*asked) is None


def test_unknown_roles_beside_a_known_one_change_nothing(policies: Snapshot) -> None:
    """Login systems put roles into tokens that no rule mentions."""
    with_others = SUPPORT | {"offline_access", "CN=Staff,OU=People", "x" * 500}
    assert policies.decide(with_others, *GOOD) == policies.decide(SUPPORT, *GOOD)


def test_an_empty_policy_denies_everything(with_rules: Build) -> None:
    """Also the question of empty texts, which Casbin by itself would allow."""
    empty = with_rules("# nobody may do anything\n")
    for roles in (SUPPORT, frozenset(), frozenset({""})):
        for action in (*ACTIONS, ""):
            for rest in (GOOD[3], ""):
                assert empty.decide(roles, GOOD[0], GOOD[1], action, rest).effect == "deny"
    assert empty.decide("", "", "", "", "").effect == "deny"  # type: ignore[arg-type]


def test_a_deny_outranks_everything_over_all_roles(with_rules: Build) -> None:
    """Deny before allow before mask, in any order of lines and roles, on fields too."""
    rules = with_rules(
        "p, open, contact, read, customer_service, allow\n"
        "p, veil, contact.email, read, customer_service, mask\n"
        "p, shut, contact.email, read, customer_service, deny\n"
        "p, shut_one, customer.email, read, customer_service, deny\n"
        "p, shut_all, contact, read, customer_service, deny\n"
    )

    def got(*roles: str, field: str = "customer.email") -> str:
        return rules.decide(frozenset(roles), field, *GOOD[1:]).effect

    assert got("open") == got("open", "veil") == "allow"
    assert got("veil") == "mask"
    for shut in ("shut", "shut_one", "shut_all"):
        assert (
            got(shut)
            == got("open", shut)
            == got("veil", shut)
            == got("open", "veil", shut)
            == "deny"
        )
    assert got("open", "shut_one", field="customer.second_email") == "allow"
    phone = rules.decide(frozenset({"open", "shut"}), "customer.phone", "contact.phone", *GOOD[2:])
    assert phone.effect == "allow"


def test_a_deny_reaches_those_who_inherit_the_role(with_rules: Build) -> None:
    """Through the whole chain, as long as one is accepted; and so does an allow."""
    links = "".join(f"g, r{at}, r{at + 1}\n" for at in range(MOST_LINKS))
    for effect in ("allow", "mask", "deny"):
        rules = with_rules(f"{links}p, r{MOST_LINKS}, contact, read, customer_service, {effect}\n")
        for at in range(MOST_LINKS + 1):
            assert rules.decide(frozenset({f"r{at}"}), *GOOD).effect == effect
    rules = with_rules(
        "g, child, parent\n"
        "p, parent, contact, read, customer_service, deny\n"
        "p, child, contact.email, read, customer_service, allow\n"
    )
    assert rules.decide(frozenset({"child"}), *GOOD) == Decision("deny", "rule_deny")


def test_a_parent_has_not_what_its_child_has(with_rules: Build) -> None:
    """Inheritance goes one way, for roles and for categories."""
    rules = with_rules("g, lead, staff\np, staff, contact.email, search, customer_service, allow\n"
                       "p, lead, contact.email, read, customer_service, allow\n")  # fmt: skip
    assert rules.decide(frozenset({"staff"}), *GOOD).effect == "deny"
    assert rules.decide(frozenset({"lead"}), "x.y", "contact", *GOOD[2:]).effect == "deny"


def test_the_deepest_category_is_covered_by_its_root(folder: Path, with_rules: Build) -> None:
    """A rule for the root of the longest accepted tree reaches its last leaf."""
    names = [".".join(["deep", *"abcdefgh"[:at]]) for at in range(MOST_LINKS + 1)]
    with (folder / "categories.toml").open("a") as file:
        file.writelines(f'\n[{name}]\nwords = "x"\nsensitive = false\n' for name in names)
    purposes = (folder / "purposes.toml").read_text()
    (folder / "purposes.toml").write_text(purposes.replace('["identity"', '["deep", "identity"'))
    for effect in ("allow", "deny"):
        rules = with_rules(f"p, a, deep, read, customer_service, {effect}\n")
        answer = rules.decide(frozenset({"a"}), "t.f", names[-1], *GOOD[2:])
        assert answer.reason == {"allow": "rule", "deny": "rule_deny"}[effect]


def test_a_field_named_like_a_category_is_not_that_category(with_rules: Build) -> None:
    """A table may be called contact; its fields have the category they declare."""
    rules = with_rules(
        "p, a, contact.email, read, customer_service, allow\n"
        "p, a, field:contact.phone, read, customer_service, allow\n"
    )
    a = frozenset({"a"})
    assert rules.decide(a, "contact.email", "identity.name", *GOOD[2:]).effect == "deny"
    assert rules.decide(a, "contact.phone", "identity.name", *GOOD[2:]).effect == "allow"
    assert rules.decide(a, "x.phone", "contact.phone", *GOOD[2:]).effect == "deny"
    assert rules.fields == {"contact.phone"}


def test_one_question_teaches_nothing_to_the_next(with_rules: Build) -> None:
    """A field asked about with one category has only that one; roles don't add up over time."""
    rules = with_rules("p, a, contact.email, read, customer_service, allow\n"
                       "p, b, contact.phone, read, customer_service, allow\n")  # fmt: skip
    a, b = frozenset({"a"}), frozenset({"b"})
    assert rules.decide(a, "t.f", "contact.email", *GOOD[2:]).effect == "allow"
    assert rules.decide(a, "t.f", "contact.phone", *GOOD[2:]).effect == "deny"
    assert rules.decide(b, "t.f", "contact.phone", *GOOD[2:]).effect == "allow"
    assert rules.decide(b, "t.f", "contact.email", *GOOD[2:]).effect == "deny"
    assert rules.decide(a | b, "t.f", "contact.phone", *GOOD[2:]).effect == "allow"
    assert rules.decide(a, "t.f", "contact.phone", *GOOD[2:]).effect == "deny"


def test_the_purpose_limits_what_any_rule_allows(with_rules: Build) -> None:
    """A category that the purpose doesn't list stays closed; its parent's listing opens it."""
    rules = with_rules("p, a, content, read, customer_service, allow\n"
                       "p, a, usage, read, customer_service, allow\n")  # fmt: skip
    a = frozenset({"a"})
    assert rules.decide(a, "t.f", "content.text", *GOOD[2:]).reason == "purpose_category"
    assert rules.decide(a, "t.f", "usage.log", *GOOD[2:]).effect == "allow"
    assert rules.decide(a, "t.f", "usage", *GOOD[2:]).reason == "purpose_category"


def test_a_mask_never_counts_as_an_allow_for_another_action(with_rules: Build) -> None:
    """read masked is neither read, export nor search; the inner word is no action."""
    rules = with_rules("p, a, contact.email, read, customer_service, mask\n")
    a = frozenset({"a"})
    answers = {x: rules.decide(a, *GOOD[:2], x, GOOD[3]).effect for x in (*ACTIONS, "read:masked")}
    assert answers.pop("read") == "mask"
    assert set(answers.values()) == {"deny"}


def test_the_deciding_rule_is_named(policies: Snapshot) -> None:
    """With its line, for the one who asks why."""
    rule = policies.deciding_rule(SUPPORT, *GOOD)
    assert rule is not None
    line = (Path(__file__).parents[2] / "policies/roles.csv").read_text().split("\n")[rule.line - 1]
    assert line == str(rule) == "p, support, contact.email, read, customer_service, allow"
    shut = policies.deciding_rule(SUPPORT, "c.d", "identity.document", *GOOD[2:])
    assert shut is not None
    assert shut.effect == "deny"


def test_a_made_up_bundle_with_an_unknown_effect_is_refused(starter: Path) -> None:
    """Casbin would pass over such a rule, and so over a deny."""
    bundle = read_bundle(starter)
    odd = dataclasses.replace(bundle.rules[0], effect="Deny")  # type: ignore[arg-type]
    with pytest.raises(PolicyError, match="unknown effect"):
        Snapshot(dataclasses.replace(bundle, rules=(odd, *bundle.rules[1:])))
