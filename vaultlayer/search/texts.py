"""The kinds for parts of texts: prefixes, words, n-grams."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaultlayer.errors import ConfigurationError
from vaultlayer.search.kinds import Kind, Question, refuse_type, utf8
from vaultlayer.search.normalizers import EXACT, casefolded, named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultlayer.crypto.codecs import Codec

MOST_TERMS = 50_000  # of one value: what a text of some megabytes has
_MOST_ASKED = 8  # n-grams looked up for one text: more would hardly leave out another row
_SHORT = b"<"  # the one payload of all values too short for a prefix
_WORD = re.compile(r"\w+")


class _Text(Kind):
    """A kind for texts, under a normalizer."""

    __slots__ = ()
    normalizer: str

    def refuse(self, label: str, codec: Codec) -> None:
        refuse_type(label, "casefold" if self.normalizer == EXACT else self.normalizer, codec)

    def _label(self, kind: str) -> str:
        return f"{kind}/1/{named(self.normalizer).label}"

    def _text(self, codec: Codec, data: bytes) -> str:
        value = codec.decode(data)
        text = named(self.normalizer).text(value)
        return casefolded(str(value)) if text is None else text

    def _asked(self, codec: Codec, text: str) -> str:
        """The searched text as it stands in normalised ones, with the space at its end."""
        found = self._text(codec, codec.encode(text))
        return f"{found} " if self.normalizer == "casefold" and text[-1:].isspace() else found


@dataclass(frozen=True, slots=True)
class Prefix(_Text):
    """``search=Prefix(3, 5)``: serves ``startswith`` for texts of at least the first length.

    Exactly where the searched text has one of the lengths; a longer one is looked up by the
    longest that fits, and the rows found are opened to see. The index shows which rows begin
    alike, for each length.
    """

    lengths: tuple[int, ...]
    normalizer: str
    hint = "startswith"

    def __init__(self, *lengths: int, normalizer: str = "casefold") -> None:
        if not lengths or not all(type(n) is int and 0 < n <= 64 for n in lengths):
            raise ConfigurationError(
                "Prefix() takes one or several lengths from 1 to 64", hint="e.g. Prefix(3, 5)"
            )
        named(normalizer)
        object.__setattr__(self, "lengths", tuple(sorted(set(lengths), reverse=True)))
        object.__setattr__(self, "normalizer", normalizer)

    @property
    def suffix(self) -> str:  # type: ignore[override]
        return f"_prefix{self.lengths[0]}"

    @property
    def name(self) -> str:
        return self._label(f"prefix{self.lengths[0]}")

    def parts(self) -> tuple[Kind, ...]:
        return tuple(Prefix(length, normalizer=self.normalizer) for length in self.lengths)

    def stored(self, codec: Codec, data: bytes) -> list[bytes]:
        text, length = self._text(codec, data), self.lengths[0]
        return [utf8(text[:length]) if len(text) >= length else _SHORT]

    def ask(self, codec: Codec, op: str, values: Sequence[Any]) -> Question | None:
        if op != "startswith":
            return None
        text, length = self._asked(codec, values[0]), self.lengths[0]
        if len(text) < length:
            return None
        exact = len(text) == length
        begins = lambda value: self._text(codec, codec.encode(value)).startswith(text)  # noqa: E731
        return Question([[utf8(text[:length])]], None if exact else begins)


@dataclass(frozen=True, slots=True)
class Words(_Text):
    """``search=Words()``: ``contains("ada lovelace")`` finds the rows that hold all these words.

    Whole words, in any order, exactly. The index shows which rows share a word, and how many
    different words each has.
    """

    normalizer: str = "casefold"
    suffix = "_words"
    many = True
    hint = "contains (whole words)"

    def __post_init__(self) -> None:
        named(self.normalizer)

    @property
    def name(self) -> str:
        return self._label("words")

    def stored(self, codec: Codec, data: bytes) -> list[bytes]:
        return _few(_words(self._text(codec, data)))

    def ask(self, codec: Codec, op: str, values: Sequence[Any]) -> Question | None:
        words = _words(self._text(codec, codec.encode(values[0]))) if op == "contains" else ()
        return Question([[utf8(word)] for word in words]) if words else None


@dataclass(frozen=True, slots=True)
class Substring(_Text):
    """``search=Substring(3)``: serves ``contains`` for texts of at least n characters.

    Exactly where the searched text has n; of a longer one all its n-grams are looked up, and the
    rows found are opened to see. The index shows which rows share an n-gram: of short texts that
    is nearly the text.
    """

    n: int = 3
    normalizer: str = "casefold"
    suffix = "_substring"
    many = True
    hint = "contains"

    def __post_init__(self) -> None:
        if type(self.n) is not int or not 2 <= self.n <= 16:
            raise ConfigurationError(
                "Substring() takes a length from 2 to 16", hint="e.g. Substring(3)"
            )
        named(self.normalizer)

    @property
    def name(self) -> str:
        return self._label(f"substring{self.n}")

    def stored(self, codec: Codec, data: bytes) -> list[bytes]:
        return _few(self._grams(self._text(codec, data)))

    def ask(self, codec: Codec, op: str, values: Sequence[Any]) -> Question | None:
        text = self._asked(codec, values[0]) if op == "contains" else ""
        if values and op == "contains" and values[0][:1].isspace():
            text = f" {text}"
        if len(text) < self.n:
            return None
        grams = self._grams(text)
        step = -(-len(grams) // _MOST_ASKED)
        holds = lambda value: text in self._text(codec, codec.encode(value))  # noqa: E731
        return Question([[utf8(g)] for g in grams[::step]], holds if len(text) > self.n else None)

    def _grams(self, text: str) -> list[str]:
        return list(dict.fromkeys(text[i : i + self.n] for i in range(len(text) - self.n + 1)))


def _words(text: str) -> list[str]:
    return list(dict.fromkeys(_WORD.findall(text)))


def _few(texts: list[str]) -> list[bytes]:
    if len(texts) > MOST_TERMS:
        raise ConfigurationError(
            f"a text has more than {MOST_TERMS:,} different terms, so it can't be indexed",
            hint="store it in parts, or in a field without this index",
        )
    return [utf8(text) for text in texts]
