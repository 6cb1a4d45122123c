"""``make bench-page``: the newest run, or ``FILE``, into docs/benchmarks.md, with its charts.

    python -m benchmarks.page [FILE]

Rewrites what stands between the page's two marks, and the pictures in docs/benchmarks/.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.chart import Bar, bars
from benchmarks.contenders import BARE

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
PICTURES = PAGE.with_suffix("")
BEGIN, END = "<!-- the run begins -->", "<!-- the run ends -->"
_BESIDE_BARE = (": bare TypeDecorator", ": bare", f": {BARE}")

Row = dict[str, Any]


def main() -> int:
    """0; 2 where there is no run, or the page has lost its marks."""
    given = sys.argv[1:]
    runs = [Path(name) for name in given] or sorted((HERE / "results").glob("*.json"))
    page = PAGE.read_text("utf-8")
    if not runs or page.count(BEGIN) != 1 or page.count(END) != 1:
        print("no run to show: `python -m benchmarks` makes one", file=sys.stderr)
        return 2
    told = json.loads(runs[-1].read_text("utf-8"))["vaultlayer"]
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    PICTURES.mkdir(exist_ok=True)
    for old in PICTURES.glob("*.svg"):
        old.unlink()
    PAGE.write_text(f"{before}{BEGIN}\n\n{_run(told)}\n{END}{after}", "utf-8")
    return 0


def _run(told: dict[str, Any]) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in told["measured_with"].items())
    parts = [f"Measured with: {machine}.", *_charts(told["table"]), _table(told["table"])]
    if told["left_out"]:
        parts.append("Left out: " + "; ".join(told["left_out"]) + ".")
    return "\n\n".join(parts) + "\n"


def _charts(rows: list[Row]) -> list[str]:
    """A picture for each section that compares several things with the bare TypeDecorator."""
    pictures = []
    for section in dict.fromkeys(row["section"] for row in rows):
        shown = [row for row in rows if row["section"] == section and _beside_bare(row["what"])]
        if len(shown) < 3:
            continue
        name = "".join(c if c.isalnum() else "-" for c in section.lower()).strip("-")
        while "--" in name:
            name = name.replace("--", "-")
        title = f"{section}: times the cost of {_base(shown[0]['what'])}"
        (PICTURES / f"{name}.svg").write_text(bars(title, [_bar(row) for row in shown]), "utf-8")
        pictures.append(f"![{title}]({PICTURES.name}/{name}.svg)")
    return pictures


def _beside_bare(what: str) -> bool:
    return what.endswith((*_BESIDE_BARE, ": AES-GCM"))


def _base(what: str) -> str:
    return "bare AES-GCM" if what.endswith(": AES-GCM") else "the bare AES-GCM TypeDecorator"


def _bar(row: Row) -> Bar:
    name = row["what"].rpartition(" : ")[0]
    return Bar(name, row["value"], row["noise"], row["at_most"], ours="vaultlayer" in name)


def _table(rows: list[Row]) -> str:
    lines = ["| measured | | figure | budget | verdict |", "|---|---|---|---|---|"]
    for row in rows:
        noise = f" ± {row['noise']:.2f}" if row["noise"] else ""
        budget = ""
        if row["at_most"] is not None:
            budget = f"≤ {row['at_most']:g} {row['unit']}"
        elif row["at_least"] is not None:
            budget = f"≥ {row['at_least']:g} {row['unit']}"
        value = f"{row['value']:.2f}" if row["value"] < 100 else f"{row['value']:,.0f}"
        figure = f"{value}{noise} {row['unit']}"
        cells = (row["section"], row["what"], figure, budget, row["verdict"])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
