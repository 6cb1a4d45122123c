"""``categories.toml``, ``purposes.toml`` and ``tests.toml``, table by table.

An unknown key is refused: a misspelt ``consent`` must not mean that no consent is needed.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from vaultlayer.access.names import ACTIONS, ALLOWED, EFFECTS, Effect, is_name, quote
from vaultlayer.access.rules import MOST_LINKS
from vaultlayer.errors import PolicyError

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
_RETENTION = re.compile(r"[1-9][0-9]{0,3} (day|month|year)s?")


@dataclass(frozen=True, slots=True)
class Category:
    """A kind of personal data. ``words`` is what people are told; ``parent`` covers it."""

    name: str
    words: str
    sensitive: bool
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class Purpose:
    """What data is used for. ``categories`` cover their children; ``regions`` may be ("*",).

    ``retention`` reads "30 days", "6 months" or "10 years".
    """

    name: str
    words: str
    basis: str
    consent: bool
    categories: tuple[str, ...]
    regions: tuple[str, ...]
    retention: str


@dataclass(frozen=True, slots=True)
class PolicyTest:
    """One ``[[test]]``: what a role is expected to get. ``field`` is "" for any field."""

    role: str
    field: str
    category: str
    action: str
    purpose: str
    expect: Effect
    line: int = 0


def parse_categories(text: str) -> dict[str, Category]:
    """The tree, flattened: ``[contact.email]`` is the category ``contact.email``."""
    found = {category.name: category for category in _walk(text, _toml(CATEGORIES, text), None)}
    if not found:
        raise _refuse(CATEGORIES, 0, "no category is declared", 'begin with [name], words = "…"')
    return found


def parse_purposes(text: str, categories: Collection[str]) -> dict[str, Purpose]:
    """The declared purposes by name; each may only cover declared categories."""
    return {
        name: _purpose(_Table(PURPOSES, _line(text, name), name, table), categories)
        for name, table in _toml(PURPOSES, text).items()
    }


def parse_tests(
    text: str, categories: Collection[str], purposes: Collection[str]
) -> tuple[PolicyTest, ...]:
    """The expectations in file order."""
    document = _toml(TESTS, text)
    tests = document.pop("test", [])
    if document or not isinstance(tests, list):
        raise _refuse(TESTS, 0, "something else than [[test]] is in it", "write only [[test]]s")
    lines = [at for at, line in enumerate(text.split("\n"), 1) if line.strip() == "[[test]]"]
    lines += [0] * len(tests)  # [[ test ]] is TOML too: then the message has no line
    return tuple(
        _test(_Table(TESTS, line, "test", table), categories, purposes)
        for line, table in zip(lines, tests, strict=False)
    )


class _Table:
    """One TOML table that is emptied key by key; what is left over was not understood."""

    def __init__(self, file: str, line: int, name: str, content: object) -> None:
        self.file, self.line, self.name = file, line, name
        if not is_name(name):
            raise self.refuse("it has no valid name", f"a name is {ALLOWED}")
        if not isinstance(content, dict):
            raise self.refuse("it is not a table", f"write [{name}] and its keys below")
        self.left: dict[str, Any] = dict(content)

    def refuse(self, what: str, hint: str) -> PolicyError:
        return _refuse(self.file, self.line, f"[{quote(self.name)[1:-1]}] {what}", hint)

    def text(self, key: str, one_of: Collection[str] | None = None) -> str:
        value = self.left.pop(key, None)
        if not isinstance(value, str) or not value.strip():
            raise self.refuse(f"{key} is not a text", f'add {key} = "…"')
        if one_of is not None and value not in one_of:
            raise self.refuse(
                f"{key} {quote(value)} is not known", f"use one of {', '.join(sorted(one_of))}"
            )
        return value

    def flag(self, key: str) -> bool:
        value = self.left.pop(key, None)
        if not isinstance(value, bool):
            raise self.refuse(f"{key} is neither true nor false", f"add {key} = true or false")
        return value

    def names(self, key: str, one_of: Collection[str] | None = None) -> tuple[str, ...]:
        value = self.left.pop(key, None)
        if not isinstance(value, list) or not value or len(set(map(repr, value))) < len(value):
            raise self.refuse(f"{key} is not a list of different names", f'add {key} = ["…"]')
        for name in value:
            if not (is_name(name) if one_of is None else name in one_of):
                raise self.refuse(
                    f"{key} has {quote(name)}, which is not known",
                    f"{key} are declared in {CATEGORIES}" if one_of else f"a name is {ALLOWED}",
                )
        return tuple(value)

    def done(self) -> None:
        for key in self.left:
            raise self.refuse(f"the key {quote(key)} is not known", "check its spelling")


def _walk(text: str, tables: Mapping[str, object], parent: str | None) -> Iterator[Category]:
    for key, content in tables.items():
        name = key if parent is None else f"{parent}.{key}"
        table = _Table(CATEGORIES, _line(text, name), name, content)
        if "." in key or ":" in key:
            raise table.refuse("its name is quoted", "write [contact.email], without quotes")
        if name.count(".") > MOST_LINKS:
            raise table.refuse("it lies too deep", f"use at most {MOST_LINKS} dots")
        below = {key: table.left.pop(key) for key in [*table.left] if _is_table(table.left[key])}
        category = Category(name, table.text("words"), table.flag("sensitive"), parent)
        table.done()
        yield category
        yield from _walk(text, below, name)


def _is_table(value: object) -> bool:
    return isinstance(value, dict)


def _purpose(table: _Table, categories: Collection[str]) -> Purpose:
    purpose = Purpose(
        name=table.name,
        words=table.text("words"),
        basis=table.text("basis", BASES),
        consent=table.flag("consent"),
        categories=table.names("categories", categories),
        regions=("*",) if table.left.get("regions") == ["*"] else table.names("regions"),
        retention=table.text("retention"),
    )
    table.left.pop("regions", None)
    table.done()
    if purpose.basis == "consent" and not purpose.consent:
        raise table.refuse("rests on consent but needs none", "write consent = true")
    if not _RETENTION.fullmatch(purpose.retention):
        raise table.refuse("retention is not a time", 'write "30 days", "6 months" or "10 years"')
    return purpose


def _test(table: _Table, categories: Collection[str], purposes: Collection[str]) -> PolicyTest:
    test = PolicyTest(
        role=table.text("role"),
        field=table.text("field") if "field" in table.left else "",
        category=table.text("category", categories),
        action=table.text("action", ACTIONS),
        purpose=table.text("purpose", purposes),
        expect=cast("Effect", table.text("expect", EFFECTS)),
        line=table.line,
    )
    table.done()
    if not all(is_name(name) for name in (test.role, test.field or test.category)):
        raise table.refuse("role or field is not a name", f"a name is {ALLOWED}")
    return test


def _toml(file: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # The parser's text quotes the file's own characters, and says line and column.
        what = str(error)
    except RecursionError:
        what = "nested too deep"
    raise _refuse(file, 0, f"not valid TOML: {what}", "compare it with the starter bundle's")


def _line(text: str, name: str) -> int:
    """Where ``[name]`` stands, 0 if it is written in some other way."""
    header = re.compile(r"\s*\[\s*" + r"\s*\.\s*".join(map(re.escape, name.split("."))) + r"\s*\]")
    return next((at for at, line in enumerate(text.split("\n"), 1) if header.match(line)), 0)


def _refuse(file: str, line: int, what: str, hint: str) -> PolicyError:
    return PolicyError(f"{file}:{line}: {what}" if line else f"{file}: {what}", hint=hint)
