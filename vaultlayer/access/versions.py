"""``version.toml``: which version of the rules a bundle is, and from when it is to count.

What was in force when is not said here but in the vault's database, see amendments.py: whoever
can change the files can't change that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultlayer.access.toml import Table, read_toml

if TYPE_CHECKING:
    from datetime import date

FILE = "version.toml"
NOTICE_DAYS = 30


@dataclass(frozen=True, slots=True)
class Version:
    """``effective``: the first day that it may count, None for as soon as it can.

    ``notice_days``: how long people are told before a version takes effect that reduces their
    rights. The period of the version in force counts, so a version can't shorten its own.
    """

    number: int = 1
    effective: date | None = None
    notice_days: int = NOTICE_DAYS


def parse_version(text: str) -> Version:
    """The version that the file's text tells; version 1 for an empty one."""
    table = Table(FILE, 0, "version", read_toml(FILE, text))
    version = Version(
        number=_whole(table, "version", 1, 1),
        effective=table.day("effective") if "effective" in table.left else None,
        notice_days=_whole(table, "notice_days", NOTICE_DAYS, 0),
    )
    table.done()
    return version


def _whole(table: Table, key: str, default: int, least: int) -> int:
    value = table.left.pop(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 100_000:
        raise table.refuse(f"{key} is not a whole number from {least} on", f"add {key} = {default}")
    return value
