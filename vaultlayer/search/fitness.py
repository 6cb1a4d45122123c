"""Which index fits which values: what is refused when it is declared, and what is advised."""

from __future__ import annotations

from enum import Enum
from types import UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

from vaultlayer.errors import ConfigurationError
from vaultlayer.search.buckets import Compound

if TYPE_CHECKING:
    from vaultlayer.search.kinds import Kind

FEWEST = 16  # different values, below which an index tells nearly everybody's


def refuse_few_values(label: str, python_type: Any, kind: Kind) -> None:
    """Refuse an index of a field whose type has few values: counting would tell which is which."""
    few = _few(python_type)
    if few is not None and not isinstance(kind, Compound):
        raise ConfigurationError(
            f"{label} has only {few} possible values, so an index would show each row's",
            hint="index it together with another field (Compound), or filter the loaded rows",
        )


def _few(python_type: Any) -> int | None:
    """How many values the type has, where these are fewer than an index may have."""
    members = (python_type,)
    if get_origin(python_type) in (Union, UnionType):
        members = tuple(each for each in get_args(python_type) if each is not type(None))
    counts = [_count(each) for each in members]
    if not counts or None in counts:
        return None
    total = sum(count for count in counts if count is not None)
    return total if total < FEWEST else None


def _count(kind: Any) -> int | None:
    if kind is bool:
        return 2
    return len(kind) if isinstance(kind, type) and issubclass(kind, Enum) else None
