"""Who gains and who loses what, from one bundle's rules to the next one's.

Only what differs is asked: rules that a role holds, itself or by inheritance, in both bundles
alike can't change its answers. So 10,000 rules of which three changed cost three roles' questions.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaultlayer.access.snapshot import ANY_FIELD, Decision

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from vaultlayer.access.bundle import Bundle
    from vaultlayer.access.rules import Rule
    from vaultlayer.access.snapshot import Snapshot

# These show a value, or whose it is; the others change or destroy it.
READING = frozenset({"read", "search", "export", "disclose"})
_RANK = {"deny": 0, "mask": 1, "allow": 2}
_SAYS = {"allow": "in full", "mask": "masked", "deny": "not at all"}
_FORBIDDEN = "forbidden"  # by a deny, which outranks what another role allows

Held = frozenset[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class RoleChange:
    """``widens``: somebody sees more of people's data than before."""

    sentence: str
    widens: bool


@dataclass(frozen=True, slots=True, order=True)
class _Move:
    """One answer that is another than before, without the category."""

    role: str
    action: str
    purpose: str
    was: str
    now: str
    where: str
    widens: bool


def role_changes(before: Snapshot, after: Snapshot) -> list[RoleChange]:
    """Each in one sentence, categories taken together."""
    moves: dict[_Move, set[str]] = defaultdict(set)
    held_before, held_after = _held(before.bundle), _held(after.bundle)
    for role, action, purpose in sorted(held_before.keys() | held_after.keys()):
        key = role, action, purpose
        was, now = held_before.get(key, frozenset()), held_after.get(key, frozenset())
        same_reach = _reach(before.bundle, purpose) == _reach(after.bundle, purpose)
        if was != now or not same_reach:
            for target, move in _moves(before, after, key, was | now):
                moves[move].add(target)
    told = [
        RoleChange(_sentence(move, _together(after.bundle, before.bundle, targets)), move.widens)
        for move, targets in sorted(moves.items(), key=lambda item: item[0])
    ]
    return [*told, *_emergencies(before.bundle, after.bundle)]


def roles_of(bundle: Bundle) -> dict[str, frozenset[str]]:
    """Every role with all that it inherits from, itself included."""
    parents: dict[str, set[str]] = defaultdict(set)
    names = {rule.role for rule in bundle.rules}
    for link in bundle.links:
        parents[link.child].add(link.parent)
        names |= {link.child, link.parent}

    def above(role: str) -> frozenset[str]:
        return frozenset({role}).union(*(above(parent) for parent in parents.get(role, ())))

    return {role: above(role) for role in sorted(names)}


def _held(bundle: Bundle) -> dict[tuple[str, str, str], Held]:
    """What each role holds for an action and a purpose."""
    by_role: dict[str, list[Rule]] = defaultdict(list)
    for rule in bundle.rules:
        by_role[rule.role].append(rule)
    held: dict[tuple[str, str, str], set[tuple[Any, ...]]] = defaultdict(set)
    for role, above in roles_of(bundle).items():
        for rule in (rule for name in above for rule in by_role[name]):
            key = role, rule.action, rule.purpose
            held[key].add(
                (rule.target, rule.is_field, rule.effect, rule.mask, rule.tenant, rule.region)
            )
    return {key: frozenset(rules) for key, rules in held.items()}


def _moves(
    before: Snapshot, after: Snapshot, key: tuple[str, str, str], rules: Held
) -> Iterator[tuple[str, _Move]]:
    role, action, purpose = key
    places = {("", ""), *((rule[4], rule[5]) for rule in rules)}
    categories = before.bundle.categories.keys() | after.bundle.categories.keys()
    targets = [(name, ANY_FIELD, name) for name in categories]
    for rule in rules:
        if rule[1]:
            reached = _reach(after.bundle, purpose) or _reach(before.bundle, purpose)
            targets += [(rule[0], rule[0], name) for name in _likely(rule[0], reached)]
    for shown, field, category in targets:
        for tenant, region in places:
            asked = (frozenset({role}), field, category, action, purpose, tenant, region)
            was, now = before.decide(*asked), after.decide(*asked)
            if _told(was) != _told(now):
                where = " ".join(
                    f"of {kind} {name}"
                    for kind, name in (("tenant", tenant), ("region", region))
                    if name
                )
                widens = action in READING and _is_wider(was, now)
                yield shown, _Move(role, action, purpose, _told(was), _told(now), where, widens)


def _likely(field: str, reached: Collection[str]) -> list[str]:
    """A category to ask about a field with: only the models know its own, so one that is named
    like it, or else any."""
    last = field.rpartition(".")[2]
    return sorted(reached, key=lambda name: (name.rpartition(".")[2] != last, name))[:1]


def _told(decision: Decision) -> str:
    if decision.effect == "mask" and decision.mask:
        return f"masked ({decision.mask})"
    if decision.reason == "rule_deny":
        return _FORBIDDEN
    return _SAYS[decision.effect]


def _is_wider(was: Decision, now: Decision) -> bool:
    if was.effect == now.effect == "mask":  # another mask: only the blank one shows less than any
        return now.mask != "redact"
    if was.effect == now.effect == "deny":  # a denial that held against other roles is gone
        return was.reason == "rule_deny"
    return _RANK[now.effect] > _RANK[was.effect]


def _sentence(move: _Move, targets: str) -> str:
    who = f"{move.role} {move.where}".rstrip()
    gains = move.now.startswith(("in full", "masked"))
    what = f"{move.action} {targets} for {move.purpose}"
    if move.now == _FORBIDDEN:
        return f"{who} is now forbidden to {what}, whatever other role they hold."
    if move.was == _FORBIDDEN and not gains:
        return f"{who} is no longer forbidden to {what}, where another role allows it."
    if move.was in ("not at all", _FORBIDDEN) and gains:
        return f"{who} may now {what}, {move.now}."
    if move.now == "not at all":
        return f"{who} may no longer {what}."
    return f"{who} may now {what} {move.now}; before: {move.was}."


def _together(after: Bundle, before: Bundle, targets: Collection[str]) -> str:
    """The targets, without categories whose parent is among them too."""
    known = {**before.categories, **after.categories}
    shown = sorted(
        name for name in targets if name not in known or known[name].parent not in targets
    )
    *first, last = shown
    return f"{', '.join(first)} and {last}" if first else last


def _reach(bundle: Bundle, purpose: str) -> frozenset[str]:
    if purpose not in bundle.purposes:
        return frozenset()
    covering = set(bundle.purposes[purpose].categories)
    return frozenset(
        name for name in bundle.categories if not covering.isdisjoint(bundle.lineage(name))
    )


def _emergencies(before: Bundle, after: Bundle) -> Iterator[RoleChange]:
    was = {(each.role, each.takes): each.minutes for each in before.emergencies}
    now = {(each.role, each.takes): each.minutes for each in after.emergencies}
    for role, takes in sorted(was.keys() | now.keys()):
        old, new = was.get((role, takes), 0), now.get((role, takes), 0)
        if old != new:
            yield RoleChange(
                f"In an emergency {role} may act as {takes} for {new} minutes; before: {old}.",
                new > old,
            )
