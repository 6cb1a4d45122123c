"""The mapped classes that a vault serves, and the rows of one person among them."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import inspect
from sqlalchemy.orm import configure_mappers

from vaultlayer.errors import ConfigurationError
from vaultlayer.orm.entity import SUBJECT_KEY, entity_of
from vaultlayer.orm.field import entity_name
from vaultlayer.orm.twin import TwinType
from vaultlayer.orm.types import BlindIndexType, PersonalType
from vaultlayer.search.terms import NAME as TERMS
from vaultlayer.search.terms import table_of, terms_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Column, ColumnElement, Connection, Table
    from sqlalchemy.orm import Mapper

    from vaultlayer.orm.entity import Entity
    from vaultlayer.orm.field import Field


def import_models(names: Iterable[str]) -> list[Any]:
    """The classes of the modules that ``[vault] models`` or ``--models`` names."""
    found = []
    for name in names:
        try:
            module = sys.modules.get(name) or import_module(name)
        except ImportError as error:
            raise ConfigurationError(
                f"the models' module {name} can't be imported ({type(error).__name__})",
                hint="name it as Python imports it, e.g. shop.models, from a folder on PYTHONPATH",
            ) from None
        found += [each for each in vars(module).values() if isinstance(each, type)]
    return found


def subclasses(cls: type) -> list[Any]:
    """All classes below one, however deep."""
    below: list[type] = cls.__subclasses__()
    return [each for one in below for each in (one, *subclasses(one))]


def declared(classes: Iterable[Any]) -> list[Entity]:
    """The entities of some classes and of all mapped beside them; a base before its subclasses."""
    found = [entity_of(mapper) for mapper in _mappers(classes)]
    return [entity for entity in found if entity is not None]


def declared_indexes(classes: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Where each blind index is and how its terms are made, be the mappers configured or not."""
    for cls in classes:
        mapper = inspect(cls, raiseerr=False)
        for key, column in mapper.columns.items() if mapper is not None else ():
            if isinstance(column.type, PersonalType):
                declaration: Any = column.type.declaration
                name = f"{entity_name(mapper, column)}.{declaration.field or key}"
                for kind in declaration.kinds:
                    yield name + kind.suffix, kind.name


def entities(classes: Iterable[Any], connection: Connection) -> list[Entity]:
    """Those of ``declared`` whose tables are there.

    A table that is there without all of its columns is refused: what isn't seen isn't erased.
    """
    mappers = _mappers(classes)
    seen = inspect(connection)
    tables: set[Any] = {mapper.local_table for mapper in mappers if entity_of(mapper) is not None}
    missing = {table for table in tables if not seen.has_table(table.name, schema=table.schema)}
    for table in tables - missing:
        there = {column["name"] for column in seen.get_columns(table.name, schema=table.schema)}
        absent = [
            column.name
            for column in table.columns
            if column.name not in there and not isinstance(column.type, TwinType)
        ]
        if absent:
            raise ConfigurationError(
                f"the table {table.name} lacks the columns {', '.join(absent)} of its class",
                hint="migrate the database, or name this database's modules in [vault] models",
            )
    there_are = [(entity_of(mapper), mapper.local_table) for mapper in mappers]
    return [entity for entity, table in there_are if entity is not None and table not in missing]


def _mappers(classes: Iterable[Any]) -> list[Mapper[Any]]:
    configure_mappers()
    found: set[Mapper[Any]] = set()
    for each in classes:
        mapper = inspect(each, raiseerr=False)
        registry = getattr(each, "registry", None) or getattr(mapper, "registry", None)
        found.update(getattr(registry, "mappers", ()))
    return sorted(found, key=_depth)  # a base before its subclasses: its rows are all of them


def _depth(mapper: Mapper[Any]) -> tuple[int, str]:
    return len(list(mapper.iterate_to_root())), mapper.class_.__qualname__


def fields_by_table(known: Iterable[Entity]) -> Iterator[tuple[Entity, Table, list[Field]]]:
    """Each table with sealed columns once, and an entity whose rows are in it."""
    done: set[Field] = set()
    for entity in known:
        fresh = [field for field in entity.fields.values() if field not in done]
        done.update(fresh)
        for table in {field.column.table: None for field in fresh}:
            yield entity, table, [field for field in fresh if field.column.table is table]


def shared_tables(known: Iterable[Entity], connection: Connection) -> list[Table]:
    """The tables of terms beside some entities, also where no index is declared for it any more."""
    fields = [field for entity in known for field in entity.fields.values()]
    indexes = [index for field in fields for index in field.indexes if index.kind.many]
    found = dict.fromkeys(map(table_of, indexes))
    named = {table.metadata for table in found}
    for metadata in {field.column.table.metadata for field in fields} - named:
        if inspect(connection).has_table(TERMS, schema=metadata.schema):
            found[terms_table(sa.MetaData(schema=metadata.schema))] = None
    return list(found)


def bare(table: Table) -> Any:
    """The table as plain bytes: written to without the gate, which guards the real one."""
    columns = [sa.column(column.name, _plain(column.type)) for column in table.columns]
    return sa.table(table.name, *columns, schema=table.schema)


def stored(column: Column[Any]) -> Any:
    """A column of a mapped table as plain bytes: nothing is put around each value that is read."""
    found: Any = sa.column(column.name, _plain(column.type))
    found.table = column.table
    return found


def rows_of(target: Any, entity: Entity, table: Table, subject: Any) -> ColumnElement[bool]:
    """The condition on ``target``, a bare table, that picks one person's rows, or some people's.

    ``table`` is the entity's table that it stands for.
    """
    mapper = entity.mapper
    found = mapper.columns.get(SUBJECT_KEY)
    own = found if isinstance(found, sa.Column) else None  # a child's is computed
    if own is not None and own.table is table:
        column = _in(target, own)
        return _is(column.in_(subject) if isinstance(subject, list) else column == subject)
    if own is None and entity.link is not None:
        local = [mapper.columns[key] for key in entity.link.local]
        if all(column.table is table for column in local):
            return _leads_to(target, local, entity.link, subject)
    # A joined subclass's own table: by the primary key it shares with its base's.
    base: Any = mapper.base_mapper.local_table if own is None else own.table
    inner = sa.select(*base.primary_key).where(rows_of(base, entity, base, subject))
    return _among([_in(target, key) for key in table.primary_key], inner)


def _leads_to(target: Any, local: list[Any], link: Any, subject: Any) -> ColumnElement[bool]:
    parent = link.parent
    remote = [parent.mapper.columns[key] for key in link.remote]
    owner = remote[0].table
    inner = sa.select(*remote).where(rows_of(owner, parent, owner, subject))
    return _among([_in(target, column) for column in local], inner)


def _in(target: Any, column: Any) -> Any:
    """A column in the table itself, or in the bare one that stands for it."""
    return column if target is column.table else target.c[column.name]


def _among(columns: list[Any], inner: Any) -> ColumnElement[bool]:
    one = len(columns) == 1
    return _is(columns[0].in_(inner) if one else sa.tuple_(*columns).in_(inner))


def _is(condition: Any) -> ColumnElement[bool]:
    found: ColumnElement[bool] = condition
    return found


def _plain(kind: Any) -> Any:
    """A sealed or blind-index column's storage; any other type as it is."""
    if isinstance(kind, TwinType):
        return kind.plain
    return sa.LargeBinary() if isinstance(kind, PersonalType | BlindIndexType) else kind
