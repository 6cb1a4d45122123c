"""What a personal column yields: a value nobody has opened, or its mask.

``Sealed`` is what loading gives. It can be kept, compared and stored, and nothing else:
every way of turning it into text shows a placeholder, and pickling refuses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from vaultlayer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class _Redacted:
    """Shared manners of everything that may hold, or lead to, a personal value."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __str__(self) -> str:
        return repr(self)

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __copy__(self) -> _Redacted:
        return self

    def __deepcopy__(self, memo: object) -> _Redacted:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise ConfigurationError(
            f"{type(self).__name__} values can't be pickled",
            hint="pickle the row's primary key and load the row again where it is needed",
        )

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> NoReturn:
        raise ConfigurationError(
            f"{cls.__name__} is not a field of a response model",
            hint="declare the value's own type and fill it from access.reveal()",
        )


class Sealed(_Redacted, bytes):
    """A value nobody has opened yet: the stored envelope (docs/format.md), with manners.

    It is a ``bytes`` because an object of its own around the bytes would double what loading
    costs; what its bytes can give away is ciphertext.
    """

    __slots__ = ()

    @property
    def envelope(self) -> bytes:
        """The stored bytes, plain ``bytes`` again."""
        return bytes(self)


class Unsealed(_Redacted, bytes):
    """An assigned value waiting for its flush; never leaves vaultlayer.

    It is the encoded value (crypto/codecs.py), so a wrong type fails on the line that assigns
    it and not at the flush.
    """

    __slots__ = ()


class Plain(_Redacted):
    """A value of a plaintext column that is being migrated from; never leaves vaultlayer."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class SearchTerms(_Redacted):
    """Payloads on their way to a blind index, as the value of an expanding parameter.

    What it gives when the statement is sent are their terms: one a payload, and more while index
    roots are exchanged. ``noted`` is how many searched values the journal is told of.
    """

    __slots__ = ("_hashed", "index", "negated", "noted", "payloads")

    def __init__(
        self,
        index: Any,
        payloads: list[bytes],
        noted: int,
        negated: bool,
        hashed: Callable[[SearchTerms], list[bytes]],
    ) -> None:
        self.index = index
        self.payloads = payloads
        self.noted = noted
        self.negated = negated
        self._hashed = hashed

    def __len__(self) -> int:
        return len(self.payloads)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._hashed(self))


class Masked(str):
    """A masked reading, such as ``***4711``. It shows like a str and can't be assigned back."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Masked({str.__repr__(self)})"
