"""One personal field of a mapped class, as the two paths need it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vaultlayer.crypto.codecs import codec_for
from vaultlayer.orm.declared import annotated_type, default_of

if TYPE_CHECKING:
    from sqlalchemy import Column

    from vaultlayer.declare import Declaration


# "table.attribute" → category of every personal field mapped so far, for the rules to fit.
DECLARED: dict[str, str] = {}


class Field:
    """One personal field. ``label`` (``customer.email``) is its name in policies and records."""

    __slots__ = (
        "category", "codec", "column", "default", "entity", "index_key", "key", "label", "mask",
        "name", "padded", "search", "tenanted", "unique",
    )

    def __init__(self, entity: str, key: str, column: Column[Any], cls: type) -> None:
        declared: Declaration = column.type.declaration  # type: ignore[attr-defined]
        self.entity = entity
        self.key = key
        self.column = column
        self.name = declared.field or key
        self.label = f"{entity}.{self.name}"
        self.category = declared.category
        self.search = declared.search
        self.unique = declared.unique
        self.mask = declared.mask
        self.padded = declared.padded
        self.tenanted = getattr(cls, "__tenant__", None) is not None
        self.codec = codec_for(declared.python_type or annotated_type(cls, key))
        self.default = default_of(column)
        self.index_key = f"{column.key}_bidx"
        DECLARED[self.label] = self.category

    def __repr__(self) -> str:
        return f"<Field {self.label}>"
