"""ORM bulk UPDATE by primary key: ``session.execute(update(Customer), [{"id": 1, …}, …])``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select, tuple_

from vaultlayer.access.context import no_access
from vaultlayer.errors import UnsupportedQuery
from vaultlayer.orm.attribute import assigned
from vaultlayer.orm.entity import SUBJECT_KEY, entity_of
from vaultlayer.write_path import Row, seal_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.orm import ORMExecuteState

    from vaultlayer.acting import Access
    from vaultlayer.orm.entity import Entity

_BATCH = 500


def sealed_parameters(state: ORMExecuteState, access: Access | None) -> list[dict[str, Any]] | None:
    """The parameters with their personal values sealed; None when they have none."""
    entity = entity_of(state.bind_mapper) if state.bind_mapper is not None else None
    if entity is None or not isinstance(state.parameters, list):
        return None
    if not any(key in each for each in state.parameters for key in entity.fields):
        return None
    if access is None:
        raise no_access("personal fields were written")
    parameters = [_encoded(entity, each) for each in state.parameters]
    rows = [
        _row(entity, loaded, each)
        for loaded, each in zip(_load(state, entity, parameters), parameters, strict=True)
    ]
    seal_rows(access, state.session.connection(), rows)
    return parameters


def _encoded(entity: Entity, given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of one row, its personal values encoded: they show as nothing from here on."""
    fields = entity.fields
    return {
        key: assigned(fields[key], value) if key in fields else value
        for key, value in given.items()
    }


def _row(entity: Entity, loaded: dict[str, Any], given: dict[str, Any]) -> Row:
    subject = loaded.get(SUBJECT_KEY)
    return Row(
        tenant=entity.tenant_of(loaded),
        subject=subject.bytes if subject is not None else b"",
        new_subject=False,
        row_id=entity.row_id(loaded),
        put=given.__setitem__,
        values=[(key, field, given[key]) for key, field in entity.fields.items() if key in given],
    )


def _load(
    state: ORMExecuteState, entity: Entity, parameters: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """What binds each row now: its primary key, subject and tenant, in the parameters' order."""
    mapper = entity.mapper
    keys = [mapper.get_property_by_column(column).key for column in mapper.primary_key]
    bound_to = [name for name in (entity.subject_key, entity.tenant_key) if name]
    names = list(dict.fromkeys([*keys, *bound_to]))
    attributes = [getattr(mapper.class_, name) for name in names]
    key = tuple_(*attributes[: len(keys)])
    wanted = [tuple([each.get(name) for name in keys]) for each in parameters]
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
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
