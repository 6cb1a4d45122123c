"""What ``vaultlayer scan`` found, on the terminal and as a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from vaultlayer.cli.question_show import printable, table
from vaultlayer.pages.page import page, tag
from vaultlayer.pages.page import table as html_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_IMPORTS = "from vaultlayer import Equality, PersonalData, personal"


def show(answer: Mapping[str, Any]) -> None:
    """Columns, copies and proposals, readable at 80 columns."""
    typer.echo(f"{_summary(answer)}\n")
    for name, columns in _by_table(answer):
        typer.echo(printable(name))
        rows = [(f"  {c['column']}", c["category"], _percent(c), c["why"]) for c in columns]
        table(("  Column", "Category", "Sure", "Why"), rows)
    copies = [(c["kind"], c["where"], _of(c), c["remedy"]) for c in answer["copies"]]
    if copies:
        typer.echo("Plain-text copies: sealing a column leaves them as they are.")
        table(("Kind", "Where", "Of", "Remedy"), copies)
    for title, lines in _proposals(answer):
        typer.echo(title)
        typer.echo("".join(f"  {printable(line)}\n" for line in lines))
    for each in answer["unreadable"]:
        typer.echo(f"Not looked at: {printable(each)}")


def page_of(answer: Mapping[str, Any]) -> str:
    """The same as one self-contained page."""
    columns = [
        (tag("code", f"{c['table']}.{c['column']}"), c["category"], _percent(c), c["why"])
        for c in answer["columns"]
    ]
    copies = [
        (tag("code", c["where"]), c["kind"], ", ".join(c["of"]), c["remedy"])
        for c in answer["copies"]
    ]
    parts = [tag("h2", "Likely personal columns")]
    parts += [html_table(("Column", "Category", "Sure", "Why"), columns)] if columns else []
    if copies:
        parts += [
            tag("h2", "Plain-text copies"),
            tag("p", "Sealing a column leaves these as they are.", class_="muted"),
            html_table(("Where", "Kind", "Of", "Remedy"), copies),
        ]
    for title, lines in _proposals(answer):
        parts += [tag("h2", title), tag("pre", tag("code", "\n".join(lines)))]
    unreadable = answer["unreadable"]
    return page(
        "Personal data found",
        *parts,
        subtitle=_summary(answer),
        note=f"Not looked at: {', '.join(unreadable)}" if unreadable else None,
        css="pre{overflow-x:auto;background:var(--raised);padding:.8rem 1rem}",
    )


def _summary(answer: Mapping[str, Any]) -> str:
    sealed = f", {len(answer['sealed'])} sealed already" if answer["sealed"] else ""
    return (
        f"{len(answer['columns'])} likely personal columns in {answer['tables']} tables{sealed}; "
        f"{len(answer['copies'])} plain-text copies. No value is shown."
    )


def _by_table(answer: Mapping[str, Any]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    for name in dict.fromkeys(each["table"] for each in answer["columns"]):
        yield name, [each for each in answer["columns"] if each["table"] == name]


def _proposals(answer: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    proposed = answer["proposals"]
    if proposed["models"]:
        lines = [line for each in proposed["models"].values() for line in ("", *each)]
        yield "To declare in the models:", [_IMPORTS, *lines]
    if proposed["roles"]:
        yield "To add to roles.csv, for whom you decide:", proposed["roles"]
    if proposed["purposes"]:
        yield "To say in purposes.toml:", proposed["purposes"]


def _percent(column: Mapping[str, Any]) -> str:
    return f"{column['confidence']:.0%}"


def _of(copy: Mapping[str, Any]) -> str:
    first, *others = copy["of"]
    return f"{first} and {len(others)} more" if others else str(first)
