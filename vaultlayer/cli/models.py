"""The application's models, for the commands that hold something against them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import configure_mappers

from vaultlayer.errors import ConfigurationError
from vaultlayer.lifecycle.models import import_models
from vaultlayer.orm.field import DECLARED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import Table


def declared_in(modules: Iterable[str]) -> Mapping[str, str]:
    """The category of every personal field, by "table.attribute", after importing ``modules``.

    They are found as `python -m` finds them: from the working folder, and what is installed.
    """
    _imported(modules)
    return DECLARED


def tables_in(module: str) -> list[Table]:
    """The tables of a module's mapped classes, and of all that are mapped beside them."""
    classes = _imported([module])
    metadatas = {each.metadata for each in classes if hasattr(each, "metadata")}
    tables = [table for each in metadatas for table in each.tables.values()]
    if not tables:
        raise ConfigurationError(
            f"the module {module} has no mapped classes",
            hint="name the module that has them, or a database's URL such as sqlite:///app.db",
        )
    return sorted(tables, key=lambda table: table.fullname)


def _imported(modules: Iterable[str]) -> list[Any]:
    classes = import_models(modules)
    try:
        configure_mappers()
    except SQLAlchemyError as error:
        raise ConfigurationError(
            f"the models can't be configured ({type(error).__name__})",
            hint="name all modules that have mapped classes: --models a --models b",
        ) from None
    return classes
