"""ORM bulk UPDATE by primary key, and bulk INSERT into the tables of a joined class.

``session.execute(update(Customer), [{"id": 1, …}, …])`` and
``session.execute(insert(Employee), […])``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import select, tuple_

from vaultlayer.access.context import no_access
from vaultlayer.errors import UnsupportedQuery
from vaultlayer.orm.attribute import assigned
from vaultlayer.orm.entity import SUBJECT_KEY, entity_of
from vaultlayer.orm.subjects import owners_of
from vaultlayer.write_path import Row, seal_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection
    from sqlalchemy.orm import ORMExecuteState

    from vaultlayer.acting import Access
    from vaultlayer.orm.entity import Entity

_BATCH = 500

Values = dict[str, Any]


def sealed_parameters(
    state: ORMExecuteState, access: Access | None
) -> list[Values] | Values | None:
    """The parameters with their personal values sealed; None when that isn't to be done here."""
    entity = entity_of(state.bind_mapper) if state.bind_mapper is not None else None
    if entity is None or not _is_concerned(state, entity):
        return None
    if access is None:
        raise no_access("personal fields were written")
    connection = state.session.connection(bind_arguments={"mapper": entity.mapper})
    parameters = [_encoded(entity, each) for each in _given(state)]
    if state.is_insert:
        rows = _new_rows(connection, entity, parameters)
    else:
        _refuse_parts(entity, parameters)
        loaded = _load(state, entity, parameters)
        rows = [_row(entity, *each) for each in zip(loaded, parameters, strict=True)]
    seal_rows(access, connection, rows)
    return parameters if isinstance(state.parameters, list) else parameters[0]


def _refuse_parts(entity: Entity, parameters: list[Values]) -> None:
    """A compound index's term is made of all its fields, so all of them have to be there."""
    for group in entity.groups:
        if any(0 < sum(key in each for key in group) < len(group) for each in parameters):
            raise UnsupportedQuery(
                "a bulk UPDATE names some fields of a Compound index only",
                hint=f"give {', '.join(group)} together, or load the rows and assign",
            )


def _is_concerned(state: ORMExecuteState, entity: Entity) -> bool:
    """Whether the rows are to be sealed here: the gate sees those of an INSERT into one table."""
    if state.is_insert:
        return bool(state.parameters) and len(entity.mapper.tables) > 1
    named = isinstance(state.parameters, list) and any(
        key in each for each in state.parameters for key in entity.fields
    )
    return bool(state.is_update and named)


def _given(state: ORMExecuteState) -> list[Any]:
    return state.parameters if isinstance(state.parameters, list) else [state.parameters]


def _encoded(entity: Entity, given: Mapping[str, Any]) -> Values:
    """The parameters of one row, its personal values encoded: they show as nothing from here on."""
    fields = entity.fields
    return {
        key: assigned(fields[key], value) if key in fields else value
        for key, value in given.items()
    }


def _new_rows(connection: Connection, entity: Entity, parameters: list[Values]) -> list[Row]:
    rows = []
    owners = owners_of(connection, entity, parameters)
    for given, (subject, is_new) in zip(parameters, owners, strict=True):
        for key, field in entity.fields.items():
            if field.default is not None and key not in given:
                given[key] = assigned(field, field.default())
        owner = {SUBJECT_KEY: UUID(bytes=subject)} if subject else {}
        if is_new:
            given.update(owner)
        rows.append(_row(entity, given | owner, given, is_new))
    return rows


def _row(entity: Entity, loaded: Values, given: Values, is_new: bool = False) -> Row:
    subject = loaded.get(SUBJECT_KEY)
    return Row(
        tenant=entity.tenant_of(loaded),
        subject=subject.bytes if subject is not None else b"",
        new_subject=is_new,
        row_id=entity.row_id(loaded),
        put=given.__setitem__,
        values=[(key, field, given[key]) for key, field in entity.fields.items() if key in given],
        region=entity.region_of(loaded),
    )


def _load(
    state: ORMExecuteState, entity: Entity, parameters: list[Values]
) -> list[Values]:
    """What binds each row now: its primary key, subject and tenant, in the parameters' order."""
    mapper = entity.mapper
    keys = [mapper.get_property_by_column(column).key for column in mapper.primary_key]
    bound_to = [name for name in (entity.subject_key, entity.tenant_key) if name]
    names = list(dict.fromkeys([*keys, *bound_to]))
    attributes = [getattr(mapper.class_, name) for name in names]
    key = tuple_(*attributes[: len(keys)])
    wanted = [tuple([each.get(name) for name in keys]) for each in parameters]
    found: dict[tuple[Any, ...], Values] = {}
    for start in range(0, len(wanted), _BATCH):
        statement = select(*attributes).where(key.in_(wanted[start : start + _BATCH]))
        for row in state.session.execute(statement):
            found[tuple(row[: len(keys)])] = dict(zip(names, row, strict=True))
    if not all(each in found for each in wanted):
        raise UnsupportedQuery(
            "a bulk UPDATE of sealed columns names a row that isn't there",
            hint=f"give every row's primary key ({', '.join(keys)}) of an existing row",
        )
    return [found[each] for each in wanted]
