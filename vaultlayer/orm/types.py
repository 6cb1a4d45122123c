"""The column type of a personal field: an envelope on disk, ``Sealed`` in Python.

The type neither seals nor opens. Sealing needs to know the row and opening needs a
decision; a type sees only values. So it wraps what comes out and refuses what was not sealed.
"""

from __future__ import annotations

from contextvars import ContextVar
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, NoReturn, cast
from uuid import UUID, SafeUUID

from sqlalchemy import VARBINARY, LargeBinary, Uuid
from sqlalchemy.types import TypeDecorator, TypeEngine

from vaultlayer.errors import KeyUnavailable, UnsupportedQuery
from vaultlayer.orm.comparator import PersonalComparator
from vaultlayer.orm.given import not_sealed
from vaultlayer.sealed import Sealed

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Dialect

    from vaultlayer.declare import Declaration
    from vaultlayer.sealed import SearchTerms


_LONGBLOB = 2**32 - 1  # BLOB of this length is MySQL's LONGBLOB
_UNKNOWN = SafeUUID.unknown


class PersonalType(TypeDecorator[Any]):
    """Storage is BYTEA or BLOB (LONGBLOB on MySQL and MariaDB) and never changes."""

    impl = LargeBinary
    cache_ok = True
    comparator_factory = PersonalComparator

    def __init__(self, declaration: Declaration | None = None) -> None:
        super().__init__()
        self.declaration = declaration

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name in ("mysql", "mariadb"):
            return dialect.type_descriptor(LargeBinary(_LONGBLOB))
        return dialect.type_descriptor(LargeBinary())

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        def process(value: Any) -> Any:
            if value is None:
                return None
            if type(value) is not Sealed:
                value = None  # a traceback that shows locals must not show it
                raise not_sealed()
            return value.envelope

        return process

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        def process(value: Any) -> Sealed | None:
            if type(value) is bytes:
                return Sealed(value)
            return None if value is None else Sealed(_stored(value))

        return process

    def literal_processor(self, dialect: Dialect) -> NoReturn:
        raise _literal()

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        return self

    def compare_values(self, x: Any, y: Any) -> bool:
        return bool(x == y)


class _NewUUID(UUID):
    """A UUID being made: its parts can still be set, until it becomes a plain UUID."""

    __slots__ = ()
    __init__ = object.__init__
    __setattr__ = object.__setattr__  # type: ignore[assignment]


class SubjectIdType(TypeDecorator[UUID]):
    """A UUID; where the database hands it out as text, a person's is made once and kept a while.

    ``UUID("…")`` would cost more than opening a value does.
    """

    impl = Uuid
    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        if dialect.supports_native_uuid:
            return super().result_processor(dialect, coltype)
        return _subject


@lru_cache(maxsize=1 << 14)
def _subject(text: str | None) -> UUID | None:
    """The UUID of 32 hexadecimal digits, without UUID()'s many checks."""
    if text is None:
        return None
    subject: Any = _NewUUID()
    subject.int = int(text, 16)
    subject.is_safe = _UNKNOWN
    subject.__class__ = UUID
    return subject  # type: ignore[no-any-return]


class BlindIndexType(TypeDecorator[bytes]):
    """A term (HMAC-SHA-256), or the number by which the shared table knows the value."""

    impl = LargeBinary
    cache_ok = True

    def __init__(self, length: int = 32) -> None:
        super().__init__(length)
        self.length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return _storage(dialect.name in ("mysql", "mariadb"), self.length)

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any] | None:
        return None  # bytes as they are: every driver takes them

    def literal_processor(self, dialect: Dialect) -> NoReturn:
        raise _literal()


class TermType(BlindIndexType):
    """The first of the two terms that one searched value may have (see ``SearchTerms``)."""

    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], bytes | None]:
        return _first_term


class OtherTermType(BlindIndexType):
    """The second of them. SQLAlchemy takes a statement's parameters in the order they stand in."""

    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], bytes | None]:
        return _other_term


def _first_term(searched: Any) -> bytes | None:
    if searched is None:
        return None
    first, *others = cast("SearchTerms", searched)
    if len(others) > 1:
        raise KeyUnavailable(
            "a tenant has more than two live index roots",
            hint="finish the exchange that was interrupted: vaultlayer keys rotate index",
        )
    _OTHER.set((searched, others[0] if others else first))
    return first


def _other_term(searched: Any) -> bytes | None:
    of, term = _OTHER.get()
    _OTHER.set((None, None))  # it holds what is searched for
    if of is not searched:
        raise RuntimeError("the parameters of a search were taken out of their order")
    return term


# Of the search whose first term was taken last, its other one.
_OTHER: ContextVar[tuple[SearchTerms | None, bytes | None]] = ContextVar(
    "vaultlayer_other_term", default=(None, None)
)


@cache
def _storage(is_mysql: bool, length: int) -> TypeEngine[Any]:
    """The same object each time: SQLAlchemy asks for it at every search, and adapts new ones."""
    return VARBINARY(length) if is_mysql else LargeBinary(length)  # an index needs a length there


def _stored(value: Any) -> bytes:
    """What a driver hands out otherwise: a buffer, or what nobody sealed, refused when opened."""
    return value.encode() if isinstance(value, str) else bytes(memoryview(value))


def _literal() -> UnsupportedQuery:
    """Raised before SQLAlchemy has the value in hand, whose own error would show it."""
    return UnsupportedQuery(
        "a sealed column's value can't be written into the statement's text",
        hint="execute the statement with parameters instead of literal_binds",
    )
