"""``vaultlayer doctor``: what is wrong with this vault, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vaultlayer.cli.common import FINDINGS, ConfigOption, JsonOption, print_json
from vaultlayer.doctor import examine_settings
from vaultlayer.doctor.examining import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultlayer.doctor import Finding


def doctor(
    accept: Annotated[
        list[str] | None,
        typer.Option(metavar="CODE", help="A finding that is known and accepted; may be repeated."),
    ] = None,
    sample: Annotated[
        int, typer.Option(min=2, help="Rows of each table to look at.")
    ] = SAMPLE,
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Look for what is wrong, before the first request and in CI. Opens and writes no value.

    Exits with 1 on findings, but for those that are accepted, which are shown all the same.
    """
    found, accepted = examine_settings(config, sample=sample), set(accept or ())
    if json_:
        told = [{**asdict(each), "accepted": each.code in accepted} for each in found]
        print_json({"findings": told})
    else:
        _show(found, accepted)
    if any(each.code not in accepted for each in found):
        raise typer.Exit(FINDINGS)


def _show(found: Sequence[Finding], accepted: set[str]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, show_lines=True)
    table.add_column("Finding", overflow="fold", ratio=2)
    table.add_column("What is wrong, and what to do", overflow="fold", ratio=3)
    for each in found:
        code = Text(each.code, style="dim" if each.code in accepted else "bold")
        known = " (accepted)" if each.code in accepted else ""
        words = Text(f"{_sentence(each.what)}\n").append(_sentence(each.remedy), style="green")
        table.add_row(code.append(f"{known}\n{each.where}", style="not bold"), words)
    console = Console()
    if found:
        console.print(table)
    left = sum(each.code not in accepted for each in found)
    console.print(f"{left} finding(s)." if left else "Nothing is wrong.")


def _sentence(text: str) -> str:
    text = text.rstrip(".")
    return f"{text[:1].upper()}{text[1:]}." if text[:1].islower() else f"{text}."
