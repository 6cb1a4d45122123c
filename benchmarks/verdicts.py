"""From times to a table: ratios, their noise, and which budgets are met."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median, quantiles
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True)
class Measured:
    """A figure and the noise around it, both in the same unit."""

    value: float
    noise: float = 0.0


@dataclass(frozen=True)
class Row:
    """One line of the table. A line without a budget informs, and can't be missed."""

    section: str
    what: str
    measured: Measured
    unit: str = "×"
    at_most: float | None = None
    at_least: float | None = None

    @property
    def name(self) -> str:
        return f"{self.section}: {self.what}"

    @property
    def missed_by(self) -> float:
        """How far the figure is on the wrong side of its budget; 0 or less: met."""
        if self.at_most is not None:
            return self.measured.value - self.at_most
        if self.at_least is not None:
            return self.at_least - self.measured.value
        return 0.0

    @property
    def is_missed(self) -> bool:
        """Whether the budget is missed by more than the noise."""
        return self.missed_by > self.measured.noise

    @property
    def verdict(self) -> str:
        if self.at_most is None and self.at_least is None:
            return ""
        if self.is_missed:
            return "NOT MET"
        return "met" if self.missed_by <= 0 else "missed within noise"

    @property
    def budget(self) -> str:
        if self.at_most is not None:
            return f"≤ {self.at_most:g} {self.unit}"
        return "" if self.at_least is None else f"≥ {self.at_least:g} {self.unit}"

    @property
    def figure(self) -> str:
        noise = f" ± {_digits(self.measured.noise)}" if self.measured.noise else ""
        return f"{_digits(self.measured.value)}{noise} {self.unit}"

    def as_dict(self) -> dict[str, object]:
        return {
            "section": self.section,
            "what": self.what,
            "value": self.measured.value,
            "noise": self.measured.noise,
            "unit": self.unit,
            "at_most": self.at_most,
            "at_least": self.at_least,
            "verdict": self.verdict,
        }


GROWN = 1.5  # so many times its earlier figure, and a ratio has regressed: less may be noise


def regressions(rows: Iterable[Row], earlier: Mapping[str, float]) -> list[str]:
    """The budgeted ratios that are much worse than in an earlier run, beyond their noise.

    ``earlier``: figures by ``Row.name``. Times and sizes of another machine tell nothing.
    """
    found = []
    for row in rows:
        before = earlier.get(row.name)
        if before is None or row.unit != "×" or not row.verdict:
            continue
        worse = row.measured.value if row.at_most is not None else before
        better = before if row.at_most is not None else row.measured.value
        if worse > GROWN * better and worse - better > 3 * row.measured.noise:
            found.append(f"{row.name}: {row.figure}, was {_digits(before)} {row.unit}")
    return found


def ratio(times: Sequence[float], base: Sequence[float]) -> Measured:
    """Median of the round-by-round ratios; noise: half of their interquartile range."""
    return spread([one / other for one, other in zip(times, base, strict=True)])


def spread(values: Sequence[float]) -> Measured:
    """Median of some figures; noise: half of their interquartile range."""
    if len(values) == 1:
        return Measured(values[0])
    lower, _, upper = quantiles(values, n=4, method="inclusive")
    return Measured(median(values), (upper - lower) / 2)


def table(rows: Iterable[Row]) -> str:
    """A Markdown table, aligned so that a terminal shows it well."""
    lines = [("measured", "", "figure", "budget", "verdict")]
    lines += [(row.section, row.what, row.figure, row.budget, row.verdict) for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    rule = tuple("-" * width for width in widths)
    return "\n".join([_line(each, widths) for each in [lines[0], rule, *lines[1:]]])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return f"| {' | '.join([c.ljust(w) for c, w in zip(cells, widths, strict=True)])} |"


def _digits(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"
