"""The policy bundle: a folder of files that reviewers edit, read whole or refused whole."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from vaultlayer.access import words
from vaultlayer.access.lines import FILE as ROLES
from vaultlayer.access.lines import refuse
from vaultlayer.access.processors import FILE as PROCESSORS
from vaultlayer.access.processors import parse_processors
from vaultlayer.access.rules import Emergency, Link, Rule, parse_rules
from vaultlayer.access.versions import FILE as VERSION
from vaultlayer.access.versions import Version, parse_version
from vaultlayer.errors import PolicyError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from vaultlayer.access.processors import Processor
    from vaultlayer.access.words import Category, PolicyTest, Purpose

MODEL, NOTICE = "model.conf", "notice.md"
REQUIRED = (words.CATEGORIES, MODEL, words.PURPOSES, ROLES)
# What a decision depends on, and what people are told; the tests say what is expected of it.
DIGESTED = (*REQUIRED, PROCESSORS, NOTICE, VERSION)
FILES = (*DIGESTED, words.TESTS)
MOST_BYTES = 8 << 20  # of one file: 10,000 rules have less than a tenth of that

# The code depends on each of these lines, so the file is there to be read, not to be changed.
MODEL_LINES = (
    "[request_definition]",
    "r = sub, obj, act, purpose, tenant, region",
    "[policy_definition]",
    "p = sub, obj, act, purpose, tenant, region, eft",
    "[role_definition]",
    "g = _, _",
    "g2 = _, _",
    "[policy_effect]",
    "e = some(where (p.eft == allow)) && !some(where (p.eft == deny))",
    "[matchers]",
    "m = r.act == p.act && r.purpose == p.purpose"
    ' && (p.tenant == "*" || r.tenant == p.tenant) && (p.region == "*" || r.region == p.region)'
    " && g(r.sub, p.sub) && g2(r.obj, p.obj)",
)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A valid bundle. ``digest`` is 64 hexadecimal digits over all files but ``tests.toml``."""

    digest: str
    rules: tuple[Rule, ...]
    links: tuple[Link, ...]
    categories: Mapping[str, Category]
    purposes: Mapping[str, Purpose]
    tests: tuple[PolicyTest, ...] = ()
    emergencies: tuple[Emergency, ...] = ()
    processors: Mapping[str, Processor] = field(default_factory=dict)
    notice: str = ""
    version: Version = field(default_factory=Version)
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False, compare=False)

    def lineage(self, category: str) -> tuple[str, ...]:
        """A declared category, its parent, and so on up."""
        found = self.categories[category]
        return (category, *(self.lineage(found.parent) if found.parent is not None else ()))

    def held(self, roles: Collection[str]) -> frozenset[str]:
        """These roles, and all that they inherit from."""
        found, above = set(roles), set(roles)
        while above:
            above = {link.parent for link in self.links if link.child in above} - found
            found |= above
        return frozenset(found)


def read_bundle(folder: Path) -> Bundle:
    """Read and check every file of the bundle; PolicyError says file, line and remedy."""
    return bundle_of(read_files(folder))


def read_files(folder: Path) -> dict[str, bytes]:
    """The bundle's files by name, unread."""
    files = {}
    for name in FILES:
        if name in REQUIRED or (folder / name).exists():
            files[name] = _read(folder, name)
    return files


def bundle_of(files: Mapping[str, bytes]) -> Bundle:
    """The bundle that these files are; what is missing of the required ones is a PolicyError."""
    for name in REQUIRED:
        if name not in files:
            raise PolicyError(f"{name} is missing", hint=_STARTER)
    text = {name: _text(name, content) for name, content in files.items()}
    _check_model(text[MODEL])
    categories = words.parse_categories(text[words.CATEGORIES])
    purposes = words.parse_purposes(text[words.PURPOSES], categories)
    roles = parse_rules(text[ROLES], categories, purposes)
    _check_regions(roles.rules, purposes)
    digested = {name: files[name] for name in DIGESTED if name in files}
    return Bundle(
        digest=_digest(digested),
        rules=roles.rules,
        links=roles.links,
        categories=MappingProxyType(categories),
        purposes=MappingProxyType(purposes),
        tests=words.parse_tests(text.get(words.TESTS, ""), categories, purposes),
        emergencies=roles.emergencies,
        processors=MappingProxyType(
            parse_processors(text.get(PROCESSORS, ""), categories, purposes)
        ),
        notice=text.get(NOTICE, ""),
        version=parse_version(text.get(VERSION, "")),
        files=MappingProxyType(digested),
    )


def _check_regions(rules: tuple[Rule, ...], purposes: Mapping[str, Purpose]) -> None:
    """A misspelt region would silently deny, or allow, nothing."""
    for rule in rules:
        regions = purposes[rule.purpose].regions
        if rule.region and regions != ("*",) and rule.region not in regions:
            raise refuse(
                rule.line,
                f"{rule.purpose} is not used in the region {rule.region}",
                f"use one of its regions in {words.PURPOSES}: {', '.join(regions)}",
            )


_STARTER = (
    "a bundle has model.conf, roles.csv, categories.toml and purposes.toml; "
    "`vaultlayer init` writes a starter"
)


def _read(folder: Path, name: str) -> bytes:
    try:
        with (folder / name).open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise PolicyError(
            f"{name} can't be read in {folder} ({type(error).__name__})", hint=_STARTER
        ) from None


def _text(name: str, content: bytes) -> str:
    if len(content) > MOST_BYTES:
        raise PolicyError(f"{name} is too big", hint=f"a file has at most {MOST_BYTES} bytes")
    if b"\0" in content:
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        raise PolicyError(f"{name}:{line}: a NUL byte", hint="the file is damaged: restore it")
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
