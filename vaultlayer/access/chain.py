"""The chain of conditions behind one answer, in the order the engine asks them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultlayer.access.compare_roles import roles_of
from vaultlayer.access.names import ACTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaultlayer.access.bundle import Bundle
    from vaultlayer.access.rules import Rule
    from vaultlayer.access.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Step:
    """``holds``: whether the condition is met; None where it depends on the person or sign-in."""

    says: str
    holds: bool | None


def chain(
    snapshot: Snapshot,
    roles: frozenset[str],
    field: str,
    category: str,
    action: str,
    purpose: str,
    tenant: str = "",
    region: str = "",
) -> list[Step]:
    """Every condition up to the answer; those after a failing one are not asked."""
    bundle = snapshot.bundle
    steps: list[Step] = []
    for step in (
        *_known(bundle, roles, category, action, purpose),
        *_reached(bundle, category, purpose),
    ):
        steps.append(step)
        if step.holds is False:
            return steps
    steps += _rules(bundle, roles, field, category, action, purpose)
    decision = snapshot.decide(roles, field, category, action, purpose, tenant, region)
    said = {"allow": "allowed", "mask": "shown masked", "deny": "refused"}[decision.effect]
    why = "a deny outranks every allow, an allow outranks a mask; what no line allows is refused"
    steps.append(Step(f"So it is {said}: {why}.", decision.effect != "deny"))
    if decision.effect != "deny":
        steps += _afterwards(bundle, category, purpose)
    return steps


def _known(
    bundle: Bundle, roles: frozenset[str], category: str, action: str, purpose: str
) -> Iterator[Step]:
    above = roles_of(bundle)
    for role in sorted(roles):
        inherited = sorted(above.get(role, frozenset()) - {role})
        if role not in above:
            yield Step(f"No line of roles.csv mentions the role {role}.", None)
        elif inherited:
            yield Step(f"{role} holds what {', '.join(inherited)} holds too.", True)
    if not roles & above.keys():
        yield Step("Some role must be one that roles.csv mentions.", False)
    yield Step(f"{action} is an action.", action in ACTIONS)
    yield Step(f"{category} is declared in categories.toml.", category in bundle.categories)
    known = bundle.purposes.get(purpose)
    told = f" “{known.words}”" if known else ""
    yield Step(f"{purpose} is declared in purposes.toml.{told}", known is not None)


def _reached(bundle: Bundle, category: str, purpose: str) -> Iterator[Step]:
    if purpose not in bundle.purposes or category not in bundle.categories:
        return
    covering = bundle.purposes[purpose].categories
    through = [name for name in bundle.lineage(category) if name in covering]
    by = f" through {through[0]}" if through and through[0] != category else ""
    verb = "reaches" if through else "does not reach"
    yield Step(f"{purpose} {verb} {category}{by}.", bool(through))


def _rules(
    bundle: Bundle, roles: frozenset[str], field: str, category: str, action: str, purpose: str
) -> Iterator[Step]:
    above, lineage = roles_of(bundle), bundle.lineage(category)
    held = {name: role for role in sorted(roles) for name in above.get(role, ())}
    found = False
    for rule in bundle.rules:
        fits = rule.target == field if rule.is_field else rule.target in lineage
        if rule.role in held and rule.action == action and rule.purpose == purpose and fits:
            found = True
            yield Step(f"roles.csv:{rule.line} speaks of it: {rule}{_by(held, rule)}", True)
    if not found:
        yield Step("No line of roles.csv speaks of it.", False)


def _by(held: dict[str, str], rule: Rule) -> str:
    role = held[rule.role]
    return "" if role == rule.role else f" (inherited by {role})"


def _afterwards(bundle: Bundle, category: str, purpose: str) -> Iterator[Step]:
    known = bundle.purposes[purpose]
    if known.consent:
        yield Step("The person must have agreed to this purpose.", None)
    yield Step("The person must not have objected to it.", None)
    if not known.despite_restriction:
        yield Step("The person's data must not be restricted.", None)
    if known.regions != ("*",):
        yield Step(f"The person must be of {' or '.join(known.regions)}.", None)
    for name in bundle.lineage(category):
        asked = bundle.categories[name].step_up
        if asked is not None:
            parts = [
                f"by one of {', '.join(asked.amr)}" if asked.amr else "",
                f"at the level {' or '.join(asked.acr)}" if asked.acr else "",
                f"at most {asked.age} seconds ago" if asked.age else "",
            ]
            how = ", ".join(filter(None, parts))
            yield Step(f"{name} asks for a fresh sign-in: {how}.", None)
