"""How a child row leads to its data subject: ``__subject__`` followed to the parent's row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import select
from sqlalchemy.orm import ColumnProperty, Mapper, aliased, column_property

from vaultlayer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Column, ColumnElement

    from vaultlayer.orm.entity import Entity

    Pairs = Sequence[tuple[ColumnElement[Any], ColumnElement[Any]]]


class Link:
    """How a child row leads to its subject: through foreign-key attributes to a parent entity."""

    __slots__ = ("local", "parent", "relationship", "remote")

    def __init__(
        self,
        local: tuple[str, ...],
        relationship: str | None,
        parent: Entity,
        remote: tuple[str, ...],
    ) -> None:
        self.local = local
        self.relationship = relationship
        self.parent = parent
        self.remote = remote


def follow(mapper: Mapper[Any], path: str) -> tuple[Mapper[Any], Pairs]:
    """The parent's mapper, and the pairs of a foreign-key column and what it points at."""
    pairs: Pairs
    if path in mapper.relationships:
        relationship = mapper.relationships[path]
        if relationship.uselist or relationship.secondary is not None:
            raise bad_subject(mapper, path)
        target, pairs = relationship.mapper, relationship.local_remote_pairs
    else:
        column = mapper.columns.get(path)
        keys = list(column.foreign_keys) if column is not None else []
        if len(keys) != 1:
            raise bad_subject(mapper, path)
        target = _mapper_of(mapper, keys[0].column.table)
        pairs = [(cast("Column[Any]", column), keys[0].column)]
    if "subject_id" not in target.columns and not hasattr(target.class_, "__subject__"):
        raise bad_subject(mapper, path)
    return target, pairs


def subject_property(
    target: Mapper[Any], link: Link, pairs: Pairs, subject_key: str
) -> ColumnProperty[Any]:
    """The row's subject by a correlated subquery on every load.

    It is where the database says that the row belongs now, so a row or an envelope that was
    moved to another person doesn't open.
    """
    owner = aliased(target.class_)
    leads = [
        getattr(owner, key) == local for key, (local, _) in zip(link.remote, pairs, strict=True)
    ]
    subject = select(getattr(owner, subject_key)).where(*leads).correlate_except(owner)
    return column_property(subject.scalar_subquery())


def keys_of(mapper: Mapper[Any], columns: Any) -> tuple[str, ...]:
    """The attributes that hold these columns."""
    return tuple(mapper.get_property_by_column(column).key for column in columns)


def _mapper_of(mapper: Mapper[Any], table: Any) -> Mapper[Any]:
    for other in mapper.registry.mappers:
        if other.local_table is table and other.inherits is None:
            return other
    raise bad_subject(mapper, str(table))


def bad_subject(mapper: Mapper[Any], path: str) -> ConfigurationError:
    return ConfigurationError(
        f"{mapper.class_.__name__}.__subject__ names {path!r}, which leads to no data subject",
        hint="name a many-to-one relationship, or a column with one foreign key, whose target has "
        "the PersonalData mixin and a subject; or None for rows that belong to no person",
    )
