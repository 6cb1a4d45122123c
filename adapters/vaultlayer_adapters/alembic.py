"""Alembic: migrations of sealed columns, their blind indexes, and the vault's own tables.

In ``env.py``::

    from vaultlayer_adapters.alembic import options

    context.configure(connection=connection, **options(Base.metadata))

Autogenerate then sees the hidden columns of blind indexes with their database indexes, the table
of terms, and whatever tables this version of vaultlayer keeps; the scripts it writes name plain
SQLAlchemy types, so that they run without vaultlayer, now and in ten years.

A field that is being moved out of plaintext is left alone, with its plaintext and its subject:
those change by the steps of docs/adopt.md (alembic_steps.py), and a plaintext column that was
dropped must not come back because it is still declared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import VARBINARY, LargeBinary, String, Uuid
from sqlalchemy.dialects import mysql
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.types import TypeDecorator, TypeEngine, _Binary

import vaultlayer.vault  # every table of the vault's own is there once this is imported
from vaultlayer.governing import own_metadata
from vaultlayer.keys.tables import MYSQL
from vaultlayer.orm.entity import SUBJECT_KEY
from vaultlayer.orm.types import SubjectIdType
from vaultlayer.search.blind_index import column_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Column, MetaData, Table
    from sqlalchemy.engine import Dialect

__all__ = ["compare_type", "options", "render_item"]

_PLAIN, _MYSQL = DefaultDialect(), mysql.dialect()


def options(*models: MetaData, vault_tables: bool = True) -> dict[str, Any]:
    """What ``context.configure()`` takes: ``target_metadata``, ``render_item``, ``compare_type``
    and ``include_object``.

    :param models: the metadata of your models.
    :param vault_tables: False where the vault's own tables live in another database
        (``[vault] database``); that one is migrated by an environment with ``options()``.
    """
    assert vaultlayer.vault  # noqa: S101 - imported for its tables
    own = own_metadata() if vault_tables else ()
    return {
        "target_metadata": [*models, *own],
        "render_item": render_item,
        "compare_type": compare_type,
        "include_object": _not_moving(models),
    }


def _not_moving(models: Sequence[MetaData]) -> Callable[..., bool]:
    """Alembic's filter: what the steps of a migration see to isn't compared."""

    def include(item: Any, name: str | None, kind: str, reflected: bool, against: Any) -> bool:
        if kind not in ("column", "index", "unique_constraint"):
            return True
        moving = {
            (table.fullname, column)
            for each in models
            for table in each.tables.values()
            for column in _moving(table)
        }
        named = [name] if kind == "column" else [column.name for column in item.columns]
        return not all((item.table.fullname, each) in moving for each in named)

    return include


def _moving(table: Table) -> Iterator[str]:
    """The columns of a table's fields that are being moved, and of its subject if there are any."""
    for column in table.c:
        declaration: Any = getattr(column.type, "declaration", None)
        if declaration is not None and declaration.twin is not None:
            yield column.name
            yield declaration.twin.column
            yield SUBJECT_KEY
            yield from (column_key(column.name, kind) for kind in declaration.kinds)


def render_item(kind: str, item: Any, context: Any) -> str | Literal[False]:
    """One of vaultlayer's column types as what it is stored as; False: Alembic's own way."""
    if kind != "type" or not _is_ours(item):
        return False
    told, told_to_mysql = _told(_stored(item, _PLAIN)), _told(_stored(item, _MYSQL))
    if told == told_to_mysql:
        return told
    return f"{told}.with_variant({told_to_mysql}, {', '.join(map(repr, MYSQL))})"


def compare_type(
    context: Any,
    inspected: Column[Any],
    declared: Column[Any],
    inspected_type: TypeEngine[Any],
    declared_type: TypeEngine[Any],
) -> bool | None:
    """Whether a column's type differs; None leaves it to Alembic. Quiet where storage is the same.

    A plain column that is to be sealed does differ: it needs its values sealed, not only a type.
    """
    if isinstance(declared_type, SubjectIdType):
        return not isinstance(inspected_type, Uuid | String)
    stored = _stored(declared_type, context.dialect)
    of_the_vault = declared.table.name.startswith("vaultlayer_")
    if not (of_the_vault or _is_ours(declared_type)) or not isinstance(stored, _Binary):
        return None
    if not isinstance(inspected_type, _Binary):
        return True
    counts = isinstance(stored, VARBINARY)  # the length of a BLOB only chooses how large it may be
    return counts and getattr(inspected_type, "length", None) != stored.length


def _is_ours(kind: TypeEngine[Any]) -> bool:
    variants = getattr(kind, "_variant_mapping", {}).values()
    return any(type(each).__module__.startswith("vaultlayer.") for each in (kind, *variants))


def _stored(kind: TypeEngine[Any], dialect: Dialect) -> TypeEngine[Any]:
    """The SQLAlchemy type that the column has in such a database."""
    kind = kind._variant_mapping.get(dialect.name, kind)
    while isinstance(kind, TypeDecorator):
        kind = kind.load_dialect_impl(dialect)
    return kind


def _told(kind: TypeEngine[Any]) -> str:
    name = next(
        each.__name__
        for each in type(kind).__mro__
        if each.__module__ in ("sqlalchemy.sql.sqltypes", "sqlalchemy.types")
        and not each.__name__.startswith("_")
    )
    length = getattr(kind, "length", None)
    if isinstance(kind, LargeBinary | String | _Binary) and length:
        return f"sa.{name}({length})"
    return f"sa.{name}()"
