"""``vaultlayer audit``: check the log, finish what a crash left, look at the latest records."""

from __future__ import annotations

import dataclasses
import heapq
import json
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from vaultlayer.audit.files import lines_backwards, unavailable
from vaultlayer.audit.recover import recover as recover_directory
from vaultlayer.audit.verify import Report
from vaultlayer.audit.verify import verify as check_log
from vaultlayer.cli.audit_options import DirectoryOption, KeyOption, audit_directory, trusted
from vaultlayer.cli.common import FINDINGS, ConfigOption, JsonOption, print_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

app = typer.Typer(no_args_is_help=True, help="Check, recover and read the audit log.")


@app.command()
def verify(
    keys: KeyOption = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Don't ask the database for keys and heads.")
    ] = False,
    config: ConfigOption = None,
    directory: DirectoryOption = None,
    json_: JsonOption = False,
) -> None:
    """Check the log for edits, gaps, insertions, repetitions, cut ends and removed shards.

    The log's public keys and heads come from the database of the settings; or give the keys
    you pinned with --key, and nothing but the directory is read.

    Exits with 0 if the log is whole, 1 if not, 3 if it can't be read.
    """
    folder = audit_directory(config, directory)
    known, heads = trusted(config, directory, keys or [], offline=offline)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        report = check_log(
            folder, known, heads, lambda names: progress.track(names, description="Verifying")
        )
    if json_:
        told = dataclasses.asdict(report)
        print_json({"ok": not report.findings, **told, "limits": report.limits})
    else:
        _show_report(report)
    if report.findings:
        raise typer.Exit(FINDINGS)


@app.command()
def recover(
    config: ConfigOption = None, directory: DirectoryOption = None, json_: JsonOption = False
) -> None:
    """Bring what crashed processes had noted into the log. Opening a vault does this too."""
    recovered = recover_directory(audit_directory(config, directory))
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
    directory: DirectoryOption = None,
    json_: JsonOption = False,
) -> None:
    """Show the latest records of all shards, oldest first."""
    folder = audit_directory(config, directory)
    try:
        records = _latest(folder / "log", lines)
    except OSError as error:
        raise unavailable("the audit log can't be read", error) from error
    if json_:
        typer.echo(json.dumps({"records": records}, indent=2))  # ASCII: see _printable
    else:
        columns = ("Time", "Event", "Decision", "Who", "Purpose", "What", "Refs", "Values")
        _table(columns, map(_row, records))


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
    typer.echo(f"{state}: {report.records:,} records in {report.shards} shard(s).")
    if report.pruned:
        typer.echo(f"Pruned, their hashes kept: {report.pruned:,} records.")
    if report.limits:
        typer.echo(f"No signature was checked. {report.limits}")
    elif report.unsigned:
        typer.echo(f"Not signed yet: {report.unsigned:,} records.")
