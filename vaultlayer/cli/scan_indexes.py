"""What ``vaultlayer scan --indexes`` found, on the terminal."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING

import typer

from vaultlayer.cli.question_show import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vaultlayer.lifecycle.index_plan import Planned


def show_indexes(planned: Sequence[Planned]) -> None:
    """A paragraph a column: its spread, what fits, and what that tells an onlooker."""
    if not planned:
        typer.echo("No personal column was found to count.")
    for each in planned:
        has = f", {each.index}" if each.index else ""
        typer.echo(printable(f"{each.table}.{each.column}{has}"))
        for line in _lines(each):
            typer.echo(fill(line, 78, initial_indent="  ", subsequent_indent="    "))
        typer.echo("")


def _lines(planned: Planned) -> Iterator[str]:
    counted = planned.counted
    if counted.rows:
        most = f"the most frequent in {counted.most / counted.rows:.1%}"
        yield f"{counted.distinct:,} different of {counted.rows:,}, {most}"
    for advice in planned.advice:
        if not planned.index:
            declare = f"search={advice.declare}" if advice.declare else "No index"
            yield f"{declare}: {advice.why}"
        elif advice.why:
            yield f"Take it out: {advice.why}"
        if advice.leaks:
            yield f"It tells an onlooker {advice.leaks}"
    if planned.no_database_index:
        yield "Its column has no index of the database: every search reads all rows"
