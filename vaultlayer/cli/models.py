"""The application's models, for the commands that hold something against them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import configure_mappers

from vaultlayer.errors import ConfigurationError
from vaultlayer.lifecycle.models import import_models
from vaultlayer.orm.field import DECLARED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def declared_in(modules: Iterable[str]) -> Mapping[str, str]:
    """The category of every personal field, by "table.attribute", after importing ``modules``.

    They are found as `python -m` finds them: from the working folder, and what is installed.
    """
    if "" not in sys.path:
        sys.path.insert(0, "")
    import_models(modules)
    try:
        configure_mappers()
    except SQLAlchemyError as error:
        raise ConfigurationError(
            f"the models can't be configured ({type(error).__name__})",
            hint="name all modules that have mapped classes: --models a --models b",
        ) from None
    return DECLARED
