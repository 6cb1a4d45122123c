"""What a model author writes: ``PersonalData`` on the class, ``personal()`` on its fields."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from sqlalchemy import Column, Table, event
from sqlalchemy.orm import DeclarativeBase, MappedColumn, Mapper, mapped_column
from sqlalchemy.orm.interfaces import _AttributeOptions

from vaultlayer import read_path
from vaultlayer.errors import ConfigurationError
from vaultlayer.orm.entity import SUBJECT_KEY, install
from vaultlayer.orm.twin import Twin, append_twin, defer, twin_of
from vaultlayer.orm.types import BlindIndexType, PersonalType, SubjectIdType
from vaultlayer.search.blind_index import SHARED_BYTES, TERM_BYTES, column_key
from vaultlayer.search.kinds import Equality, Kind
from vaultlayer.search.terms import terms_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from sqlalchemy.orm import Mapped

    from vaultlayer.orm.former import Former


@dataclass(frozen=True, slots=True)
class Declaration:
    """One ``personal()`` line as written; hashable, for SQLAlchemy's statement cache."""

    category: str
    python_type: Any = None
    field: str | None = None
    kinds: tuple[Kind, ...] = ()
    mask: str = "redact"
    padded: bool = False
    unique: bool = False
    twin: Twin | None = None
    former: Former | None = None


class PersonalData:
    """Mixin of every class with personal fields.

    By default a row is a data subject and gets a random ``subject_id`` (UUID) column.
    ``__subject__ = "customer"`` names the relationship, or the foreign-key column, that leads
    to the subject instead; ``__subject__ = None`` says that the row belongs to no person, and
    seals it with the tenant's own key. ``__tenant__`` names the column that holds the row's
    tenant, ``__region__`` the one that holds the region where a subject's key is made and stays.
    ``__collected__`` names the column that says when a row's data was collected (retention).
    ``__entity__`` is the stable name sealed into every value, by default the table's:
    set it to the old name when you rename the table.
    """

    __subject__: ClassVar[str | None]
    __tenant__: ClassVar[str | None]
    __region__: ClassVar[str | None]
    __entity__: ClassVar[str]
    __collected__: ClassVar[str]

    if TYPE_CHECKING:
        subject_id: Mapped[uuid.UUID]

    def __init_subclass__(cls, **arguments: Any) -> None:
        if _needs_subject_column(cls):
            setattr(cls, SUBJECT_KEY, _subject_column())
        if not _is_base(cls):
            event.listen(cls, "instrument_class", defer)  # before the next line maps the class
        super().__init_subclass__(**arguments)
        if not _is_base(cls):
            event.listen(cls, "mapper_configured", _configured)


def personal(
    category: str,
    python_type: Any = None,
    *,
    field: str | None = None,
    search: Kind | Sequence[Kind] | None = None,
    unique: bool = False,
    mask: str = "redact",
    padded: bool = False,
    migrating_from: str | Column[Any] | None = None,
    until: str | date | None = None,
    formerly: Former | None = None,
    **column: Any,
) -> MappedColumn[Any]:
    """Declare a personal field: ``name: Mapped[str] = personal("identity.name")``.

    :param category: one of ``policies/categories.toml``.
    :param python_type: only needed where there is no ``Mapped[...]`` annotation to read.
    :param field: the stable name sealed into every value, by default the attribute's; set it
        to the old name when you rename the attribute.
    :param search: a blind index, or several: ``Equality("email")``, ``Prefix(3)``, ``Words()``,
        ``Substring(3)``, ``Buckets(...)``, ``Compound(...)``; see docs/search.md.
    :param unique: let the database refuse a second equal value (needs an ``Equality``).
    :param mask: how a masked reading looks: redact, last4, email, initials or year.
    :param padded: hide the value's length, in steps of 16 bytes (at most 12 % of a long value).
    :param migrating_from: the plaintext column of the same table that this one takes over from
        (docs/adopt.md): its name, or ``Column("born", Date)`` where it isn't text.
    :param until: the last day on which that plaintext may be read.
    :param formerly: the name or type that stored values were sealed with, until they are resealed.
    :param column: what ``mapped_column()`` takes, such as ``name``, ``nullable``, ``deferred``
        and the dataclass options ``init``, ``default``, ``kw_only``.
    """
    kinds = _kinds(search)
    if unique and not any(isinstance(kind, Equality) for kind in kinds):
        raise ConfigurationError(
            "unique=True can't be kept on sealed values, since no two envelopes are equal",
            hint='add search=Equality("exact"): the uniqueness is then kept on its blind index',
        )
    for option in ("server_default", "onupdate", "server_onupdate", "insert_default", "index"):
        if option in column:
            raise ConfigurationError(
                f"a personal field can't have {option}: the database would handle a plain value",
                hint="assign the value in Python; for look-ups declare search=Equality(...)",
            )
    twin = twin_of(migrating_from, until)
    if twin is not None and formerly is not None:
        raise ConfigurationError(
            "a field can't be migrated from plaintext and from a former form at once",
            hint="finish the one first: `vaultlayer migrate status`",
        )
    if twin is not None:
        column["nullable"] = True  # until every row is sealed
    declaration = Declaration(
        category, python_type, field, kinds, mask, padded, unique, twin, formerly
    )
    declared = mapped_column(PersonalType(declaration), **column)
    declared._attribute_options = _Unseen(*declared._attribute_options)
    if not kinds and twin is None:
        return declared
    declared.__class__ = _Accompanied
    event.listen(declared.column, "after_parent_attach", _columns_beside(declaration))
    return declared


