"""Retention: what is kept for longer than every purpose says is found, and taken out.

How long a field may be kept is the longest ``retention`` of the purposes that explain its
category. How old a row is, its class says: ``__collected__ = "created_at"`` names the column with
the moment (or day) at which the row's data was collected. A class without it can't be swept, and
is told as such.

Chunks of rows in the order of the primary key, one transaction and one record each: memory stays
flat, and a sweep that was killed is run again. A field that must not be NULL becomes an envelope
of nothing, which opens no more.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import sqlalchemy as sa

from vaultlayer.access.context import acting, no_access
from vaultlayer.errors import ConfigurationError
from vaultlayer.ledgers import standing
from vaultlayer.lifecycle.models import entities, fields_by_table
from vaultlayer.privacy.due import Due, Swept
from vaultlayer.said import ALL, RESTRICTED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Connection

    from vaultlayer.access.bundle import Bundle
    from vaultlayer.orm.field import Field
    from vaultlayer.vault import Vault

COLLECTED = "__collected__"
_UNITS = {"day": 0, "month": 1, "year": 12}  # in months


@dataclass(frozen=True, slots=True)
class Sweep:
    """All that was found. ``undated``: tables whose class has no ``__collected__``."""

    done: bool
    swept: list[Swept]
    undated: list[str]


def sweep(
    vault: Vault,
    *,
    dry_run: bool = True,
    today: date | None = None,
    progress: Callable[[str, int], None] = lambda *_: None,
) -> Sweep:
    """Find what is past its retention, and unless it is a dry run take it out, with its terms.

    Needs an access that may ``erase`` each field that is due. A restricted person's data waits
    (GDPR article 18).

    :param progress: hears of each table's rows as they are done.
    """
    access = acting(None)
    if access is None:
        raise no_access("data past its retention was to be taken out")
    day = today or datetime.now(UTC).date()
    swept: list[Swept] = []
    undated: list[str] = []
    with vault.databases.transaction() as connection:
        known = entities(vault.known_models(), connection)
        waiting = _restricted(vault, connection)
    for entity, table, fields in fields_by_table(known):
        collected = _collected(entity, table)
        if collected is None:
            undated.append(table.fullname)
            continue
        for retention, some in _by_retention(vault.snapshot.bundle, fields):
            due = Due(table, collected, some, retention, before(day, retention))
            if waiting and entity.subject_key is not None:
                due.leave(entity, waiting)
            swept.append(due.run(vault, access, dry_run, progress))
    return Sweep(not dry_run, [each for each in swept if each.values], undated)


def before(day: date, retention: str) -> date:
    """What was collected before this day is kept for longer than ``retention``."""
    number, unit = retention.split()
    unit = unit.removesuffix("s")
    if unit == "day":
        return day - timedelta(int(number))
    months = day.year * 12 + day.month - 1 - int(number) * _UNITS[unit]
    year, month = divmod(months, 12)
    last = calendar.monthrange(year, month + 1)[1]
    return date(year, month + 1, min(day.day, last))


def longest(bundle: Bundle, category: str) -> str | None:
    """The longest retention of the purposes that explain a category; None where none does."""
    if category not in bundle.categories:
        return None
    lineage = {*bundle.lineage(category)}
    kept = [each.retention for each in bundle.purposes.values() if lineage & {*each.categories}]
    today = date(2000, 1, 1)
    return min(kept, key=lambda each: before(today, each), default=None)


def _by_retention(bundle: Bundle, fields: Sequence[Field]) -> Iterator[tuple[str, list[Field]]]:
    """Fields that are kept equally long; one that no purpose explains is the doctor's to tell."""
    found: dict[str, list[Field]] = {}
    for field in fields:
        retention = longest(bundle, field.category)
        if retention is not None:
            found.setdefault(retention, []).append(field)
    yield from found.items()


def _restricted(vault: Vault, connection: Connection) -> list[UUID]:
    """The people whose data is restricted now."""
    latest = standing.alias()
    newest = (
        sa.select(sa.func.max(latest.c.number))
        .where(latest.c.subject == standing.c.subject, latest.c.purpose == ALL)
        .scalar_subquery()
    )
    asked = sa.select(standing.c.subject).where(
        standing.c.purpose == ALL, standing.c.state == RESTRICTED, standing.c.number == newest
    )
    with vault.key_connection(connection) as keys_on:
        return [UUID(bytes=bytes(each)) for each in keys_on.scalars(asked)]


def _collected(entity: Any, table: Any) -> Any:
    """The column that says when a row's data was collected."""
    name = getattr(entity.mapper.class_, COLLECTED, None)
    if name is None:
        return None
    column = entity.mapper.columns.get(name)
    if column is None or not isinstance(column.type, sa.Date | sa.DateTime):
        raise ConfigurationError(
            f"{entity.mapper.class_.__name__}.{COLLECTED} names {name!r}, which is no mapped "
            "column with a date or a time",
            hint='e.g. __collected__ = "created_at"',
        )
    return column if column.table is table else None
