"""What a declaration says of a field: its Python type and its default."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any, get_args, get_origin

from sqlalchemy.orm import Mapped

from vaultlayer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Column


def annotated_type(cls: type, key: str) -> Any:
    """The type inside ``Mapped[...]``, resolved in the module of the class that wrote it."""
    for owner in cls.__mro__:
        annotation = inspect.get_annotations(owner).get(key) if owner is not object else None
        if annotation is None:
            continue
        if isinstance(annotation, str):
            names = {**vars(sys.modules[owner.__module__]), **vars(owner)}
            try:
                annotation = eval(annotation, {"Mapped": Mapped, **names})  # noqa: S307 - source code
            except NameError as error:
                raise ConfigurationError(
                    f"the annotation of {owner.__name__}.{key} can't be resolved: {error}",
                    hint="import the type at the top of the module, or give it to personal() as "
                    "its second argument",
                ) from None
        origin: Any = get_origin(annotation)
        return get_args(annotation)[0] if origin is Mapped else annotation
    return str


def default_of(column: Column[Any]) -> Callable[[], Any] | None:
    """Makes the column's ``default=`` before the flush; in the INSERT it would be plain."""
    default: Any = column.default
    if default is None:
        return None
    if default.is_scalar:
        return lambda: default.arg
    if default.is_callable:
        return lambda: default.arg(None)  # SQLAlchemy has wrapped it to take a context
    raise ConfigurationError(
        f"the default of {column} is made by the database, which can't seal it",
        hint="give a value, or a function without arguments, as default",
    )
