"""Judging columns: what the name, the type, the values and the table say together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from vaultlayer.lifecycle.scan import names
from vaultlayer.lifecycle.scan.finding import KIND, LEAST, Finding, found_in
from vaultlayer.lifecycle.scan.json_values import look_into
from vaultlayer.lifecycle.scan.patterns import Look, look_at
from vaultlayer.lifecycle.scan.people import is_of_people, leads_to, may_hold, with_weak

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Column, Table

    from vaultlayer.lifecycle.scan.names import Hit
    from vaultlayer.lifecycle.scan.reading import Read

_ENOUGH = 5  # different values, to believe a pattern without a name

# Patterns that tell by themselves, whatever the column is called: pattern → (kind, confidence).
_TELLING = {
    "email": ("email", 0.95),
    "bank": ("bank", 0.95),
    "ip": ("ip", 0.85),
    "card": ("card", 0.9),
    "telling document": ("document", 0.9),
    "telling phone": ("phone", 0.75),
    "device": ("device", 0.85),
    "telling geo": ("geo", 0.8),
    "street": ("address", 0.7),
    "picture": ("picture", 0.6),
    "name": ("name", 0.65),
    "mentions": ("text", 0.7),
}
_SHARES = {"mentions": 0.05, "name": 0.6, "telling document": 0.95, "card": 0.9}
# Patterns too common among things to tell by themselves there.
_DOUBTFUL = {"name", "street", "telling phone", "telling geo", "picture"}
_NEEDED = {name: name for name in ("email", "phone", "ip", "card", "device")} | {"birth": "date"}


def judge(read: Read) -> tuple[list[Finding], list[str]]:
    """The findings by table and column, and the columns that are sealed already."""
    sealed: list[str] = []
    looks: dict[Column[Any], Look] = {}
    for table in read.tables:
        for column in table.columns:
            looks[column] = look_at(read.values.get(table, {}).get(column.name, ()))
            if looks[column].share("sealed") > LEAST:
                sealed.append(f"{table.fullname}.{column.name}")
    strong = {table: _strong(table, looks, read) for table in read.tables}
    people = {table for table in read.tables if is_of_people(table, strong[table])}
    people |= {table for table in read.tables if leads_to(table, people)}
    findings = [
        finding
        for table in read.tables
        for finding in with_weak(table, strong[table], looks, table in people)
    ]
    return findings, sealed


def _strong(table: Table, looks: Mapping[Any, Look], read: Read) -> list[Finding]:
    found = []
    for column in table.columns:
        if may_hold(column):
            values = read.values.get(table, {}).get(column.name, ())
            finding = _in_json(table, column, values) or _judged(table, column, looks[column])
            if finding is not None:
                found.append(finding)
    return found


def _judged(table: Table, column: Column[Any], look: Look) -> Finding | None:
    hit = names.look(column.name) or names.look(column.comment or "")
    by_values = _by_values(table, column, look)
    if hit is None or hit.weak:
        return by_values
    if names.is_about(column.name, hit):
        return by_values if by_values and by_values.kind == hit.kind.name else None
    confidence, seen = _confirmed(hit, look, column)
    if by_values and (by_values.kind == hit.kind.name or confidence < by_values.confidence):
        if by_values.kind != hit.kind.name:
            return by_values
        confidence, seen = 0.97, by_values.why.partition(" values")[0] + " values too"
    if names.is_about_things(table.name) and hit.kind.name in ("address", "phone", "geo"):
        confidence *= 0.55  # a shop's or a city's
    why = f"named like {hit.kind.says}" + (f"; {seen}" if seen else "")
    return found_in(table, column, hit.kind.name, confidence, why)


def _confirmed(hit: Hit, look: Look, column: Column[Any]) -> tuple[float, str]:
    """How far the values bear the name out, and what was seen."""
    kind, numeric = hit.kind.name, look.share("number") > 0.9
    if look.values == 0:
        fits = kind not in ("email", "name", "ip") or isinstance(column.type, sa.String)
        return (0.8 if fits else 0.6), ""
    if _contradicted(kind, look, numeric):
        return 0.3, ""
    if kind == "birth" and isinstance(column.type, sa.Date | sa.DateTime):
        return 0.95, "the type is a date"
    wanted = _NEEDED.get(kind)
    if wanted is not None and not isinstance(column.type, sa.types._Binary):
        if look.share(wanted) > LEAST:
            return 0.95, f"{look.share(wanted):.0%} of {look.values} values too"
        # Some of what a name promises can't be checked: a year of birth, a device's own id.
        loose = kind in ("device", "card") or (kind == "birth" and numeric)
        return (0.75 if loose else 0.3), ""
    share = look.share("document" if kind == "document" else "name")
    if kind == "document" and share > 0.9:
        return 0.97, f"{share:.0%} of {look.values} values are {look.country} numbers"
    if kind == "name" and share > 0.3:
        return 0.95, f"{share:.0%} of {look.values} values have a given name"
    return 0.85, ""


def _contradicted(kind: str, look: Look, numeric: bool) -> bool:
    """Whether the values can't be what the name says."""
    if kind in ("name", "trait", "text"):
        return numeric or look.share("url") > LEAST
    if kind == "address":
        return look.share("url") > LEAST or look.share("ip") > LEAST
    if kind == "geo":
        return not numeric and look.share("geo") <= LEAST
    return False


def _by_values(table: Table, column: Column[Any], look: Look) -> Finding | None:
    """What the values tell whatever the column is called; the surest pattern wins."""
    if look.values < _ENOUGH:
        return None
    doubtful = names.is_about_things(table.name) or names.of_a_thing(column.name)
    numeric = isinstance(column.type, sa.Numeric | sa.Integer)
    found = [
        (confidence * min(1.0, 0.5 + look.share(pattern) / 2) if pattern != "mentions"
         else confidence, pattern, kind)
        for pattern, (kind, confidence) in _TELLING.items()
        if look.share(pattern) >= _SHARES.get(pattern, 0.6)
        and not (doubtful and pattern in _DOUBTFUL)
        and not (numeric and pattern in ("telling phone", "ip"))
        and not (pattern == "ip" and "version" in names.parts(column.name))
    ]  # fmt: skip
    if not found:
        return None
    confidence, pattern, kind = max(found)
    share = look.share(pattern)
    if pattern == "mentions":
        why = f"{share:.0%} of {look.values} values mention an e-mail address or a telephone"
    elif pattern == "telling document":
        why = f"{share:.0%} of {look.values} values are {look.country} national numbers"
    else:
        why = f"{share:.0%} of {look.values} values look like {KIND[kind].says}"
    return found_in(table, column, kind, confidence, why)


def _in_json(table: Table, column: Column[Any], values: Sequence[Any]) -> Finding | None:
    """What lies in the documents of a JSON column, or of a text column that holds some."""
    found = look_into(values, declared=isinstance(column.type, sa.JSON))
    if not found:
        return None
    (kind, count), *others = found
    says = ", ".join(KIND[each].says for each, _ in found[:3])
    confidence = 0.9 if count >= _ENOUGH or others else 0.75
    finding = found_in(table, column, kind, confidence, f"JSON with {says}")
    shared = {KIND[each].category.partition(".")[0] for each, _ in found}
    category = finding.category if len(found) == 1 else "content.text"
    if len(found) > 1 and len(shared) == 1:
        category = shared.pop()
    return replace(finding, category=category, from_json=True)
