"""One personal field of a mapped class, as the two paths need it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vaultlayer.crypto.codecs import codec_for, renewing
from vaultlayer.errors import ConfigurationError
from vaultlayer.orm.declared import annotated_type, default_of
from vaultlayer.orm.twin import refuse_untyped, twin_key
from vaultlayer.search.blind_index import Index
from vaultlayer.search.buckets import Compound
from vaultlayer.search.fitness import refuse_few_values

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Column
    from sqlalchemy.orm import Mapper

    from vaultlayer.declare import Declaration


# "table.attribute" → category of every personal field mapped so far, for the rules to fit.
DECLARED: dict[str, str] = {}
# The same → those that are migrated from a plaintext column.
MIGRATING: dict[str, Field] = {}


class Field:
    """One personal field. ``label`` (``customer.email``) is its name in policies and records."""

    __slots__ = (
        "category", "codec", "column", "compounds", "default", "entity", "former", "indexes", "key",
        "label", "mask", "name", "padded", "renew", "tenanted", "twin", "twin_key", "unique",
    )

    def __init__(self, mapper: Mapper[Any], key: str, column: Column[Any]) -> None:
        declared: Declaration = column.type.declaration  # type: ignore[attr-defined]
        cls = mapper.class_
        self.entity = entity_name(mapper, column)
        self.key = key
        self.column = column
        self.name = declared.field or key
        self.label = f"{self.entity}.{self.name}"
        self.category = declared.category
        self.unique = declared.unique
        self.mask = declared.mask
        self.padded = declared.padded
        self.twin = declared.twin
        self.twin_key = twin_key(declared.twin) if declared.twin is not None else ""
        self.tenanted = getattr(cls, "__tenant__", None) is not None
        python_type = declared.python_type or annotated_type(cls, key)
        self.codec = codec_for(python_type)
        former = declared.former
        self.former = former.place if former is not None else None  # entity and name, as they were
        self.renew: Callable[[bytes], bytes] | None = None  # makes a former encoding the present
        if former is not None and former.into is not None:
            self.codec, self.renew = renewing(python_type, former.python_type, former.into)
        self.default = default_of(column)
        self.indexes: tuple[Index, ...] = tuple(Index(self, kind) for kind in declared.kinds)
        self.compounds: tuple[Index, ...] = ()  # those it is a part of (entity.py)
        for index in self.indexes:
            index.kind.refuse(self.label, self.codec)
            refuse_few_values(self.label, python_type, index.kind)
        DECLARED[self.label] = self.category
        if self.twin is not None:
            refuse_untyped(self)
            MIGRATING[self.label] = self

    def __repr__(self) -> str:
        return f"<Field {self.label}>"


def entity_name(mapper: Mapper[Any], column: Any) -> str:
    """The stable name of the class that a column is of, which is sealed into its values."""
    owner = next(
        (each.class_ for each in mapper.iterate_to_root() if each.local_table is column.table),
        mapper.class_,
    )
    return str(getattr(owner, "__entity__", column.table.fullname))


def group_compounds(fields: dict[str, Field]) -> list[tuple[str, ...]]:
    """Tell the fields of compound indexes of them; which attributes are written together."""
    groups = []
    for field in fields.values():
        for index in field.indexes:
            if not isinstance(index.kind, Compound):
                continue
            others = [fields.get(key) for key in index.kind.normalizers]
            tables = {each.column.table for each in (field, *others) if each is not None}
            if None in others or field in others or len(tables) > 1:
                raise ConfigurationError(
                    f"a Compound index of {field.label} names what is no other personal field of "
                    "its table",
                    hint=f"it has {', '.join(sorted(fields.keys() - {field.key}))}",
                )
            groups.append((field.key, *index.kind.normalizers))
            index.parts = (field, *[each for each in others if each is not None])
            for part in index.parts:
                if index not in part.compounds:
                    part.compounds += (index,)
    return groups
