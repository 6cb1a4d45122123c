"""``vaultlayer audit``: check the log, finish what a crash left, look at the latest records."""

from __future__ import annotations

import dataclasses
import heapq
import json
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from vaultlayer.audit.files import lines_backwards, unavailable
from vaultlayer.audit.recover import recover as recover_directory
from vaultlayer.audit.verify import LIMITS, Report, verify_shards
from vaultlayer.cli.common import FINDINGS, ConfigOption, JsonOption, print_json
from vaultlayer.errors import AuditUnavailable
from vaultlayer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

app = typer.Typer(no_args_is_help=True, help="Check, recover and read the audit log.")

_Directory = Annotated[
    Path | None, typer.Option("--directory", help="Audit directory; else the settings' own.")
]


@app.command()
def verify(
    config: ConfigOption = None, directory: _Directory = None, json_: JsonOption = False
) -> None:
    """Check every shard of the log for edits, gaps, insertions, repetitions and cut ends.

    Exits with 0 if the log is whole, 1 if not, 3 if it can't be read.
    """
    report = _verify(_audit_directory(config, directory))
    if json_:
        print_json({"ok": not report.findings, **dataclasses.asdict(report), "limits": LIMITS})
    else:
        _show_report(report)
    if report.findings:
        raise typer.Exit(FINDINGS)


@app.command()
def recover(
    config: ConfigOption = None, directory: _Directory = None, json_: JsonOption = False
) -> None:
    """Bring what crashed processes had noted into the log. Opening a vault does this too."""
    recovered = recover_directory(_audit_directory(config, directory))
    if json_:
        print_json({"recovered": [dataclasses.asdict(one) for one in recovered]})
    elif recovered:
        _table(("Shard", "Notes recovered", "Torn bytes"), map(dataclasses.astuple, recovered))
    else:
        typer.echo("Nothing to recover: every process that is gone ended its shard.")


@app.command()
def tail(
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many records.")] = 20,
    config: ConfigOption = None,
    directory: _Directory = None,
    json_: JsonOption = False,
) -> None:
    """Show the latest records of all shards, oldest first."""
    folder = _audit_directory(config, directory)
    try:
        records = _latest(folder / "log", lines)
    except OSError as error:
        raise unavailable("the audit log can't be read", error) from error
    if json_:
        typer.echo(json.dumps({"records": records}, indent=2))  # ASCII: see _printable
    else:
        columns = ("Time", "Event", "Decision", "Who", "Purpose", "What", "Refs", "Values")
        _table(columns, map(_row, records))


def _audit_directory(config: Path | None, directory: Path | None) -> Path:
    folder = directory or Settings.load(config).audit_directory
    if not folder.is_dir():
        raise AuditUnavailable(
            f"there is no audit directory {folder}", hint="name it with --directory or --config"
        )
    return folder


def _verify(folder: Path) -> Report:
    paths = sorted((folder / "log").glob("*.jsonl"))
    with Progress(console=Console(stderr=True), transient=True) as progress:
        return verify_shards(progress.track(paths, description="Verifying"))


def _latest(logs: Path, count: int) -> list[dict[str, Any]]:
    ends = (record for path in logs.glob("*.jsonl") for record in islice(_records(path), count))
    latest = heapq.nlargest(count, ends, key=lambda r: (str(r.get("ts")), str(r.get("shard"))))
    return sorted(latest, key=lambda r: (str(r.get("ts")), str(r.get("shard")), r.get("seq", 0)))


def _records(path: Path) -> Iterator[dict[str, Any]]:
    for line in lines_backwards(path):
        try:
            record = json.loads(line)
        except ValueError:  # a line that is just being written, or a damaged one: see verify
            continue
        if isinstance(record, dict):
            yield record


def _row(record: dict[str, Any]) -> tuple[object, ...]:
    actor, fields = record.get("actor") or {}, record.get("fields") or []
    return (
        record.get("ts"),
        record.get("event"),
        " ".join(filter(None, [record.get("decision"), record.get("reason_code")])),
        actor.get("sub"),
        record.get("purpose"),
        ".".join(filter(None, [record.get("entity"), ", ".join(map(str, fields))])),
        len(record.get("refs") or []) or None,
        record.get("count"),
    )


def _table(columns: tuple[str, ...], rows: Any) -> None:
    table = Table(*columns)
    for row in rows:
        table.add_row(*(Text("" if cell is None else _printable(str(cell))) for cell in row))
    Console().print(table)


def _printable(text: str) -> str:
    """The text with what could drive a terminal escaped: names come from tokens and requests."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def _show_report(report: Report) -> None:
    if report.findings:
        _table(("Shard", "Line", "What is wrong"), map(dataclasses.astuple, report.findings))
    state = f"{len(report.findings)} finding(s)" if report.findings else "The log is whole"
    typer.echo(f"{state}: {report.records:,} records in {report.shards} shard(s). {LIMITS}")
