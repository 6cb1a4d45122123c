"""``categories.toml``, ``purposes.toml`` and ``tests.toml``, table by table."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from vaultlayer.access.inheritance import MOST_LINKS
from vaultlayer.access.names import ACTIONS, ALLOWED, EFFECTS, Effect, is_name
from vaultlayer.access.step_up import StepUp, read_step_up
from vaultlayer.access.toml import Table, line_of, read_toml, refuse

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

CATEGORIES, PURPOSES, TESTS = "categories.toml", "purposes.toml", "tests.toml"
# GDPR article 6(1), a to f.
BASES = (
    "consent",
    "contract",
    "legal_obligation",
    "vital_interests",
    "public_task",
    "legitimate_interests",
)
# GDPR article 21: where the law leaves a person no say, an objection would promise what can't be.
OBJECTABLE = frozenset({"consent", "public_task", "legitimate_interests"})
_RETENTION = re.compile(r"[1-9][0-9]{0,3} (day|month|year)s?")


@dataclass(frozen=True, slots=True)
class Category:
    """A kind of personal data. ``words`` is what people are told; ``parent`` covers it.

    ``step_up``: how freshly and strongly somebody must have signed in; its children ask it too.
    """

    name: str
    words: str
    sensitive: bool
    parent: str | None = None
    step_up: StepUp | None = None


@dataclass(frozen=True, slots=True)
class Purpose:
    """What data is used for. ``categories`` cover their children; ``regions`` may be ("*",).

    ``retention`` reads "30 days", "6 months" or "10 years". ``despite_restriction``: goes on for
    people whose data is restricted (GDPR article 18). ``across_regions``: a principal of one
    region may open data of people of another.
    """

    name: str
    words: str
    basis: str
    consent: bool
    categories: tuple[str, ...]
    regions: tuple[str, ...]
    retention: str
    despite_restriction: bool = False
    across_regions: bool = False


@dataclass(frozen=True, slots=True)
class PolicyTest:
    """One ``[[test]]``: what a role is expected to get. ``field`` is "" for any field."""

    role: str
    field: str
    category: str
    action: str
    purpose: str
    expect: Effect
    tenant: str = ""
    region: str = ""
    line: int = 0


def parse_categories(text: str) -> dict[str, Category]:
    """The tree, flattened: ``[contact.email]`` is the category ``contact.email``."""
    found = {category.name: category for category in _walk(text, read_toml(CATEGORIES, text), None)}
    if not found:
        raise refuse(CATEGORIES, 0, "no category is declared", 'begin with [name], words = "…"')
    return found


def parse_purposes(text: str, categories: Collection[str]) -> dict[str, Purpose]:
    """The declared purposes by name; each may only cover declared categories."""
    return {
        name: _purpose(Table(PURPOSES, line_of(text, name), name, table), categories)
        for name, table in read_toml(PURPOSES, text).items()
    }


def parse_tests(
    text: str, categories: Collection[str], purposes: Collection[str]
) -> tuple[PolicyTest, ...]:
    """The expectations in file order."""
    document = read_toml(TESTS, text)
    tests = document.pop("test", [])
    if document or not isinstance(tests, list):
        raise refuse(TESTS, 0, "something else than [[test]] is in it", "write only [[test]]s")
    lines = [at for at, line in enumerate(text.split("\n"), 1) if line.strip() == "[[test]]"]
    lines += [0] * len(tests)  # [[ test ]] is TOML too: then the message has no line
    return tuple(
        _test(Table(TESTS, line, "test", table), categories, purposes)
        for line, table in zip(lines, tests, strict=False)
    )


def _walk(text: str, tables: Mapping[str, object], parent: str | None) -> Iterator[Category]:
    for key, content in tables.items():
        name = key if parent is None else f"{parent}.{key}"
        table = Table(CATEGORIES, line_of(text, name), name, content)
        if "." in key or ":" in key:
            raise table.refuse("its name is quoted", "write [contact.email], without quotes")
        if name.count(".") > MOST_LINKS:
            raise table.refuse("it lies too deep", f"use at most {MOST_LINKS} dots")
        step_up = read_step_up(table)
        below = {key: table.left.pop(key) for key in [*table.left] if _is_table(table.left[key])}
        words, sensitive = table.text("words"), table.flag("sensitive")
        category = Category(name, words, sensitive, parent, step_up)
        table.done()
        yield category
        yield from _walk(text, below, name)


def _is_table(value: object) -> bool:
    return isinstance(value, dict)


def _purpose(table: Table, categories: Collection[str]) -> Purpose:
    purpose = Purpose(
        name=table.name,
        words=table.text("words"),
        basis=table.text("basis", BASES),
        consent=table.flag("consent"),
        categories=table.names("categories", categories),
        regions=table.regions(),
        retention=table.text("retention"),
        despite_restriction=table.flag("despite_restriction", default=False),
        across_regions=table.flag("across_regions", default=False),
    )
    table.done()
    if purpose.basis == "consent" and not purpose.consent:
        raise table.refuse("rests on consent but needs none", "write consent = true")
    if not _RETENTION.fullmatch(purpose.retention):
        raise table.refuse("retention is not a time", 'write "30 days", "6 months" or "10 years"')
    return purpose


def _test(table: Table, categories: Collection[str], purposes: Collection[str]) -> PolicyTest:
    test = PolicyTest(
        role=table.text("role"),
        field=table.text("field") if "field" in table.left else "",
        category=table.text("category", categories),
        action=table.text("action", ACTIONS),
        purpose=table.text("purpose", purposes),
        expect=cast("Effect", table.text("expect", EFFECTS)),
        tenant=table.text("tenant") if "tenant" in table.left else "",
        region=table.text("region") if "region" in table.left else "",
        line=table.line,
    )
    table.done()
    if not all(is_name(name) for name in (test.role, test.field or test.category)):
        raise table.refuse("role or field is not a name", f"a name is {ALLOWED}")
    return test
