"""What pycasbin does by itself and must not do here: each trap is sprung on plain Casbin first.

A test that no longer finds the trap in Casbin fails too: then it has lost its point.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import casbin  # type: ignore[import-untyped]
import pytest
from casbin.persist.adapters import StringAdapter  # type: ignore[import-untyped]

from vaultlayer.access.bundle import MODEL_LINES, read_bundle
from vaultlayer.access.inheritance import MOST_LINKS
from vaultlayer.access.lines import FILE
from vaultlayer.access.rules import parse_rules
from vaultlayer.access.snapshot import Snapshot
from vaultlayer.errors import PolicyError

if TYPE_CHECKING:
    from pathlib import Path

Build = Callable[[str], Snapshot]
OURS = "\n".join(MODEL_LINES)
PLAIN = """[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act, eft
[role_definition]
g = _, _
[policy_effect]
e = {effect}
[matchers]
m = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act
"""
ALLOW_AND_DENY = "some(where (p.eft == allow)) && !some(where (p.eft == deny))"
GOOD = ("customer.email", "contact.email", "read", "customer_service")


def plain(lines: str, model: str = PLAIN.format(effect=ALLOW_AND_DENY)) -> Any:
    """An enforcer as Casbin's own documentation makes one."""
    return casbin.Enforcer(casbin.Enforcer.new_model(text=model), StringAdapter(lines or "#"))


def refused(text: str) -> str:
    with pytest.raises(PolicyError) as caught:
        parse_rules(text, ["contact.email"], ["help"])
    assert caught.value.message.startswith(FILE)
    return caught.value.message


def test_an_empty_policy_with_deny_override_allows_all(with_rules: Build) -> None:
    """The usual deny-override effect says yes to everybody when nothing was loaded."""
    effect = "!some(where (p.eft == deny))"
    assert plain("", PLAIN.format(effect=effect)).enforce("anybody", "anything", "read")
    assert effect != ALLOW_AND_DENY
    assert f"e = {ALLOW_AND_DENY}" in MODEL_LINES
    assert with_rules("").decide(frozenset({"anybody"}), *GOOD).effect == "deny"


def test_an_empty_policy_lets_empty_texts_in(with_rules: Build) -> None:
    """The matcher is evaluated once against empty texts."""
    assert plain("", OURS).enforce("", "", "", "", "", "")
    empty: Any = with_rules("")
    assert empty.decide(frozenset({""}), "", "", "", "", "", "").effect == "deny"
    assert empty._rules.judge(frozenset({""}), "", "", "", "").effect == "deny"


@pytest.mark.parametrize("effect", ["Deny", "deny.", "DENY", "dny"])
def test_a_misspelt_effect_is_no_rule(effect: str) -> None:
    """A deny is lost without a word."""
    lines = f"p, a, contact.email, read, allow\np, a, contact.email, read, {effect}\n"
    assert plain(lines).enforce("a", "contact.email", "read")
    assert "unknown effect" in refused(f"p, a, contact.email, read, help, {effect}")


def test_a_line_of_an_unknown_kind_is_skipped() -> None:
    """P, p2 and d lines are nothing to Casbin."""
    for kind in ("P", "p2", "d"):
        lines = f"p, a, contact.email, read, allow\n{kind}, a, contact.email, read, deny\n"
        assert plain(lines).enforce("a", "contact.email", "read")
        assert "not a kind of line" in refused(f"{kind}, a, contact.email, read, help, deny")


def test_a_line_of_the_wrong_length_is_found_when_somebody_asks() -> None:
    """Too late: at the first question instead of when it is loaded."""
    short = plain("p, a, contact.email, read\n")
    with pytest.raises(Exception, match=r"size|length|index"):
        short.enforce("a", "contact.email", "read")
    assert "5 cells instead of 6" in refused("p, a, contact.email, read, help")


def test_a_line_break_in_a_name_injects_a_rule(tmp_path: Path) -> None:
    """What Casbin saves it reads back as something else."""
    enforcer = plain("p, a, contact.email, read, allow\n")
    path = tmp_path / "policy.csv"
    path.touch()
    enforcer.adapter = casbin.FileAdapter(str(path))
    enforcer.add_policy("b", "x, read, allow\np, mallory", "contact.email", "read, allow")
    enforcer.save_policy()
    enforcer.load_policy()
    assert "mallory" in path.read_text()
    assert [line for line in enforcer.get_policy() if line[0] == "mallory"]
    for name in ("x\np", '"x\np"', "x, y", "x\r"):
        refused(f"p, {name}, contact.email, read, help, allow")


def test_saving_cuts_the_file_first(starter: Path) -> None:
    """A crash in the middle leaves an empty policy. Here nothing can be saved."""
    before = {path.name: path.read_bytes() for path in starter.iterdir() if path.is_file()}
    rules = Snapshot(read_bundle(starter))._rules
    rules._enforcer.save_policy()  # Casbin's own method, which has nothing to write with
    assert {path.name: path.read_bytes() for path in starter.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("sign", ["(", ")"])
def test_an_unbalanced_bracket_breaks_the_line(sign: str) -> None:
    """One aborts the load, the other swallows the rest of its line."""
    lines = f"p, a{sign}, contact.email, read, deny\np, b, contact.email, read, allow\n"
    broken: Any = None
    with suppress(IndexError):
        broken = plain(lines).get_policy()
    assert broken is None or ["a" + sign, "contact.email", "read", "deny"] not in broken
    assert "not a name" in refused(f"p, a{sign}, contact.email, read, help, deny")


def test_the_matcher_calls_none_of_casbins_matching_functions() -> None:
    """regexMatch has no end, keyMatch takes signs for patterns, timeMatch knows no time zone."""
    from casbin.util import regex_match  # type: ignore[import-untyped]

    assert regex_match("data10", "data1")
    assert set(re.findall(r"(\w+)\(", "".join(MODEL_LINES))) == {"some", "g", "g2"}


def test_no_pattern_is_followed_in_roles_tenants_or_regions(with_rules: Build) -> None:
    """Equal is equal: one letter, a prefix and a star are names like others, or none."""
    rules = with_rules(
        "p, a, contact.email, read, customer_service, allow, tenant=n\n"
        "p, a.b, contact.email, read, customer_service, allow, region=e\n"
    )
    manager = rules._rules._enforcer.get_role_manager()
    assert manager.matching_func is None
    assert manager.domain_matching_func is None

    def got(role: str, tenant: str = "", region: str = "") -> str:
        return rules.decide(frozenset({role}), *GOOD, tenant, region).effect

    assert got("a", "n") == got("a.b", region="e") == "allow"
    for tenant in ("", "north", "N", "*", "n*", "n."):
        assert got("a", tenant) == "deny"
    for role in ("aXb", "a.", "a.*", "*", "a.bc"):
        assert got(role, "n", "e") == "deny"


def test_links_past_the_tenth_are_not_followed() -> None:
    """A deny at the end of a long chain is lost; such a chain is refused."""
    links = "".join(f"g, r{at}, r{at + 1}\n" for at in range(12))
    lines = f"p, r0, contact.email, read, allow\np, r12, contact.email, read, deny\n{links}"
    assert plain(lines).enforce("r0", "contact.email", "read")
    assert MOST_LINKS < 10
    text = f"p, r12, contact.email, read, help, deny\n{links}"
    assert "inherits through more than" in refused(text)


def test_questions_about_unknown_names_are_kept_for_ever(starter: Path) -> None:
    """The role manager makes an entry for each; here it only ever hears of names in rules."""
    enforcer = plain("p, a, contact.email, read, allow\ng, b, a\n")
    before = len(enforcer.get_role_manager().all_roles)
    for at in range(50):
        enforcer.enforce(f"unknown{at}", "contact.email", "read")
    grown = len(enforcer.get_role_manager().all_roles) - before
    policies = Snapshot(read_bundle(starter))
    manager = policies._rules._enforcer.get_role_manager()
    policies.decide(frozenset({"support", "x"}), *GOOD)
    known = len(manager.all_roles)
    for at in range(50):
        policies.decide(frozenset({"support", f"unknown{at}"}), *GOOD, f"tenant{at}")
        policies.decide(frozenset({f"unknown{at}"}), *GOOD)
    assert len(manager.all_roles) == known
    assert grown >= 0  # how many plain Casbin keeps depends on its version


def test_loading_anew_takes_the_roles_away_for_a_while(with_rules: Build) -> None:
    """load_policy() clears the shared role managers; here each snapshot has its own, for good."""
    enforcer = plain("p, a, contact.email, read, allow\ng, b, a\n")
    manager, seen = enforcer.get_role_manager(), []
    build = manager.clear

    def clear() -> None:
        build()
        seen.append(enforcer.enforce("b", "contact.email", "read"))

    manager.clear = clear
    enforcer.load_policy()
    assert False in seen  # in between, somebody who holds a role holds none
    text = "p, a, contact.email, read, customer_service, allow\ng, b, a\n"
    first, second = with_rules(text), with_rules(text)
    one, other = (each._rules._enforcer.get_role_manager() for each in (first, second))
    assert one is not other


def test_a_refused_request_is_logged_with_its_values(
    starter: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At WARNING, to whatever the application has configured."""
    for name in ("casbin", "casbin.enforcer"):
        logging.getLogger(name).disabled = False
    with caplog.at_level(logging.DEBUG):
        enforcer = plain("p, a, contact.email, read, allow\n")
        enforcer.logger.disabled = False
        enforcer.enforce("ada@example.com", "contact.email", "read")
        assert "ada@example.com" in caplog.text
        caplog.clear()
        policies = Snapshot(read_bundle(starter))
        policies.decide(frozenset({"support", "ada@example.com"}), "t.secret", *GOOD[1:3], "survey")
        policies.decide(frozenset({"auditor"}), "t.secret", *GOOD[1:])
    assert "secret" not in caplog.text
    assert caplog.records == []


def test_enforcement_can_be_switched_off(starter: Path) -> None:
    """One call, and everything is allowed."""
    enforcer = plain("")
    enforcer.enable_enforce(False)
    assert enforcer.enforce("anybody", "anything", "read")
    policies = Snapshot(read_bundle(starter))
    policies._rules._enforcer.enable_enforce(False)
    with pytest.raises(PolicyError, match="switched off"):
        policies.decide(frozenset({"support"}), *GOOD)
