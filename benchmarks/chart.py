"""Bars as a standalone SVG, readable on light and dark pages."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from math import log10
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_WIDTH, _NAME, _FIGURE = 860, 300, 90
_TOP, _ROW, _BAR = 34, 24, 14
_WIDE = 100  # where the longest bar is so many times the shortest, the scale is logarithmic
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#24292f}.title{font-weight:600}"
    ".other{fill:#8c959f}.ours{fill:#0969da}.noise{stroke:#24292f}.budget{stroke:#cf222e}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.other{fill:#6e7681}.ours{fill:#4493f8}"
    ".noise{stroke:#e6edf3}.budget{stroke:#ff7b72}}"
)


@dataclass(frozen=True)
class Bar:
    """One figure with its noise; a line shows its budget."""

    name: str
    value: float
    noise: float = 0.0
    at_most: float | None = None
    ours: bool = False


def bars(title: str, shown: Sequence[Bar]) -> str:
    """A bar a figure, with its name before it and its number behind; shortest first."""
    ordered = sorted(shown, key=lambda bar: bar.value)
    longest = max(max(bar.value, bar.at_most or 0) for bar in ordered)
    logarithmic = longest > _WIDE * ordered[0].value
    least = ordered[0].value / 2

    def x(value: float) -> float:
        part = log10(max(value, least) / least) / log10(longest / least)
        share = part if logarithmic else value / longest
        return _NAME + share * (_WIDTH - _NAME - _FIGURE)

    scale = " (logarithmic scale)" if logarithmic else ""
    marks = [f'<text class="title" x="0" y="16">{escape(title + scale)}</text>']
    for number, bar in enumerate(ordered):
        marks += _marks(bar, _TOP + number * _ROW, x)
    height = _TOP + len(ordered) * _ROW
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style>{''.join(marks)}</svg>\n"
    )


def _marks(bar: Bar, y: float, x: Callable[[float], float]) -> list[str]:
    middle, kind = y + _BAR / 2, "ours" if bar.ours else "other"
    figure = f"{bar.value:.2f} ×" if bar.value < 100 else f"{bar.value:,.0f} ×"
    end = x(bar.value)
    marks = [
        f'<text x="{_NAME - 8}" y="{y + 12}" text-anchor="end">{escape(bar.name)}</text>',
        f'<rect class="{kind}" x="{_NAME}" y="{y}" width="{end - _NAME:.1f}" height="{_BAR}"/>',
        f'<text x="{max(end, x(bar.at_most or 0)) + 8:.1f}" y="{y + 12}">{figure}</text>',
    ]
    if bar.noise:
        low, high = x(max(0, bar.value - bar.noise)), x(bar.value + bar.noise)
        marks.append(f'<path class="noise" d="M{low:.1f} {middle}H{high:.1f}"/>')
    if bar.at_most is not None:
        place = x(bar.at_most)
        marks.append(f'<path class="budget" stroke-width="2" d="M{place:.1f} {y - 3}v{_BAR + 6}"/>')
    return marks
