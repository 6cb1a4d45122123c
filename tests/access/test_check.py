"""What `policy check` finds in a bundle that is valid."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultlayer.access.bundle import read_bundle
from vaultlayer.access.check import findings
from vaultlayer.access.names import ACTIONS
from vaultlayer.access.snapshot import ANY_FIELD, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_the_starter_bundle_passes_its_own_tests(starter: Path) -> None:
    """Nothing is wrong with what we ship, and there are tests that say so."""
    policies = Snapshot(read_bundle(starter))
    assert findings(policies) == []
    assert len(policies.bundle.tests) > 30


def test_each_role_of_the_starter_is_held_by_a_test_of_each_kind(starter: Path) -> None:
    """For every role there is something it may do and something it may not."""
    bundle = read_bundle(starter)
    for role in {rule.role for rule in bundle.rules}:
        expected = {test.expect for test in bundle.tests if test.role == role}
        assert "deny" in expected
        assert expected & {"allow", "mask"}


def test_every_rule_of_the_starter_matters(starter: Path) -> None:
    """No permission of the starter is dead or shadowed: taken alone it gives what it says."""
    policies = Snapshot(read_bundle(starter))
    for rule in policies.bundle.rules:
        asked = (frozenset({rule.role}), ANY_FIELD, rule.target, rule.action, rule.purpose)
        assert policies.decide(*asked).effect == rule.effect, rule


def test_what_the_starter_promises_about_open_data(starter: Path) -> None:
    """Auditors see nothing open; marketing needs consent for all; only the service writes."""
    policies = Snapshot(read_bundle(starter))
    bundle = policies.bundle
    for category in bundle.categories:
        for purpose in bundle.purposes.values():

            def got(role: str, action: str) -> str:
                return policies.decide(
                    frozenset({role}), ANY_FIELD, category, action, purpose.name  # noqa: B023
                ).effect  # fmt: skip

            assert {got("auditor", action) for action in ACTIONS} <= {"deny", "mask"}
            assert {got("support", a) for a in ("write", "export", "disclose", "erase")} == {"deny"}
            if not purpose.consent:
                assert {got("marketer", action) for action in ACTIONS} == {"deny"}
            writers = {
                role for role in ("support_lead", "service") if got(role, "write") == "allow"
            }
            if purpose.name == "customer_service":
                assert writers == ({"support_lead"} if category.startswith("contact") else set())


def test_a_failing_test_is_a_finding_with_its_line(folder: Path) -> None:
    """It says what was asked, what was expected and what the rules say."""
    with (folder / "tests.toml").open("a") as file:
        at = (folder / "tests.toml").read_text().count("\n") + 1
        file.write(
            '[[test]]\nfield = "customer.email"\nrole = "support"\ncategory = "contact.email"\n'
            'action = "read"\npurpose = "customer_service"\nexpect = "mask"\n'
        )
    [finding] = findings(Snapshot(read_bundle(folder)))
    assert finding.where == f"tests.toml:{at}"
    assert "support read customer.email for customer_service: mask is expected" in finding.message
    assert "the rules say allow (rule)" in finding.message
    assert finding.hint


def test_a_test_of_one_field_is_asked_for_that_field(folder: Path) -> None:
    """A rule for a field answers the test that names it, and no other."""
    with (folder / "roles.csv").open("a") as file:
        file.write("p, support, customer.email, read, customer_service, deny\n")
    tests = (folder / "tests.toml").read_text()
    asked = (
        'role = "support"\ncategory = "contact.email"\naction = "read"\n'
        'purpose = "customer_service"'
    )
    assert asked in tests
    (folder / "tests.toml").write_text(
        f'{tests}\n[[test]]\nfield = "customer.email"\n{asked}\nexpect = "deny"\n'
    )
    assert findings(Snapshot(read_bundle(folder))) == []


def test_a_permission_that_its_purpose_never_reaches_is_a_finding(
    with_rules: Callable[[str], Snapshot],
) -> None:
    """Dead allows and masks are named; denies, fields and partly covered categories are not."""
    found = findings(
        with_rules(
            "p, a, financial.card, read, customer_service, allow\n"
            "p, a, content, read, survey, mask\n"
            "p, a, content.text, read, survey, deny\n"
            "p, a, customer.card, read, survey, allow\n"
            "p, a, contact, read, survey, allow\n"
            "p, a, contact.phone, read, customer_service, allow\n"
        )
    )
    assert [finding.where for finding in found] == ["roles.csv:1", "roles.csv:2"]
    assert "never applies" in found[0].message
