"""Sorting by sealed values: opened within a bound, decided and recorded as the reading it is."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any

from vaultlayer.errors import ConfigurationError, UnsupportedQuery
from vaultlayer.orm import batch
from vaultlayer.orm.attribute import personal_field

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from vaultlayer.acting import Access

Collation = str | Callable[[Any], Any]


def in_order(
    access: Access,
    session: Session,
    statement: Any,
    attributes: Sequence[Any],
    limit: int,
    collation: Collation,
    descending: bool,
) -> list[Any]:
    """See ``Access.sorted``."""
    if type(limit) is not int or limit < 1:
        raise ConfigurationError(
            "sorting opens every row, so it needs a bound", hint="e.g. limit=1000"
        )
    key = _key(collation)
    for known in map(personal_field, attributes):
        if known is not None and access.grant(known[1], "read").masked:
            raise UnsupportedQuery(
                f"{known[1].label} may only be read masked here, and masks have no order",
                hint="sort with a role that may read the field, or by another column",
            )
    rows = _within(session, statement, limit)
    values = batch.reveal(access, rows, attributes)
    there = [n for n, each in enumerate(values) if None not in each]
    there.sort(key=lambda n: [key(value) for value in values[n]], reverse=descending)
    left = [n for n, each in enumerate(values) if None in each]
    return [rows[n] for n in (*there, *left)]


def _within(session: Session, statement: Any, limit: int) -> list[Any]:
    """All the rows, unless they are more than the bound: of some only the order would be wrong."""
    found = session.scalars(statement.execution_options(yield_per=min(limit, 1000) + 1))
    rows = list(islice(found, limit + 1))
    found.close()
    if len(rows) > limit:
        raise UnsupportedQuery(
            f"there are more than {limit:,} rows to sort: more than were declared to be opened",
            hint="narrow the statement, or declare a higher limit",
        )
    return rows


def _key(collation: Collation) -> Callable[[Any], Any]:
    if callable(collation):
        return collation
    if collation not in _COLLATIONS:
        raise ConfigurationError(
            f"there is no collation {collation!r}",
            hint="unicode, binary, or a function from a value to its sort key, such as PyICU's "
            'Collator.createInstance(Locale("sv")).getSortKey',
        )
    return _COLLATIONS[collation]


def _unicode(value: Any) -> Any:
    """Letters first, then accents, then case, as the Unicode Collation Algorithm's levels do."""
    if not isinstance(value, str):
        return value
    parts = unicodedata.normalize("NFKD", value.casefold())
    letters = "".join(each for each in parts if not unicodedata.combining(each))
    return letters, parts, value.swapcase()


_COLLATIONS: dict[str, Callable[[Any], Any]] = {"unicode": _unicode, "binary": lambda value: value}
