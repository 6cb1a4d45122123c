"""Artefacts about rules and identities: the policy bundle, its tests, roles, tokens, fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from vaultlayer.access.check import failed_tests, findings
from vaultlayer.access.names import ACTIONS
from vaultlayer.evidence.artefact import Artefact, absent, finding, there

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vaultlayer.access.snapshot import Snapshot
    from vaultlayer.orm.entity import Entity
    from vaultlayer.settings import Settings

_NOBODY = "nobody:at:all"


def policy(snapshot: Snapshot) -> Artefact:
    """The bundle in force, and whether its own tests pass."""
    bundle = snapshot.bundle
    wrong, failed = findings(snapshot), list(failed_tests(snapshot))
    facts = {
        "digest": bundle.digest,
        "rules": len(bundle.rules),
        "categories": len(bundle.categories),
        "purposes": {name: each.basis for name, each in sorted(bundle.purposes.items())},
        "tests": len(bundle.tests),
        "tests_failed": len(failed),
        "findings": len(wrong),
    }
    if wrong or failed:
        return finding("the bundle has findings; `vaultlayer policy check` names them", **facts)
    if not bundle.tests:
        return absent("the bundle has no tests of its own", **facts)
    return there(f"{len(bundle.tests)} tests of the bundle pass", **facts)


def default_deny(snapshot: Snapshot) -> Artefact:
    """Somebody without a role, or with one nobody knows, asked for everything."""
    bundle, asked, allowed = snapshot.bundle, 0, 0
    for roles in (frozenset[str](), frozenset({_NOBODY})):
        for purpose in bundle.purposes:
            for category in bundle.categories:
                for action in ACTIONS:
                    decided = snapshot.decide(roles, "any:field", category, action, purpose)
                    asked += 1
                    allowed += decided.effect != "deny"
    facts = {"questions": asked, "not_refused": allowed}
    if allowed:
        return finding("somebody nobody knows was not refused", **facts)
    return there(f"all {asked:,} questions of somebody nobody knows were refused", **facts)


def role_matrix(snapshot: Snapshot) -> Artefact:
    """How much each role may do: pairs of category and purpose by action."""
    bundle = snapshot.bundle
    roles = sorted({rule.role for rule in bundle.rules} | {link.child for link in bundle.links})
    matrix = {role: _reach(snapshot, role) for role in roles}
    pairs = len(bundle.categories) * len(bundle.purposes)
    return there(
        f"{len(roles)} roles; each count is of {pairs:,} pairs of category and purpose",
        pairs=pairs,
        roles=matrix,
    )


def _reach(snapshot: Snapshot, role: str) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for purpose in snapshot.bundle.purposes:
        for category in snapshot.bundle.categories:
            for action in ACTIONS:
                asked = frozenset({role}), "any:field", category, action, purpose
                effect = snapshot.decide(*asked).effect
                if effect != "deny":
                    counts[f"{action}, masked" if effect == "mask" else action] += 1
    return dict(sorted(counts.items()))


def step_up(snapshot: Snapshot) -> Artefact:
    """Which categories ask for a fresh or stronger sign-in."""
    asking = sorted(n for n, each in snapshot.bundle.categories.items() if each.step_up)
    sensitive = sorted(n for n, each in snapshot.bundle.categories.items() if each.sensitive)
    if not asking:
        return absent("no category asks for step-up", sensitive=sensitive)
    return there(f"{len(asking)} categories ask for it", categories=asking, sensitive=sensitive)


def processors(snapshot: Snapshot) -> Artefact:
    """The register of third parties, and whose agreement has run out."""
    today, known = datetime.now(UTC).date(), snapshot.bundle.processors
    if not known:
        return absent("no processor is declared in processors.toml")
    expired = sorted(name for name, each in known.items() if each.expires < today)
    facts = {"processors": sorted(known), "expired": expired}
    if expired:
        return finding(f"{len(expired)} agreements have run out", **facts)
    return there(f"{len(known)} processors, all under an agreement", **facts)


def retention(snapshot: Snapshot) -> Artefact:
    """How long each purpose keeps data, as its policy says."""
    told = {name: str(each.retention) for name, each in snapshot.bundle.purposes.items()}
    lacking = sorted(name for name, words in told.items() if not words)
    if lacking:
        return finding("purposes without a retention", lacking=lacking)
    return there("every purpose says how long data is kept", purposes=told)


def tokens(settings: Settings) -> Artefact:
    """Whose tokens count, and with which algorithms."""
    given = settings.tokens
    tables: Iterable[Any] = [given] if isinstance(given, Mapping) else given
    told = [
        {name: each[name] for name in ("issuer", "audience", "algorithms") if name in each}
        for each in tables
        if each
    ]
    if not told:
        return absent("the settings have no [tokens]: the application vouches for principals")
    return there(f"tokens of {len(told)} issuer(s) count", issuers=told)


def field_register(known: Iterable[Entity]) -> Artefact:
    """Every declared field: its category, and how it is kept."""
    fields: list[dict[str, Any]] = [
        {
            "field": each.label,
            "category": each.category,
            "encrypted": True,
            "searchable": bool(each.indexes),
            "padded": each.padded,
            "mask": each.mask,
        }
        for entity in known
        for each in entity.fields.values()
    ]
    fields.sort(key=lambda each: str(each["field"]))
    return there(f"{len(fields)} personal fields, all sealed with AES-256-GCM", fields=fields)
