"""What a valid bundle may still get wrong: tests that fail, rules that never apply."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from vaultlayer.access import words
from vaultlayer.access.bundle import NOTICE
from vaultlayer.access.lines import FILE as ROLES
from vaultlayer.access.processors import FILE as PROCESSORS
from vaultlayer.access.snapshot import ANY_FIELD

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vaultlayer.access.bundle import Bundle
    from vaultlayer.access.rules import Rule
    from vaultlayer.access.snapshot import Snapshot
    from vaultlayer.errors import PolicyError


@dataclass(frozen=True, slots=True)
class Finding:
    """``where`` is "file:line", or the file alone."""

    where: str
    message: str
    hint: str

    @classmethod
    def of(cls, error: PolicyError) -> Finding:
        """The finding that a refused bundle is."""
        where, colon, message = error.message.partition(": ")
        return cls(where, message, error.hint) if colon else cls("", where, error.hint)


def findings(snapshot: Snapshot) -> list[Finding]:
    """Everything to be put right before the bundle goes into use; empty when it is good."""
    bundle = snapshot.bundle
    return [
        *failed_tests(snapshot),
        *(_dead(rule) for rule in bundle.rules if _never_applies(bundle, rule)),
        *_outdated(bundle),
    ]


def undeclared(
    snapshot: Snapshot, declared: Mapping[str, str], *, complete: bool = False
) -> list[Finding]:
    """Where the rules and the models don't fit: a misspelt field would silently deny nothing.

    :param declared: the category of each personal field, by "table.attribute".
    :param complete: these are all there are; else a rule about a table that isn't among them is
        taken for one about a model not loaded yet.
    """
    tables = {field.rpartition(".")[0] for field in declared}
    return [
        Finding(
            f"{ROLES}:{rule.line}",
            f"no model has the field {rule.target}",
            "check its spelling: the table's name (or __entity__), a full stop, the attribute's",
        )
        for rule in snapshot.bundle.rules
        if rule.is_field
        and rule.target not in declared
        and (complete or rule.target.rpartition(".")[0] in tables)
    ]


def uncategorised(snapshot: Snapshot, declared: Mapping[str, str]) -> list[Finding]:
    """Fields declared with a category that isn't there: nobody may touch them."""
    return [
        Finding(
            words.CATEGORIES,
            f"{field} is declared with the category {category}, which isn't there",
            "declare the category, or name another in personal(...)",
        )
        for field, category in sorted(declared.items())
        if category not in snapshot.bundle.categories
    ]


def failed_tests(snapshot: Snapshot) -> Iterator[Finding]:
    """The expectations of ``tests.toml`` that the rules don't meet."""
    for test in snapshot.bundle.tests:
        decision = snapshot.decide(
            frozenset({test.role}),
            test.field or ANY_FIELD,
            test.category,
            test.action,
            test.purpose,
            test.tenant,
            test.region,
        )
        if decision.effect != test.expect:
            yield Finding(
                f"{words.TESTS}:{test.line}" if test.line else words.TESTS,
                f"{test.role} {test.action} {test.field or test.category} for {test.purpose}: "
                f"{test.expect} is expected, the rules say {decision.effect} ({decision.reason})",
                "change the rule, or the expectation if that is what has become wrong",
            )


def _never_applies(bundle: Bundle, rule: Rule) -> bool:
    """An allow or mask whose purpose covers neither the category nor anything above or below it."""
    if rule.is_field or rule.effect == "deny":
        return False
    target = bundle.lineage(rule.target)
    return not any(
        covered in target or rule.target in bundle.lineage(covered)
        for covered in bundle.purposes[rule.purpose].categories
    )


def _dead(rule: Rule) -> Finding:
    return Finding(
        f"{ROLES}:{rule.line}",
        f"this rule never applies: {rule.purpose} does not cover {rule.target}",
        f"add the category to the purpose in {words.PURPOSES}, or remove the rule",
    )


def _outdated(bundle: Bundle) -> Iterator[Finding]:
    """What people aren't told, and agreements that have run out."""
    if not bundle.notice.strip():
        yield Finding(NOTICE, "people are told nothing", f"write {NOTICE}, what people are told")
    today = datetime.now(UTC).date()
    for processor in bundle.processors.values():
        if processor.expires < today:
            yield Finding(
                PROCESSORS,
                f"the agreement with {processor.name} ran out on {processor.expires}",
                "renew it, or take the processor out",
            )
