"""Which role inherits from which: no circle, no unknown parent, no chain too long for Casbin."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from vaultlayer.access.lines import refuse
from vaultlayer.access.names import quote

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from vaultlayer.access.rules import Link
    from vaultlayer.errors import PolicyError

# Casbin stops following links after ten, without a word; past that a deny would be lost.
MOST_LINKS = 8


def check_links(links: Collection[Link], with_rules: Collection[str]) -> None:
    parents: dict[str, dict[str, Link]] = {}
    for link in links:
        parents.setdefault(link.child, {})[link.parent] = link
    for link in links:
        if link.parent not in with_rules and link.parent not in parents:
            raise unmentioned(link.line, link.child, "inherits", link.parent)
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


def unmentioned(line: int, role: str, does: str, other: str) -> PolicyError:
    return refuse(
        line,
        f"{quote(role)} {does} {quote(other)}, which no rule mentions",
        "check the spelling, or give that role a p line",
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
