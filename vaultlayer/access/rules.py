"""``roles.csv``, line by line: what each role may do, and which role inherits from which.

Casbin's own loader skips lines it doesn't understand and lets a name inject a rule; this one
reads every line or refuses the file.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, cast

from vaultlayer.access.names import ACTIONS, ALLOWED, EFFECTS, MASKABLE, Effect, is_name, quote
from vaultlayer.errors import PolicyError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

FILE = "roles.csv"
# Casbin stops following links after ten, without a word; past that a deny would be lost.
MOST_LINKS = 8


@dataclass(frozen=True, slots=True)
class Rule:
    """One ``p`` line. ``target`` is a category, or a field when ``is_field``."""

    role: str
    target: str
    action: str
    purpose: str
    effect: Effect
    is_field: bool = False
    line: int = 0

    def __str__(self) -> str:
        target = f"field:{self.target}" if self.is_field else self.target
        return f"p, {self.role}, {target}, {self.action}, {self.purpose}, {self.effect}"


@dataclass(frozen=True, slots=True)
class Link:
    """One ``g`` line: ``child`` may do whatever ``parent`` may, and is denied what it is denied."""

    child: str
    parent: str
    line: int = 0


def parse_rules(
    text: str, categories: Collection[str], purposes: Collection[str]
) -> tuple[tuple[Rule, ...], tuple[Link, ...]]:
    """The rules and links of a ``roles.csv``; anything not understood is a PolicyError."""
    rules: dict[tuple[str, ...], Rule] = {}
    links: dict[tuple[str, str], Link] = {}
    roots = {category.partition(".")[0] for category in categories}
    for number, cells in _lines(text):
        if cells[0] == "p":
            rule = _rule(number, cells, categories, purposes, roots)
            key = (rule.role, str(rule.is_field), rule.target, rule.action, rule.purpose)
            _refuse_second(number, rules.get(key))
            rules[key] = rule
        elif cells[0] == "g":
            link = _link(number, cells)
            _refuse_second(number, links.get((link.child, link.parent)))
            links[link.child, link.parent] = link
        else:
            raise refuse(number, f"{quote(cells[0])} is not a kind of line", "begin it with p or g")
    _check_links(tuple(links.values()), {rule.role for rule in rules.values()})
    return tuple(rules.values()), tuple(links.values())


def refuse(line: int, what: str, hint: str) -> PolicyError:
    return PolicyError(f"{FILE}:{line}: {what}", hint=hint)


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    # One physical line at a time: a quoted line break must not join two lines into one rule.
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip(" \t\r")
        if not stripped or stripped.startswith(("#", '"#')):
            continue
        try:
            cells = next(csv.reader([stripped], strict=True, skipinitialspace=True))
        except (csv.Error, StopIteration):
            raise refuse(
                number, "the quotes don't match", "no name needs quotes; remove them"
            ) from None
        cells = [cell.strip(" \t") for cell in cells]
        while cells and not cells[-1]:  # spreadsheets fill short lines up with empty cells
            cells.pop()
        if cells:
            yield number, cells


def _rule(
    number: int,
    cells: list[str],
    categories: Collection[str],
    purposes: Collection[str],
    roots: Collection[str],
) -> Rule:
    _check_cells(number, cells, "p, role, category, action, purpose, effect")
    _, role, target, action, purpose, effect = cells
    if action not in ACTIONS:
        raise refuse(number, f"unknown action {quote(action)}", f"use one of {', '.join(ACTIONS)}")
    if effect not in EFFECTS:
        raise refuse(number, f"unknown effect {quote(effect)}", f"use one of {', '.join(EFFECTS)}")
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
    return Rule(role, target, action, purpose, cast("Effect", effect), is_field, number)


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
    _check_cells(number, cells, "g, role, inherited role")
    return Link(cells[1], cells[2], number)


def _check_cells(number: int, cells: list[str], shape: str) -> None:
    if len(cells) != shape.count(",") + 1:
        raise refuse(
            number,
            f"{len(cells)} cells instead of {shape.count(',') + 1}",
            f"the line reads `{shape}`, with commas between; a comment needs a line of its own",
        )
    for cell in cells:
        if not is_name(cell):
            raise refuse(number, f"{quote(cell)} is not a name", f"a name is {ALLOWED}")


def _refuse_second(number: int, first: Rule | Link | None) -> None:
    if first is not None:
        raise refuse(
            number,
            f"line {first.line} already decides this",
            "keep one of the two; a deny outranks an allow, and an allow outranks a mask",
        )


def _check_links(links: Collection[Link], with_rules: Collection[str]) -> None:
    parents: dict[str, dict[str, Link]] = {}
    for link in links:
        parents.setdefault(link.child, {})[link.parent] = link
    for link in links:
        if link.parent not in with_rules and link.parent not in parents:
            raise refuse(
                link.line,
                f"{quote(link.child)} inherits {quote(link.parent)}, which no rule mentions",
                "check the spelling, or give that role a p line",
            )
    heights: dict[str, int] = {}
    for role in _parents_first(parents):
        above = parents.get(role, {})
        heights[role] = max((1 + heights[parent] for parent in above), default=0)
        if heights[role] > MOST_LINKS:
            raise refuse(
                next(iter(above.values())).line,
                f"{quote(role)} inherits through more than {MOST_LINKS} roles",
                "let it inherit from a role nearer the top",
            )


def _parents_first(parents: Mapping[str, Mapping[str, Link]]) -> tuple[str, ...]:
    try:
        return tuple(TopologicalSorter(parents).static_order())
    except CycleError as error:
        circle: list[str] = error.args[1]
    raise refuse(
        parents[circle[1]][circle[0]].line,
        f"roles inherit in a circle: {' > '.join(reversed(circle))}",
        "remove one of these lines",
    )
