"""Charts as inline SVG for the pages of page.py: columns over time, and bars by name.

They take the page's colours by CSS variables, so they follow light and dark, and every mark has a
``<title>`` that tells its figure. A chart is drawn in units of its own and scales to the page.
"""

from __future__ import annotations

from math import ceil, log10
from typing import TYPE_CHECKING

from vaultlayer.pages.page import Html, tag

if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDTH, _LEFT, _RIGHT, _TOP = 860, 64, 12, 30
_HEIGHT, _FOOT = 240, 30
_MOST_TICKS = 10
_ROW, _NAME = 24, 220

Series = tuple[str, str]  # its name, and its colour as in "series-1" or "bad"


def columns(
    title: str, labels: Sequence[str], series: Sequence[Series], values: Sequence[Sequence[int]]
) -> Html:
    """Stacked columns, one a label; ``values`` has for each label one number a series."""
    top, step = _scale(max((sum(column) for column in values), default=0))
    plot, deep = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _FOOT
    each = plot / max(1, len(labels))
    used = [one for place, one in enumerate(series) if any(column[place] for column in values)]
    marks = [*_grid(top, step, deep), *_legend(used)]
    for number, (label, column) in enumerate(zip(labels, values, strict=True)):
        x, base = _LEFT + number * each, float(_TOP + deep)
        for (name, colour), value in zip(series, column, strict=True):
            if value:
                high = max(1.0, value / top * deep)
                base -= high
                box = _rect(x + each * 0.1, base, each * 0.8, high, colour)
                marks.append(tag("g", tag("title", f"{label}: {value:,} {name}"), box))
    every = ceil(len(labels) / _MOST_TICKS)
    for number in range(0, len(labels), max(1, every)):
        x = _LEFT + (number + 0.5) * each
        marks.append(_text(x, _HEIGHT - 10, labels[number], "middle"))
    return _figure(title, _HEIGHT, marks)


def bars(title: str, rows: Sequence[tuple[str, int]], colour: str = "series-1") -> Html:
    """A bar a row, with its name before it and its number behind."""
    most = max((value for _, value in rows), default=0) or 1
    space = _WIDTH - _NAME - 90
    marks: list[Html] = []
    for number, (name, value) in enumerate(rows):
        y = 4 + number * _ROW
        long = max(1.0 if value else 0.0, value / most * space)
        box = _rect(_NAME, y, long, _ROW - 8, colour)
        marks += [
            _text(_NAME - 8, y + 12, name if len(name) <= 32 else f"{name[:31]}…", "end"),
            tag("g", tag("title", f"{name}: {value:,}"), box),
            _text(_NAME + long + 8, y + 12, f"{value:,}", "start"),
        ]
    return _figure(title, 8 + _ROW * max(1, len(rows)), marks)


def _scale(most: int) -> tuple[int, int]:
    """The axis' end and the distance of its lines: 1, 2 or 5 times a power of ten, 3 to 6 lines."""
    if most <= 4:
        return 4, 1
    power = 10 ** int(log10(most / 4))
    step = next(n * power for n in (1, 2, 5, 10) if most / (n * power) <= 5)
    return ceil(most / step) * step, step


def _grid(top: int, step: int, deep: int) -> list[Html]:
    marks = []
    for value in range(0, top + 1, step):
        y = _TOP + deep - value / top * deep
        line = tag(
            "line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=f"{y:.1f}", y2=f"{y:.1f}", stroke="var(--line)"
        )
        marks += [line, _text(_LEFT - 8, y + 4, f"{value:,}", "end")]
    return marks


def _legend(series: Sequence[Series]) -> list[Html]:
    marks, x = [], float(_LEFT)
    for name, colour in series:
        marks += [_rect(x, 6, 12, 12, colour), _text(x + 18, 16, name, "start")]
        x += 40 + 7 * len(name)
    return marks


def _rect(x: float, y: float, width: float, height: float, colour: str) -> Html:
    return tag(
        "rect",
        x=f"{x:.1f}",
        y=f"{y:.1f}",
        width=f"{width:.1f}",
        height=f"{height:.1f}",
        fill=f"var(--{colour})",
    )


def _text(x: float, y: float, text: str, anchor: str) -> Html:
    return tag("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor)


def _figure(title: str, height: int, marks: Sequence[Html]) -> Html:
    picture = tag(
        "svg",
        tag("title", title),
        *marks,
        viewBox=f"0 0 {_WIDTH} {height}",
        role="img",
        width="100%",
        style=f"max-width:{_WIDTH}px",
    )
    return tag("figure", tag("figcaption", title, class_="muted"), picture, style="margin:1rem 0")
