"""The bundle's TOML files: each table is emptied key by key; what is left was not understood.

An unknown key is refused: a misspelt ``consent`` must not mean that no consent is needed.
"""

from __future__ import annotations

import re
import tomllib
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from vaultlayer.access.names import ALLOWED, is_name, quote
from vaultlayer.errors import PolicyError

if TYPE_CHECKING:
    from collections.abc import Collection


class Table:
    """One TOML table that is emptied key by key; what is left over was not understood."""

    def __init__(self, file: str, line: int, name: str, content: object) -> None:
        self.file, self.line, self.name = file, line, name
        if not is_name(name):
            raise self.refuse("it has no valid name", f"a name is {ALLOWED}")
        if not isinstance(content, dict):
            raise self.refuse("it is not a table", f"write [{name}] and its keys below")
        self.left: dict[str, Any] = dict(content)

    def refuse(self, what: str, hint: str) -> PolicyError:
        return refuse(self.file, self.line, f"[{quote(self.name)[1:-1]}] {what}", hint)

    def text(self, key: str, one_of: Collection[str] | None = None) -> str:
        value = self.left.pop(key, None)
        if not isinstance(value, str) or not value.strip():
            raise self.refuse(f"{key} is not a text", f'add {key} = "…"')
        if one_of is not None and value not in one_of:
            raise self.refuse(
                f"{key} {quote(value)} is not known", f"use one of {', '.join(sorted(one_of))}"
            )
        return value

    def flag(self, key: str, default: bool | None = None) -> bool:
        value = self.left.pop(key, default)
        if not isinstance(value, bool):
            raise self.refuse(f"{key} is neither true nor false", f"add {key} = true or false")
        return value

    def names(self, key: str, one_of: Collection[str] | None = None) -> tuple[str, ...]:
        value = self.left.pop(key, None)
        if not isinstance(value, list) or not value or len(set(map(repr, value))) < len(value):
            raise self.refuse(f"{key} is not a list of different names", f'add {key} = ["…"]')
        for name in value:
            if not is_name(name) or (one_of is not None and name not in one_of):
                raise self.refuse(
                    f"{key} has {quote(name)}, which is not known",
                    f"{key} are declared in {key}.toml" if one_of else f"a name is {ALLOWED}",
                )
        return tuple(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of different texts that need not be names, such as URIs."""
        value = self.left.pop(key, None)
        if (
            not isinstance(value, list)
            or not value
            or not all(isinstance(text, str) and text.isprintable() and text for text in value)
        ):
            raise self.refuse(f"{key} is not a list of texts", f'add {key} = ["…"]')
        return tuple(dict.fromkeys(value))

    def regions(self, key: str = "regions") -> tuple[str, ...]:
        """A list of regions; ("*",) is everywhere."""
        if self.left.get(key) == ["*"]:
            del self.left[key]
            return ("*",)
        return self.names(key)

    def day(self, key: str) -> date:
        value = self.left.pop(key, None)
        if not isinstance(value, date) or isinstance(value, datetime):
            raise self.refuse(f"{key} is not a date", f"add {key} = 2026-01-31, without quotes")
        return value

    def done(self) -> None:
        for key in self.left:
            raise self.refuse(f"the key {quote(key)} is not known", "check its spelling")


def read_toml(file: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # The parser's text quotes the file's own characters, and says line and column.
        what = str(error)
    except RecursionError:
        what = "nested too deep"
    raise refuse(file, 0, f"not valid TOML: {what}", "compare it with the starter bundle's")


def line_of(text: str, name: str) -> int:
    """Where ``[name]`` stands, 0 if it is written in some other way."""
    header = re.compile(r"\s*\[\s*" + r"\s*\.\s*".join(map(re.escape, name.split("."))) + r"\s*\]")
    return next((at for at, line in enumerate(text.split("\n"), 1) if header.match(line)), 0)


def refuse(file: str, line: int, what: str, hint: str) -> PolicyError:
    return PolicyError(f"{file}:{line}: {what}" if line else f"{file}: {what}", hint=hint)
