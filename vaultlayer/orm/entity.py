"""What vaultlayer knows of a mapped class: its personal fields and whose row a row is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import select
from sqlalchemy.orm import Mapper, aliased, column_property, configure_mappers

from vaultlayer.errors import ConfigurationError
from vaultlayer.orm.attribute import instrument
from vaultlayer.orm.field import Field, group_compounds
from vaultlayer.orm.former import refuse_taken
from vaultlayer.orm.types import PersonalType

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Column, Table

SUBJECT_KEY = "subject_id"
ENTITY, _FIELD = "vaultlayer.entity", "vaultlayer.field"
Keys = tuple[str, ...]  # of mapped attributes


class Entity:
    """A mapped class with personal fields.

    ``subject_key`` is the attribute that holds the row's subject (None: tenant-scoped),
    ``link`` what leads a child to its subject's row, ``dependents`` are the entities whose rows
    lead through this one's, ``groups`` the attributes that are written together.
    """

    __slots__ = (
        "dependents", "fields", "groups", "is_composite", "is_subject", "link", "mapper",
        "region_key", "row_keys", "subject_key", "tenant_key",
    )

    def __init__(self, mapper: Mapper[Any]) -> None:
        cls = mapper.class_
        self.mapper = mapper
        self.fields: dict[str, Field] = {}
        self.subject_key: str | None = SUBJECT_KEY
        self.is_subject = not hasattr(cls, "__subject__")
        self.link: Link | None = None
        self.dependents: list[Entity] = []
        self.groups: list[tuple[str, ...]] = []
        self.row_keys = () if self.is_subject else _keys(mapper, mapper.primary_key)
        self.tenant_key = _column_key(mapper, "__tenant__")
        self.region_key = _column_key(mapper, "__region__")
        if self.is_subject and SUBJECT_KEY not in mapper.attrs:
            raise ConfigurationError(
                f"{cls.__name__} is a data subject, but its table has no column {SUBJECT_KEY!r}",
                hint="a class mapped onto a Table needs it there: Column('subject_id', Uuid, "
                "default=uuid.uuid4, unique=True, nullable=False)",
            )
        self.is_composite = True  # more to its place than the subject in ``subject_id``

    def tenant_of(self, values: dict[str, Any]) -> str:
        """The row's tenant; a class without ``__tenant__`` has the one default tenant."""
        if self.tenant_key is None:
            return ""
        tenant = values.get(self.tenant_key)
        if tenant is None:
            raise ConfigurationError(
                f"a row of {self.mapper.class_.__name__} has no tenant",
                hint=f"set {self.tenant_key} before the personal fields are written or read",
            )
        return str(tenant)

    def region_of(self, values: dict[str, Any]) -> str | None:
        """Where a new subject's key belongs; None: where the vault's settings say."""
        return values.get(self.region_key) if self.region_key else None

    @property
    def binding(self) -> set[str]:
        """The attributes that say where the row's values belong."""
        keys = {*self.row_keys, *(self.link.local if self.link else ())}
        return keys | {key for key in (self.tenant_key, self.subject_key) if key}

    def by_attribute(self, table: Table, values: dict[str, Any]) -> dict[str, Any]:
        """A Core row by the mapped attributes' names instead of the columns' keys."""
        return {
            self.mapper.get_property_by_column(table.c[key]).key: value
            for key, value in values.items()
            if key in table.c and self.mapper.columns.contains_column(table.c[key])
        }

    def row_id(self, values: dict[str, Any]) -> tuple[Any, ...] | None:
        """The primary key a value is bound to; None for a subject's own row or a key not known."""
        row = tuple([values.get(key) for key in self.row_keys])
        return row if row and None not in row else None


class Link:
    """How a child row leads to its subject: through foreign-key attributes to a parent entity."""

    __slots__ = ("local", "parent", "relationship", "remote")

    def __init__(
        self, local: Keys, relationship: str | None, parent: Entity, remote: Keys
    ) -> None:
        self.local = local
        self.relationship = relationship
        self.parent = parent
        self.remote = remote


def entity_of(mapper: Mapper[Any]) -> Entity | None:
    """The entity of a mapper, or None when its class has no personal fields."""
    return mapper.__dict__.get(ENTITY)


def fields_of_table(table: Table) -> dict[str, Field]:
    """Column key → field, of the sealed columns in a table; empty for most tables."""
    sealed = [column for column in table.c if isinstance(column.type, PersonalType)]
    if sealed and not all(_FIELD in column.info for column in sealed):
        configure_mappers()
    try:
        return {column.key: column.info[_FIELD] for column in sealed}
    except KeyError:
        raise ConfigurationError(
            f"the table {table.name} has personal columns, but no mapped class owns them",
            hint="map it by a class with the PersonalData mixin",
        ) from None


def field_of(column: Any) -> Field:
    """The field of a sealed column, whatever alias it is selected from."""
    field: Field = next(each.info[_FIELD] for each in column.base_columns if _FIELD in each.info)
    return field


