"""Batches for the read path: the rows of ``reveal()`` and the cells of a column select."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import object_session

from vaultlayer import read_path
from vaultlayer.errors import UnsupportedQuery
from vaultlayer.orm import loading
from vaultlayer.orm.attribute import personal_field
from vaultlayer.sealed import Unsealed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from vaultlayer.acting import Access
    from vaultlayer.orm.columns import SealedCell
    from vaultlayer.orm.entity import Entity, Field

_STATE = "_sa_instance_state"


def reveal(access: Access, rows: Any, attributes: Sequence[Any]) -> list[tuple[Any, ...]]:
    """The opened values of mapped instances, a tuple per row in the attributes' order."""
    instances = as_rows(rows)
    entity, fields = _asked(attributes)
    closed = [[_closed(instance, entity, field) for field in fields] for instance in instances]
    if any(type(value) is Unsealed for values in closed for value in values):
        raise UnsupportedQuery(
            "reveal() was asked for a value that was assigned and not flushed yet",
            hint="session.flush() first",
        )
    firsts = [next(filter(None, values), None) for values in closed]  # a row's share their key
    loading.fetch_missing(access, _session(instances), filter(None, firsts))
    given = [
        (instance.__dict__, values) for instance, values in zip(instances, closed, strict=True)
    ]
    return read_path.open_rows(access, entity, fields, given)


def open_cells(access: Access, session: Session, cells: Sequence[SealedCell]) -> list[Any]:
    """The opened values of selected cells, in their order; keys in one statement."""
    loading.fetch_missing(access, session, [cell.sealed for cell in cells])
    by_field: dict[tuple[Entity, Field], list[int]] = defaultdict(list)
    for position, cell in enumerate(cells):
        by_field[cell.entity, cell.field].append(position)
    opened: list[Any] = [None] * len(cells)
    for (entity, field), positions in by_field.items():
        given = [(cells[position].row, [cells[position].sealed]) for position in positions]
        for position, (value,) in zip(
            positions, read_path.open_rows(access, entity, [field], given), strict=True
        ):
            opened[position] = value
    return opened


def _session(instances: Sequence[Any]) -> Session | None:
    return object_session(instances[0]) if instances else None


def as_rows(rows: Any) -> list[Any]:
    """One instance, or any iterable of them, as a list."""
    return [rows] if hasattr(rows, _STATE) else list(rows)


def _asked(attributes: Sequence[Any]) -> tuple[Entity, list[Field]]:
    known = [personal_field(attribute) for attribute in attributes]
    found = [each for each in known if each is not None]
    if not found or len(found) != len(known):
        raise UnsupportedQuery(
            "reveal() takes personal attributes, and at least one",
            hint="name them as on the class, e.g. access.reveal(rows, Customer.name)",
        )
    return found[0][0], [field for _, field in found]


def _closed(instance: Any, entity: Entity, field: Field) -> Any:
    """The row's closed value, loaded if it isn't."""
    if not isinstance(instance, entity.mapper.class_):
        raise UnsupportedQuery(
            f"reveal() was asked for {field.label} of something that has none",
            hint=f"give it mapped instances: session.scalars(select({entity.mapper.class_.__name__}))",
        )
    values = instance.__dict__
    if field.key in values:
        return values[field.key]
    state = values[_STATE]
    return state.get_impl(field.key).get(state, values)
