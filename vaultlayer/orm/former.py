"""What a field was before its declaration changed: its values open in either form until resealed.

Which form a value is in is seen when it is opened: by its place, if the name changed, and by its
type byte, if the type did. ``vaultlayer reseal`` puts all of them into the present one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from vaultlayer.errors import ConfigurationError, UnsupportedQuery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vaultlayer.orm.entity import Entity
    from vaultlayer.orm.field import Field
    from vaultlayer.search.blind_index import Index


@dataclass(frozen=True, slots=True)
class Former:
    """``personal(..., formerly=Former("customer.mail"))``: the name of the field as it was.

    Or its former type: ``Former(python_type=str, into=date.fromisoformat)``, where ``into`` makes a
    former value a present one. Both may have changed.
    """

    name: str | None = None
    python_type: Any = None
    into: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        if (self.python_type is None) != (self.into is None):
            raise ConfigurationError(
                "a former type needs what makes its values present ones",
                hint="formerly=Former(python_type=str, into=date.fromisoformat)",
            )
        if (self.name is None and self.into is None) or not all(self.place or "-"):
            raise ConfigurationError(
                "formerly= says what the field's name or type was",
                hint='the name as policies had it, formerly=Former("customer.mail")',
            )

    @property
    def place(self) -> tuple[str, str] | None:
        """The entity and the field that are sealed into former values; None: the present ones."""
        if self.name is None:
            return None
        entity, _, field = self.name.rpartition(".")
        return entity, field


def refuse_taken(fields: Iterable[Field], known: Iterable[Entity]) -> None:
    """A former name must be free: else a value moved from the one field would open in the other."""
    others = [other for entity in known for other in entity.fields.values()]
    for one in fields:
        for new, old in [*product([one], others), *product(others, [one])]:
            if new.former == (old.entity, old.name):
                raise ConfigurationError(
                    f"{new.label} was formerly {old.label}, says its declaration, and that is "
                    f"the name of {'itself' if new is old else 'another field'}",
                    hint="name in formerly= what the field was called when its values were sealed",
                )


def refuse_former_terms(index: Index) -> None:
    """Terms made of former values, or under a former name in the shared table, aren't found."""
    if any(part.renew for part in index.parts) or (index.field.former and index.kind.many):
        raise UnsupportedQuery(
            f"{index.field.label} may hold values in their former form, which a search would miss",
            hint="`vaultlayer reseal`, then take formerly= out of the declaration",
        )


def refuse_either(field: Field) -> None:
    """Whole columns are opened in one form."""
    if field.former or field.renew:
        raise ConfigurationError(
            f"{field.label} may hold values in their former form, which only the ORM opens",
            hint="`vaultlayer reseal`, then take formerly= out of the declaration",
        )
