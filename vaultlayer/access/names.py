"""The names and words that a policy may use, and how a refusal quotes what it found instead."""

from __future__ import annotations

import re
from typing import Literal, get_args

Effect = Literal["allow", "mask", "deny"]
EFFECTS: tuple[str, ...] = get_args(Effect)

ACTIONS = ("read", "search", "write", "export", "disclose", "erase", "administer")
# Only these show somebody a value, so only these can show it masked.
MASKABLE = frozenset({"read", "export", "disclose"})

# Nothing here has a meaning in CSV, in Casbin's expressions or in its role links.
_NAME = re.compile(r"[A-Za-z0-9_.:@/-]{1,128}")
ALLOWED = "1 to 128 of: A-Z a-z 0-9 _ . : @ / -"


def is_name(text: object) -> bool:
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def quote(text: object) -> str:
    """At most 40 characters, with everything unprintable or confusable spelled out."""
    shown = ascii(str(text)[:41])
    return shown if len(str(text)) <= 40 else f"{shown[:-2]}…'"
