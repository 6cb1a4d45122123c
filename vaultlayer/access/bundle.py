"""The policy bundle: a folder of files that reviewers edit, read whole or refused whole."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from vaultlayer.access import words
from vaultlayer.access.rules import FILE as ROLES
from vaultlayer.access.rules import Link, Rule, parse_rules
from vaultlayer.errors import PolicyError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from vaultlayer.access.words import Category, PolicyTest, Purpose

MODEL = "model.conf"
# What a decision depends on; the tests say what is expected of it, and are no part of it.
DIGESTED = (words.CATEGORIES, MODEL, words.PURPOSES, ROLES)

# The code depends on each of these lines, so the file is there to be read, not to be changed.
MODEL_LINES = (
    "[request_definition]",
    "r = sub, obj, act, purpose",
    "[policy_definition]",
    "p = sub, obj, act, purpose, eft",
    "[role_definition]",
    "g = _, _",
    "g2 = _, _",
    "[policy_effect]",
    "e = some(where (p.eft == allow)) && !some(where (p.eft == deny))",
    "[matchers]",
    "m = r.act == p.act && r.purpose == p.purpose && g(r.sub, p.sub) && g2(r.obj, p.obj)",
)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A valid bundle. ``digest`` is 64 hexadecimal digits over the files a decision depends on."""

    digest: str
    rules: tuple[Rule, ...]
    links: tuple[Link, ...]
    categories: Mapping[str, Category]
    purposes: Mapping[str, Purpose]
    tests: tuple[PolicyTest, ...] = ()

    def lineage(self, category: str) -> tuple[str, ...]:
        """A declared category, its parent, and so on up."""
        found = self.categories[category]
        return (category, *(self.lineage(found.parent) if found.parent is not None else ()))


def read_bundle(folder: Path) -> Bundle:
    """Read and check every file of the bundle; PolicyError says file, line and remedy."""
    files = {name: _read(folder, name) for name in DIGESTED}
    text = {name: _text(name, content) for name, content in files.items()}
    _check_model(text[MODEL])
    categories = words.parse_categories(text[words.CATEGORIES])
    purposes = words.parse_purposes(text[words.PURPOSES], categories)
    rules, links = parse_rules(text[ROLES], categories, purposes)
    return Bundle(
        digest=_digest(files),
        rules=rules,
        links=links,
        categories=MappingProxyType(categories),
        purposes=MappingProxyType(purposes),
        tests=_tests(folder, categories, purposes),
    )


def _tests(
    folder: Path, categories: dict[str, Category], purposes: dict[str, Purpose]
) -> tuple[PolicyTest, ...]:
    if not (folder / words.TESTS).exists():
        return ()
    text = _text(words.TESTS, _read(folder, words.TESTS))
    return words.parse_tests(text, categories, purposes)


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise PolicyError(
            f"{name} can't be read in {folder} ({type(error).__name__})",
            hint="a bundle has model.conf, roles.csv, categories.toml and purposes.toml; "
            "`vaultlayer init` writes a starter",
        ) from None


def _text(name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
    raise PolicyError(f"{name}:{line}: not UTF-8", hint="save the file as UTF-8 (CSV UTF-8)")


def _check_model(text: str) -> None:
    lines = (" ".join(line.split()) for line in text.split("\n"))
    said = tuple(line for line in lines if line and not line.startswith("#"))
    if said != MODEL_LINES:
        raise PolicyError(
            f"{MODEL} is not the model that this version enforces",
            hint="take the starter bundle's model.conf; what may be done is said in roles.csv",
        )


def _digest(files: Mapping[str, bytes]) -> str:
    """SHA-256 over, for each file by name: length and bytes of its name, then of its content."""
    digest = hashlib.sha256()
    for name in sorted(files):
        for part in (name.encode(), files[name]):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()
