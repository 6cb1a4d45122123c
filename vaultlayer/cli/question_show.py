"""Answers of ``vaultlayer audit`` on the terminal: readable at 80 columns and without colour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SHOWN = 20  # records; --json and --html have as many as --limit says

WHAT = {
    "bulk": "many people in an hour",
    "hours": "an hour unlike its others",
    "refusals": "many refusals in an hour",
}


def who_read(answer: Mapping[str, Any]) -> None:
    typer.echo(f"{_many(answer['total'], 'record')} about {answer['subject']}")
    readers = [
        (_who(one), one["opened"], one["refused"], when(one["first"]), when(one["last"]))
        for one in answer["readers"]
    ]
    table(("Who", "Read", "Refused", "First", "Last"), readers)
    _records(answer["events"])


def what_did(answer: Mapping[str, Any]) -> None:
    typer.echo(f"What {printable(answer['principal'])} did")
    _sums(answer["sums"])
    _records(answer["events"])


def scope(answer: Mapping[str, Any]) -> None:
    people = answer["people"]
    typer.echo(
        f"{_many(len(people), 'person', 'people')}, {_many(answer['values'], 'value')} opened in "
        f"{_many(answer['events'], 'record')}"
        + (f", {answer['masked']:,} of them masked" if answer["masked"] else "")
    )
    if answer["first"]:
        typer.echo(f"from {when(answer['first'])} to {when(answer['last'])} (UTC)")
    table(("Field", "People"), [(one["field"], one["people"]) for one in answer["fields"]])
    rows = [
        (one["subject"] or f"log_ref {one['log_ref']}", ", ".join(one["fields"]))
        for one in people[:SHOWN]
    ]
    table(("Person", "Fields"), rows)
    _more(len(people), "people")
    if answer["without_subject"]:
        typer.echo(
            f"{_many(answer['without_subject'], 'person', 'people')} could not be named: erased "
            "since, or the keys were not asked (--directory)."
        )


def denials(answer: Mapping[str, Any]) -> None:
    _sums(answer["sums"])
    rows = [(_who(one), one["events"], one["values"]) for one in answer["principals"][:SHOWN]]
    table(("Who", "Records", "Values"), rows)
    _records(answer["events"])


def unusual(answer: Mapping[str, Any]) -> None:
    found = answer["findings"]
    rows = [
        (when(one["hour"]), _who(one), WHAT[one["what"]], figure(one), f"{one['usual']:g}")
        for one in found[:SHOWN]
    ]
    table(("Hour (UTC)", "Who", "What", "Found", "Usual"), rows)
    _more(len(found), "findings")
    typer.echo(f"{_many(len(found), 'finding')}.")


def record_rows(events: Iterable[Mapping[str, Any]]) -> list[tuple[str | int | None, ...]]:
    """Time, who, what was done, with what, for what, and how it was decided."""
    return [
        (
            one["ts"][:19].replace("T", " "),
            (one.get("actor") or {}).get("sub"),
            one.get("event"),
            ".".join(filter(None, [one.get("entity"), ", ".join(one.get("fields") or ())])),
            one.get("purpose"),
            " ".join(filter(None, [one.get("decision"), one.get("reason_code")])),
        )
        for one in events
    ]


RECORD_HEAD = ("Time (UTC)", "Who", "Did", "With", "For", "Decision")


def figure(finding: Mapping[str, Any]) -> str:
    if "values" in finding:
        return f"{_many(finding['values'], 'value')} refused"
    return _many(finding["people"], "person", "people")


def when(ts: str) -> str:
    """To the minute."""
    return ts[:16].replace("T", " ")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table; numbers stand to the right. Nothing is printed where there are no rows."""
    lines = list(rows)
    if not lines:
        return
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for place, (name, first) in enumerate(zip(columns, lines[0], strict=True)):
        number = isinstance(first, int)
        justify: Literal["left", "right"] = "right" if number else "left"
        shown.add_column(name, overflow="fold", justify=justify, no_wrap=place == 0 or number)
    for line in lines:
        shown.add_row(*(Text(_cell(cell)) for cell in line))
    Console().print(shown)
    typer.echo()


def printable(text: str) -> str:
    """The text with what could drive a terminal escaped: names come from tokens and requests."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def _cell(cell: object) -> str:
    if cell is None:
        return ""
    return f"{cell:,}" if isinstance(cell, int) else printable(str(cell))


def _sums(sums: Iterable[Mapping[str, Any]]) -> None:
    rows = [
        (one["event"], one["decision"], one["reason_code"], one["events"], one["values"])
        for one in sums
    ]
    table(("Did", "Decision", "Code", "Records", "Values"), rows)


def _records(events: Sequence[Mapping[str, Any]]) -> None:
    table(RECORD_HEAD, record_rows(events[:SHOWN]))
    if len(events) > SHOWN:
        _more(len(events), "records")


def _more(count: int, what: str) -> None:
    if count > SHOWN:
        typer.echo(f"… and {count - SHOWN:,} more {what}: --json or --html shows them.")


def _who(one: Mapping[str, Any]) -> str:
    return f"{one['sub']} ({one['iss']})" if one["iss"] else str(one["sub"])


def _many(number: int, what: str, plural: str = "") -> str:
    return f"{number:,} {what if number == 1 else plural or what + 's'}"
