"""The policy bundle: a folder of files that reviewers edit, read whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Effect = Literal["allow", "mask", "deny"]


@dataclass(frozen=True, slots=True)
class Rule:
    role: str
    target: str
    action: str
    purpose: str
    effect: Effect
    line: int


@dataclass(frozen=True, slots=True)
class Bundle:
    digest: str
    rules: tuple[Rule, ...]
    categories: Mapping[str, object]
    purposes: Mapping[str, object]


def read_bundle(folder: Path) -> Bundle:
    raise NotImplementedError
