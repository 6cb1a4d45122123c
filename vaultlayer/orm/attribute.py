"""The mapped attribute of a personal field: reading opens, assigning encodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.orm.attributes import InstrumentedAttribute
from sqlalchemy.sql.elements import ClauseElement

from vaultlayer.errors import ConfigurationError
from vaultlayer.orm.twin import shut
from vaultlayer.sealed import Masked, Sealed, Unsealed

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Mapper

    from vaultlayer.orm.entity import Entity
    from vaultlayer.orm.field import Field


def instrument(
    mapper: Mapper[Any], entity: Entity, field: Field, reading: Callable[..., Any]
) -> None:
    """Make ``Class.field`` decide and record each read, and encode each assigned value.

    SQLAlchemy's own attribute object stays in place with everything it knows; only its class
    changes, to one whose ``__get__`` is the read path. Assignments come through SQLAlchemy's
    "set" event, which constructors, ``set_attribute`` and ``merge`` all pass.
    """
    attribute = mapper.class_.__dict__[field.key]
    attribute.__class__ = _opening(entity, field, reading)
    # raw and include_key: the listener as it is, without SQLAlchemy's adapter around it
    event.listen(attribute, "set", _encoding(field), retval=True, raw=True, include_key=True)
    if field.twin is not None:
        shut(mapper, field)


def personal_field(attribute: Any) -> tuple[Entity, Field] | None:
    """The entity and field behind ``Class.field`` or ``alias.field``; None for anything else."""
    known = getattr(type(attribute), "personal", None)
    if known is None and hasattr(attribute, "class_"):  # an alias proxies the class's attribute
        original = getattr(attribute.class_, attribute.key, None)
        known = getattr(type(original), "personal", None)
    return known


def _opening(
    entity: Entity, field: Field, reading: Callable[..., Any]
) -> type[InstrumentedAttribute[Any]]:
    class PersonalAttribute(InstrumentedAttribute[Any]):
        __slots__ = ()
        inherit_cache = True
        personal = (entity, field)
        __get__ = reading(entity, field, InstrumentedAttribute.__get__)

    return PersonalAttribute


def _encoding(field: Field) -> Callable[..., Any]:
    def assign(state: Any, value: Any, old: Any, initiator: Any, key: Any = None) -> Any:
        # A traceback that shows locals must not show values, so they go before anything is raised.
        del state, old, initiator, key
        try:
            return assigned(field, value)
        finally:
            del value

    return assign


def assigned(field: Field, value: Any) -> Sealed | Unsealed | None:
    """An assigned value, encoded to wait for its flush; what must never be stored is refused."""
    if value is None or type(value) is Sealed or type(value) is Unsealed:
        return value  # the write path checks that a Sealed is the row's own
    try:
        return Unsealed(field.codec.encode(value))
    except ConfigurationError as refusal:
        error = _refusal(field, value, refusal)
        del value
        raise error from None


def encoded(field: Field, pending: Any) -> bytes:
    """A value that waits for its flush; pydantic, and dataclass defaults, leave it plain."""
    value = assigned(field, pending)
    return value if isinstance(value, Unsealed) else b""


def _refusal(field: Field, value: Any, refusal: ConfigurationError) -> ConfigurationError:
    if isinstance(value, Masked):
        return ConfigurationError(
            f"a masked value was assigned to {field.label}, which would destroy the real one",
            hint="leave the field alone, or assign the complete new value",
        )
    if isinstance(value, ClauseElement) or hasattr(value, "__clause_element__"):
        return ConfigurationError(
            f"an SQL expression was assigned to {field.label}; the database can't seal its result",
            hint="compute the value in Python and assign that",
        )
    return ConfigurationError(f"{field.label}: {refusal.message}", refusal.hint)