def _kinds(search: Kind | Sequence[Kind] | None) -> tuple[Kind, ...]:
    """The indexes that are declared; two of one kind would have one column."""
    given = () if search is None else (search,) if isinstance(search, Kind) else tuple(search)
    if not all(isinstance(kind, Kind) for kind in given):
        raise ConfigurationError(
            "search= takes a blind index, or several",
            hint="Equality, Prefix, Words, Substring, Buckets or Compound",
        )
    kinds = tuple(part for kind in given for part in kind.parts())
    suffixes = [kind.suffix for kind in kinds]
    if len(set(suffixes)) < len(suffixes) or {"_words", "_substring"} <= set(suffixes):
        raise ConfigurationError(
            "a field has one index of each kind, and Words or Substring",
            hint="give Prefix all its lengths at once: Prefix(3, 5)",
        )
    return kinds


class _Accompanied(MappedColumn[Any]):
    """In a mixin or abstract class: the column's copies have the same columns beside them."""

    __slots__ = ()
    inherit_cache = True

    def _copy(self, **options: Any) -> Self:
        copied = super()._copy(**options)
        declaration = self.column.type.declaration  # type: ignore[attr-defined]
        event.listen(copied.column, "after_parent_attach", _columns_beside(declaration))
        return copied


class _Unseen(_AttributeOptions):
    """Dataclass options under which the generated ``__repr__`` and ``__eq__`` leave the field out.

    They would otherwise read it, which is a decision and a record for every line of a log.
    """

    __slots__ = ()

    def _as_dataclass_field(self, *arguments: Any) -> Any:
        hidden = self._replace(
            dataclasses_repr=self.dataclasses_repr is True,
            dataclasses_compare=self.dataclasses_compare is True,
        )
        return super(_Unseen, hidden)._as_dataclass_field(*arguments)


def _subject_column() -> Column[uuid.UUID]:
    # As its sentinel the column lets SQLAlchemy insert many rows in one statement and still
    # tell which generated primary key belongs to which object.
    return Column(
        SUBJECT_KEY,
        SubjectIdType,
        default=uuid.uuid4,
        insert_sentinel=True,
        unique=True,
        nullable=False,
    )


def _columns_beside(declaration: Declaration) -> Any:
    """Puts the blind indexes, and the plaintext that is migrated from, beside the sealed column
    in whatever table that column joins."""

    def attach(column: Column[Any], table: object) -> None:
        for kind in declaration.kinds if isinstance(table, Table) else ():
            name = column_key(column.name, kind)
            if isinstance(table, Table) and name not in table.c:
                unique = declaration.unique and isinstance(kind, Equality)
                table.append_column(
                    Column(
                        name,
                        BlindIndexType(SHARED_BYTES if kind.many else TERM_BYTES),
                        key=column_key(column.key, kind),
                        unique=unique or None,
                        index=None if unique else True,
                    )
                )
                if kind.many:
                    terms_table(table.metadata)
        if declaration.twin is not None and isinstance(table, Table):
            append_twin(declaration.twin, table)

    return attach


def _configured(mapper: Mapper[Any], _: type) -> None:
    install(mapper, read_path.reading)


def _needs_subject_column(cls: type) -> bool:
    """Whether a class is mapped for itself, a person's row, and has no such column yet."""
    is_mapped = any(hasattr(cls, name) for name in ("__tablename__", "__table__", "_sa_registry"))
    return is_mapped and not (
        _is_base(cls)
        or hasattr(cls, "__subject__")
        or hasattr(cls, SUBJECT_KEY)
        or "__abstract__" in vars(cls)
    )


def _is_base(cls: type) -> bool:
    return DeclarativeBase in cls.__bases__
