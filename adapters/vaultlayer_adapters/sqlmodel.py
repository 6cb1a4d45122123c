"""SQLModel: personal fields on ``table=True`` models.

::

    from sqlmodel import Field, SQLModel
    from vaultlayer import Equality, PersonalData
    from vaultlayer_adapters.sqlmodel import personal_field

    class Reader(PersonalData, SQLModel, table=True):      # PersonalData comes first
        id: int | None = Field(default=None, primary_key=True)
        name: str = personal_field("identity.name", str)
        email: str | None = personal_field(
            "contact.email", str | None, search=Equality("email"), unique=True, default=None
        )

    with SessionFactory() as session, vault.access(principal, purpose="provide_service"):
        session.add(Reader(name="Ada Lovelace", email="ada@example.com"))
        session.commit()
        session.exec(select(Reader).where(Reader.email == "ADA@example.com")).one().name
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

from pydantic_core import PydanticUndefined
from sqlmodel import Field

from vaultlayer import personal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultlayer.search.kinds import Kind

__all__ = ["personal_field"]


def personal_field(
    category: str,
    python_type: Any,
    *,
    default: Any = PydanticUndefined,
    field: str | None = None,
    search: Kind | Sequence[Kind] | None = None,
    unique: bool = False,
    mask: str = "redact",
    padded: bool = False,
    **column: Any,
) -> Any:
    """SQLModel's ``Field`` with a sealed column.

    :param python_type: the annotation again, ``str | None`` where NULL is allowed: SQLModel
        doesn't show it to the column.
    :param default: as for ``Field``; without one the field is required.
    :param column: what ``mapped_column()`` takes, such as ``name`` or ``nullable``.

    The other parameters are those of ``personal()``. The model's ``repr`` and ``model_dump()``
    leave the field out, because both would show it unasked: read the attribute, call
    ``access.reveal()``, or fill a response model by ``model_validate(row)`` with
    ``from_attributes=True``, which reads each attribute, decided and recorded.
    """
    column.setdefault("nullable", _takes_none(python_type))
    declared = personal(
        category,
        python_type,
        field=field,
        search=search,
        unique=unique,
        mask=mask,
        padded=padded,
        **column,
    )
    return Field(default=default, sa_column=declared.column, repr=False, exclude=True)


def _takes_none(python_type: Any) -> bool:
    is_union = get_origin(python_type) in (Union, types.UnionType)
    return is_union and type(None) in get_args(python_type)