def install(mapper: Mapper[Any], reading: Callable[..., Any]) -> Entity:
    """Give a mapped class its entity, and its attributes their reading. Idempotent."""
    known = entity_of(mapper)
    if known is not None:
        return known
    entity = mapper.__dict__[ENTITY] = Entity(mapper)
    if not entity.is_subject:
        _link_to_subject(entity, mapper.class_.__subject__, reading)
    entity.is_composite = entity.tenant_key is not None or entity.subject_key is None
    for attribute in mapper.column_attrs:
        column = attribute.columns[0]
        if isinstance(column.type, PersonalType):
            entity.fields[attribute.key] = _field(mapper, attribute.key, column)
    _refuse_composites(mapper)
    known_ones = filter(None, map(entity_of, mapper.registry.mappers))
    refuse_taken(entity.fields.values(), known_ones)
    entity.groups = group_compounds(entity.fields)
    for field in entity.fields.values():
        field.column.info[_FIELD] = field
        instrument(mapper, entity, field, reading)
    for table in mapper.tables:  # where classes inherit, the base's
        cast("Table", table).primary_key.info.setdefault(ENTITY, entity)
    return entity


def _refuse_composites(mapper: Mapper[Any]) -> None:
    for each in mapper.composites:
        if any(isinstance(prop.columns[0].type, PersonalType) for prop in each.props):
            raise ConfigurationError(
                f"{mapper.class_.__name__}.{each.key} is a composite of personal fields, which "
                "would keep their opened values on the instance",
                hint="write a Python property that reads the attributes",
            )


def _field(mapper: Mapper[Any], key: str, column: Any) -> Field:
    """One Field per column: a subclass shares its base's, so that both open what either sealed."""
    inherited = entity_of(mapper.inherits) if mapper.inherits is not None else None
    if inherited is not None and key in inherited.fields:
        return inherited.fields[key]
    return Field(mapper, key, column)


def _link_to_subject(entity: Entity, path: str | None, reading: Callable[..., Any]) -> None:
    mapper = entity.mapper
    if path is None:
        entity.subject_key = None
        return
    if path in mapper.relationships:
        relationship = mapper.relationships[path]
        if relationship.uselist or relationship.secondary is not None:
            raise _bad_subject(mapper, path)
        pairs, target = relationship.local_remote_pairs, relationship.mapper
    else:
        column = mapper.columns.get(path)
        keys = list(column.foreign_keys) if column is not None else []
        if len(keys) != 1:
            raise _bad_subject(mapper, path)
        pairs = [(cast("Column[Any]", column), keys[0].column)]
        target = _mapper_of(mapper, keys[0].column.table)
    if SUBJECT_KEY not in target.columns and not hasattr(target.class_, "__subject__"):
        raise _bad_subject(mapper, path)
    parent = install(target, reading)
    if parent.subject_key is None:
        raise _bad_subject(mapper, path)
    parent.dependents.append(entity)
    relationship_key = path if path in mapper.relationships else None
    entity.link = Link(
        _keys(mapper, [local for local, _ in pairs]),
        relationship_key,
        parent,
        _keys(target, [remote for _, remote in pairs]),
    )
    if SUBJECT_KEY not in mapper.attrs:
        # A correlated subquery on every load: the row's subject is where the database says
        # the row belongs now, so a row or an envelope moved to another person won't open.
        owner = aliased(target.class_)
        leads = [
            getattr(owner, key) == local
            for key, (local, _) in zip(entity.link.remote, pairs, strict=True)
        ]
        subject = select(getattr(owner, SUBJECT_KEY)).where(*leads).correlate_except(owner)
        mapper.add_property(SUBJECT_KEY, column_property(subject.scalar_subquery()))


def _mapper_of(mapper: Mapper[Any], table: Any) -> Mapper[Any]:
    for other in mapper.registry.mappers:
        if other.local_table is table and other.inherits is None:
            return other
    raise _bad_subject(mapper, str(table))


def _keys(mapper: Mapper[Any], columns: Any) -> tuple[str, ...]:
    return tuple(mapper.get_property_by_column(column).key for column in columns)


def _column_key(mapper: Mapper[Any], what: str) -> str | None:
    path: str | None = getattr(mapper.class_, what, None)
    if path is None:
        return None
    if path in mapper.relationships:
        return _keys(mapper, [mapper.relationships[path].local_remote_pairs[0][0]])[0]
    if path in mapper.column_attrs:
        return path
    raise ConfigurationError(
        f"{mapper.class_.__name__}.{what} names {path!r}, which is no column or relationship",
        hint="name a mapped column, or a many-to-one relationship, of the same class",
    )


def _bad_subject(mapper: Mapper[Any], path: str) -> ConfigurationError:
    return ConfigurationError(
        f"{mapper.class_.__name__}.__subject__ names {path!r}, which leads to no data subject",
        hint="name a many-to-one relationship, or a column with one foreign key, whose target has "
        "the PersonalData mixin and a subject; or None for rows that belong to no person",
    )
