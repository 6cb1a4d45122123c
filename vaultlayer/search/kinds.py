"""The kinds of blind index: what a stored value is found by, and what can be asked of it.

A kind gives *payloads*, bytes that become terms under the index's key (blind_index.py). ``stored``
are those of a value; ``ask`` gives those of a question, or None where the kind can't answer it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaultlayer.errors import ConfigurationError
from vaultlayer.search.normalizers import EXACT, casefolded, named

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vaultlayer.crypto.codecs import Codec

_UNTAKEN = b"\0"  # before a value that its normalizer can't take: no normalised one begins so


@dataclass(frozen=True, slots=True)
class Question:
    """What is looked up: rows that have, of each group, one of the payloads.

    ``check`` tells of an opened value whether it is meant; None: all that are found are.
    """

    groups: list[list[bytes]]
    check: Callable[[Any], bool] | None = None


class Kind:
    """What all kinds share. ``name`` goes into the index's key: whatever changes terms is in it."""

    __slots__ = ()
    suffix: str  # of the hidden column, after "<column>_bidx"
    many = False  # several terms a value: in the shared table
    hint: str  # what it serves, for who asked something else

    @property
    def name(self) -> str:
        raise NotImplementedError

    def parts(self) -> tuple[Kind, ...]:
        """The indexes it makes, each with a column of its own."""
        return (self,)

    def refuse(self, label: str, codec: Codec) -> None:
        """ConfigurationError when the kind isn't for values of this type."""

    def stored(self, codec: Codec, data: bytes) -> list[bytes]:
        """The payloads of an encoded value."""
        raise NotImplementedError

    def ask(self, codec: Codec, op: str, values: Sequence[Any]) -> Question | None:
        """``op``: in, startswith, contains, or range (low, with it?, high, with it?)."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Equality(Kind):
    """``search=Equality("email")``: serves ``==``, ``!=`` and ``in_``, exactly.

    Normalizers: ``exact`` (any type), ``casefold``, ``email``, ``digits``, ``first:3``, ``phone``
    (texts; the last needs the extra ``phone``), ``date:year`` and the like (dates), and those of
    entry points. The index shows which rows hold equal values: not for fields with few values.
    """

    normalizer: str = EXACT
    suffix = ""
    hint = "== and in_"

    def __post_init__(self) -> None:
        named(self.normalizer)

    @property
    def name(self) -> str:
        return f"equality/{named(self.normalizer).label}"

    def refuse(self, label: str, codec: Codec) -> None:
        refuse_type(label, self.normalizer, codec)

    def stored(self, codec: Codec, data: bytes) -> list[bytes]:
        return [payload(self.normalizer, codec, data)]

    def ask(self, codec: Codec, op: str, values: Sequence[Any]) -> Question | None:
        if op != "in":
            return None
        return Question([[payload(self.normalizer, codec, codec.encode(v)) for v in values]])


def payload(normalizer: str, codec: Codec, data: bytes) -> bytes:
    """An encoded value under a normalizer; one that it can't take goes by its folded text."""
    if normalizer == EXACT:
        return data
    value = codec.decode(data)
    text = named(normalizer).text(value)
    return _UNTAKEN + utf8(casefolded(str(value))) if text is None else b"\x01" + utf8(text)


def refuse_type(label: str, normalizer: str, codec: Codec) -> None:
    """Refuse a normalizer for texts on other values, and one for dates on what is none."""
    wanted = "date" if named(normalizer).for_dates else "str"
    if normalizer != EXACT and wanted not in codec.name.split(" | "):
        raise ConfigurationError(
            f"{label} is indexed by {normalizer!r}, which is for {wanted} values",
            hint=f'for {codec.name} use Equality("exact") or Buckets(...)',
        )


def utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
