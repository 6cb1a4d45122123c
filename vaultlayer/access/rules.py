"""``roles.csv``, line by line: what each role may do, which inherits from which, emergencies."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from vaultlayer.access.inheritance import check_links, unmentioned
from vaultlayer.access.lines import check_cells, read_lines, refuse
from vaultlayer.access.masks import mask_names
from vaultlayer.access.names import ACTIONS, ALLOWED, EFFECTS, MASKABLE, Effect, is_name, quote

if TYPE_CHECKING:
    from collections.abc import Collection

MOST_MINUTES = 480  # an emergency is over after a shift
_PLACES = ("tenant", "region")


@dataclass(frozen=True, slots=True)
class Rule:
    """One ``p`` line. ``target`` is a category, or a field when ``is_field``.

    ``mask`` names how a masked value looks, "" for the field's own way. ``tenant`` and
    ``region`` are those of the principals the rule is for, "" for all.
    """

    role: str
    target: str
    action: str
    purpose: str
    effect: Effect
    is_field: bool = False
    line: int = 0
    mask: str = ""
    tenant: str = ""
    region: str = ""

    def __str__(self) -> str:
        target = f"field:{self.target}" if self.is_field else self.target
        effect = f"mask:{self.mask}" if self.mask else self.effect
        places = [f", {name}={getattr(self, name)}" for name in _PLACES if getattr(self, name)]
        line = f"p, {self.role}, {target}, {self.action}, {self.purpose}, {effect}"
        return line + "".join(places)


@dataclass(frozen=True, slots=True)
class Link:
    """One ``g`` line: ``child`` may do whatever ``parent`` may, and is denied what it is denied."""

    child: str
    parent: str
    line: int = 0


@dataclass(frozen=True, slots=True)
class Emergency:
    """One ``e`` line: who has ``role`` may, with a justification, take on another for a while."""

    role: str
    takes: str
    minutes: int
    line: int = 0


@dataclass(frozen=True, slots=True)
class Roles:
    """All that a ``roles.csv`` says."""

    rules: tuple[Rule, ...]
    links: tuple[Link, ...]
    emergencies: tuple[Emergency, ...]


def parse_rules(text: str, categories: Collection[str], purposes: Collection[str]) -> Roles:
    """The lines of a ``roles.csv``; anything not understood is a PolicyError."""
    rules: dict[tuple[str, ...], Rule] = {}
    links: dict[tuple[str, str], Link] = {}
    emergencies: dict[tuple[str, str], Emergency] = {}
    roots = {category.partition(".")[0] for category in categories}
    for number, cells in read_lines(text):
        if cells[0] == "p":
            rule = _rule(number, cells, categories, purposes, roots)
            key = (rule.role, str(rule.is_field), rule.target, rule.action, rule.purpose,
                   rule.tenant, rule.region)  # fmt: skip
            _refuse_second(number, rules.get(key))
            rules[key] = rule
        elif cells[0] == "g":
            link = _link(number, cells)
            _refuse_second(number, links.get((link.child, link.parent)))
            links[link.child, link.parent] = link
        elif cells[0] == "e":
            emergency = _emergency(number, cells)
            _refuse_second(number, emergencies.get((emergency.role, emergency.takes)))
            emergencies[emergency.role, emergency.takes] = emergency
        else:
            raise refuse(
                number, f"{quote(cells[0])} is not a kind of line", "begin it with p, g or e"
            )
    with_rules = {rule.role for rule in rules.values()}
    check_links(tuple(links.values()), with_rules)
    known = with_rules.union(link.child for link in links.values())
    for emergency in emergencies.values():
        if emergency.takes not in known:
            raise unmentioned(emergency.line, emergency.role, "may take on", emergency.takes)
    return Roles(tuple(rules.values()), tuple(links.values()), tuple(emergencies.values()))


def _rule(
    number: int,
    cells: list[str],
    categories: Collection[str],
    purposes: Collection[str],
    roots: Collection[str],
) -> Rule:
    cells, places = _places(number, cells)
    check_cells(number, cells, "p, role, category, action, purpose, effect")
    _, role, target, action, purpose, written = cells
    effect, mask = _effect(number, written)
    if action not in ACTIONS:
        raise refuse(number, f"unknown action {quote(action)}", f"use one of {', '.join(ACTIONS)}")
    if effect == "mask" and action not in MASKABLE:
        raise refuse(
            number,
            f"{quote(action)} can't be masked",
            f"mask goes with {', '.join(sorted(MASKABLE))}; write allow or deny",
        )
    if purpose not in purposes:
        raise refuse(
            number, f"unknown purpose {quote(purpose)}", "declare it in purposes.toml first"
        )
    target, is_field = _target(number, target, categories, roots)
    return Rule(role, target, action, purpose, effect, is_field, number, mask, **places)


def _places(number: int, cells: list[str]) -> tuple[list[str], dict[str, str]]:
    """The cells without the ``tenant=…`` and ``region=…`` at their end, and those."""
    places: dict[str, str] = {}
    while len(cells) > 1 and "=" in cells[-1]:
        key, _, value = cells[-1].partition("=")
        if key not in _PLACES or key in places or not is_name(value):
            raise refuse(
                number,
                f"{quote(cells[-1])} is not understood",
                f"write tenant=NAME or region=NAME, each once; a name is {ALLOWED}",
            )
        places[key] = value
        cells = cells[:-1]
    return cells, places


def _effect(number: int, written: str) -> tuple[Effect, str]:
    """The effect, and the mask that ``mask:last4`` names."""
    effect, colon, mask = written.partition(":")
    if effect not in EFFECTS or (colon and effect != "mask"):
        known = f"use one of {', '.join(EFFECTS)}, or mask:NAME"
        raise refuse(number, f"unknown effect {quote(written)}", known)
    if colon and mask not in mask_names():
        known = f"use one of {', '.join(sorted(mask_names()))}"
        raise refuse(number, f"unknown mask {quote(mask)}", known)
    return cast("Effect", effect), mask


def _target(
    number: int, target: str, categories: Collection[str], roots: Collection[str]
) -> tuple[str, bool]:
    """A category, or a field (``table.attribute``, told from a category by its first part)."""
    if target in categories:
        return target, False
    field = target.removeprefix("field:")
    explicit = field != target
    if "." in field and ":" not in field and (explicit or field.partition(".")[0] not in roots):
        return field, True
    raise refuse(
        number,
        f"unknown category {quote(target)}",
        "declare it in categories.toml, or write a field as table.attribute "
        "(field:table.attribute where the table is named like a category)",
    )


def _link(number: int, cells: list[str]) -> Link:
    check_cells(number, cells, "g, role, inherited role")
    return Link(cells[1], cells[2], number)


def _emergency(number: int, cells: list[str]) -> Emergency:
    check_cells(number, cells, "e, role, role in an emergency, minutes")
    _, role, takes, minutes = cells
    if not re.fullmatch(r"[1-9][0-9]{0,2}", minutes) or int(minutes) > MOST_MINUTES:
        raise refuse(
            number,
            f"{quote(minutes)} is not a number of minutes",
            f"write how long the emergency lasts at most: 1 to {MOST_MINUTES}",
        )
    return Emergency(role, takes, int(minutes), number)


def _refuse_second(number: int, first: Rule | Link | Emergency | None) -> None:
    if first is not None:
        raise refuse(
            number,
            f"line {first.line} already decides this",
            "keep one of the two; a deny outranks an allow, and an allow outranks a mask",
        )
