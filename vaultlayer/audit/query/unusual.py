"""What is out of the ordinary in the log: bulk reads, unwonted hours, spikes of refusals.

Each principal is measured by what it did before and after, not by others. The figures are sums
an hour, kept in the index, so ten million records take as long as ten thousand.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import groupby
from statistics import median
from typing import TYPE_CHECKING, Any

from vaultlayer.audit.query.questions import OPENED, marks, text
from vaultlayer.audit.query.rows import DENY, HOUR

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vaultlayer.audit.query.index import Index

BULK = 100  # people in an hour: fewer are no bulk for anybody
TIMES = 10  # so many times the principal's own median hour are a bulk or a spike
REFUSALS = 20  # in an hour: fewer are no spike
DAYS = 10  # with fewer active days nobody has wonted hours
NEAR = 1  # hours around a wonted one that are wonted too

_HOURS = """
SELECT actor.iss, actor.sub, hour.hour, sum(CASE WHEN hour.decision <> {deny} AND name.name
    IN ({opened}) THEN hour.people ELSE 0 END), sum(CASE WHEN hour.decision = {deny}
    THEN hour.touched ELSE 0 END)
FROM hour JOIN actor ON actor.id = hour.actor JOIN name ON name.id = hour.name
GROUP BY actor.id, hour.hour ORDER BY actor.id, hour.hour
"""


@dataclass(slots=True)
class _Hours:
    """One principal's hours: number since 1970, people opened, values refused."""

    hours: list[tuple[int, int, int]] = field(default_factory=list)

    def usual(self, column: int) -> float:
        """The median of the hours in which there was any."""
        some = [hour[column] for hour in self.hours if hour[column]]
        return median(some) if some else 0.0

    def rare_hours(self) -> set[int]:
        """Hours of the day (UTC) on which it was active on one day alone, far from the others."""
        days: dict[int, set[int]] = defaultdict(set)
        for hour, *_ in self.hours:
            days[hour % 24].add(hour // 24)
        if len(set().union(*days.values())) < DAYS:
            return set()
        wonted = {hour for hour, seen in days.items() if len(seen) > 1}
        near = {(hour + by) % 24 for hour in wonted for by in range(-NEAR, NEAR + 1)}
        return days.keys() - near


def unusual(index: Index, *, since: int = 0) -> dict[str, Any]:
    """The findings from ``since`` on, newest first, and all activity by hour.

    ``bulk``: at least 100 people opened in an hour, and ten times the principal's median hour.
    ``hours``: active at an hour of the day at which it was on no other of at least ten days.
    ``refusals``: at least 20 values refused in an hour, and ten times its median hour (or its
    first). ``usual`` is the principal's median.
    """
    rows = index.database.execute(_HOURS.format(deny=DENY, opened=marks(OPENED)), OPENED)
    findings: list[dict[str, Any]] = []
    for (iss, sub), some in groupby(rows, key=lambda row: row[:2]):
        own = _Hours([row[2:] for row in some])
        findings += (
            {"what": what, "iss": iss, "sub": sub, "hour": text(hour * HOUR), **figures}
            for what, hour, figures in _findings(own)
            if hour * HOUR >= since
        )
    findings.sort(key=lambda one: str(one["hour"]), reverse=True)
    return {"findings": findings, "hours": _activity(index, since)}


def _findings(own: _Hours) -> Iterator[tuple[str, int, dict[str, Any]]]:
    people, refused, rare = own.usual(1), own.usual(2), own.rare_hours()
    for hour, opened, denied in own.hours:
        if opened >= BULK and (opened >= TIMES * people or len(own.hours) == 1):
            yield "bulk", hour, {"people": opened, "usual": people}
        if denied >= REFUSALS and (denied >= TIMES * refused or denied == refused):
            yield "refusals", hour, {"values": denied, "usual": refused}
        if hour % 24 in rare:
            yield "hours", hour, {"people": opened, "usual": people}


def _activity(index: Index, since: int) -> list[dict[str, Any]]:
    rows: Iterable[tuple[int, int, int]] = index.database.execute(
        f"SELECT hour, sum(CASE WHEN decision <> {DENY} THEN people ELSE 0 END), "
        f"sum(CASE WHEN decision = {DENY} THEN touched ELSE 0 END) FROM hour WHERE hour >= ? "
        "GROUP BY hour ORDER BY hour",
        (since // HOUR,),
    )
    return [
        {"hour": text(hour * HOUR), "values": people, "refused": refused}
        for hour, people, refused in rows
    ]
