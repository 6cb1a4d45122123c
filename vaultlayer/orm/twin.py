"""The plaintext column beside a sealed one while a field is migrated: declared, stored, shut.

It is mapped so that a flush writes it and a load can bring it in, and deferred so that nothing
names it once it may be gone. What comes out of it is ``Plain``, which only orm/plaintext.py opens.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, NoReturn

from sqlalchemy import Column, String, Table, Text
from sqlalchemy.orm import deferred
from sqlalchemy.orm.attributes import InstrumentedAttribute
from sqlalchemy.types import NullType, TypeDecorator, TypeEngine

from vaultlayer.errors import ConfigurationError, UnsupportedQuery
from vaultlayer.orm.given import not_sealed
from vaultlayer.sealed import Plain

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect
    from sqlalchemy.orm import Mapper

    from vaultlayer.orm.field import Field


@dataclass(frozen=True, slots=True)
class Twin:
    """``column`` is the plaintext column's name in the database; it may be read ``until`` then."""

    column: str
    type: TypeEngine[Any]
    until: date


def twin_of(given: str | Column[Any] | None, until: str | date | None) -> Twin | None:
    """What ``personal(migrating_from=, until=)`` declares."""
    if given is None and until is None:
        return None
    name = given if isinstance(given, str) else given.name if given is not None else ""
    kind: TypeEngine[Any] = Text() if not isinstance(given, Column) else given.type
    if not name or isinstance(kind, NullType):
        raise ConfigurationError(
            "migrating_from= names the plaintext column, and until= the last day of reading it",
            hint='migrating_from="email_plain", until="2027-03-01"; where it isn\'t text '
            'migrating_from=Column("born", Date)',
        )
    try:
        last = date.fromisoformat(until) if isinstance(until, str) else until
    except ValueError:
        last = None
    if last is None:
        raise ConfigurationError(
            "a migration needs a day by which its plaintext is gone", hint='until="2027-03-01"'
        )
    return Twin(str(name), kind, last)


def refuse_untyped(field: Field) -> None:
    """A plaintext column that is only named holds text, and so must the field."""
    if field.twin is not None and type(field.twin.type) is Text and field.codec.name != "str":
        raise ConfigurationError(
            f"of {field.label}'s plaintext column {field.twin.column} only the name is known",
            hint=f'say its type: migrating_from=Column("{field.twin.column}", …)',
        )


def twin_key(twin: Twin) -> str:
    """The name of the plaintext column's attribute."""
    return twin.column if twin.column.endswith("_plain") else f"{twin.column}_plain"


def append_twin(twin: Twin, table: Table) -> None:
    """Put the plaintext column into the table, beside the sealed one."""
    if any(column.name == twin.column and not _is_twin(column) for column in table.c):
        raise ConfigurationError(
            f"{table.name}.{twin.column} can't hold both the plaintext and the sealed value",
            hint=f'give the sealed column a name of its own: name="{twin.column}_sealed"',
        )
    key = twin_key(twin)
    if key not in table.c:
        table.append_column(Column(twin.column, TwinType(twin), key=key, nullable=True))


def _is_twin(column: Any) -> bool:
    return isinstance(column.type, TwinType)


class TwinType(TypeDecorator[Any]):
    """Stored as the plaintext always was; ``Plain`` in Python."""

    impl = String
    cache_ok = True

    def __init__(self, twin: Twin | None = None) -> None:
        super().__init__()
        self.twin = twin

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(self.plain)

    @property
    def plain(self) -> TypeEngine[Any]:
        return self.twin.type if self.twin is not None else String()

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        if value is None:
            return None
        if type(value) is not Plain:
            value = None  # a traceback that shows locals must not show it
            raise not_sealed()
        return value.value

    def process_result_value(self, value: Any, dialect: Dialect) -> Plain | None:
        return None if value is None else Plain(value)

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        return self.plain  # what is looked for is no Plain

    def compare_values(self, x: Any, y: Any) -> bool:
        return False  # it is written whenever the sealed one is, whatever others wrote meanwhile


class _Shut(InstrumentedAttribute[Any]):
    """The plaintext column's attribute: it may be searched by, and is never read."""

    __slots__ = ()
    inherit_cache = True

    def __get__(self, instance: Any, owner: Any) -> Any:
        return self if instance is None else _shut(self.key)


def _shut(key: str) -> NoReturn:
    raise UnsupportedQuery(
        f"{key} is the plaintext of a field that is being migrated",
        hint="read the field: it comes from where the migration says, decided and recorded",
    )


def defer(mapper: Mapper[Any], _: type) -> None:
    """Before a class is mapped: its plaintext columns are loaded only when they are asked for."""
    for column in getattr(mapper.local_table, "c", ()):
        if _is_twin(column):
            mapper._init_properties.setdefault(column.key, deferred(column))


def shut(mapper: Mapper[Any], field: Field) -> None:
    """Let the plaintext column's attribute be read nowhere."""
    attribute = mapper.class_.__dict__.get(field.twin_key)
    if attribute is not None:
        attribute.__class__ = _Shut
