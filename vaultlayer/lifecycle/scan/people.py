"""Tables about people, in which also a mere "name" or "city" is personal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from vaultlayer.lifecycle.scan import names
from vaultlayer.lifecycle.scan.finding import LEAST, Finding, found_in
from vaultlayer.lifecycle.scan.words import PLACES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Column, Table

    from vaultlayer.lifecycle.scan.names import Hit
    from vaultlayer.lifecycle.scan.patterns import Look

_IDENTIFYING = {"email", "phone", "name", "birth", "document"}


def may_hold(column: Column[Any]) -> bool:
    """Keys of other rows, flags and generated numbers hold nothing of a person."""
    kind = column.type
    if isinstance(kind, sa.Boolean) or column.foreign_keys:
        return False
    return not (column.primary_key and isinstance(kind, sa.Integer | sa.Uuid))


def is_of_people(table: Table, found: Sequence[Finding]) -> bool:
    """Whether a table is of people: by its name, or by two things that only people have."""
    if names.is_about_people(table.name):
        return True
    kinds = {each.kind for each in found if each.kind in _IDENTIFYING}
    return len(kinds) > 1 or (bool(kinds) and not names.is_about_things(table.name))


def leads_to(table: Table, people: set[Table]) -> bool:
    """Whether a foreign key leads to a table of people."""
    there = {one.fullname for one in people}
    return any(
        key.target_fullname.rpartition(".")[0] in there for key in table.foreign_keys
    ) and not names.is_about_things(table.name)


def with_weak(
    table: Table, strong: list[Finding], looks: Mapping[Any, Look], of_people: bool
) -> list[Finding]:
    """The strong findings of a table and, where it is about people, its weak ones."""
    found = {each.column: each for each in strong}
    for column in table.columns:
        hit = names.look(column.name)
        if column in found or hit is None or not hit.weak or not may_hold(column):
            continue
        if names.is_about(column.name, hit) or names.of_a_thing(column.name):
            continue
        look, theirs = looks[column], names.of_somebody(column.name)
        addressed = any(each.kind == "address" for each in found.values())
        if not (of_people or theirs) or not _weak_holds(hit, look, column, theirs, addressed):
            continue
        where = "named as somebody's" if theirs else "in a table about people"
        why = f"named like {hit.kind.says}, {where}"
        found[column] = found_in(table, column, hit.kind.name, 0.7, why)
    return [
        found[column]
        for column in table.columns
        if column in found and found[column].confidence >= LEAST
    ]


def _weak_holds(
    hit: Hit, look: Look, column: Column[Any], theirs: bool, addressed: bool
) -> bool:
    kind, numeric = hit.kind.name, look.share("number") > 0.9
    if kind == "name":
        shown = look.values == 0 or look.share("letters") > 0.9
        return shown and names.is_about_people(column.table.name)
    if kind == "address":
        beside = hit.word not in PLACES or theirs or addressed
        return beside and (hit.word in ("cp", "cap") or not numeric)
    if kind == "text":
        return isinstance(column.type, sa.String) and not numeric
    if kind == "usage":
        return names.is_repeating(column.table.name)
    return kind == "picture" or names.is_about_people(column.table.name)
