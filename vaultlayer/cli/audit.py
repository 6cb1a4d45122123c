"""``vaultlayer audit``: check the log, and finish what a crash left."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from vaultlayer.audit.recover import recover as recover_directory
from vaultlayer.audit.recover import recoverable
from vaultlayer.audit.verify import Report
from vaultlayer.audit.verify import verify as check_log
from vaultlayer.cli.audit_options import (
    DirectoryOption,
    DryRunOption,
    KeyOption,
    audit_directory,
    ledgers,
    trusted,
)
from vaultlayer.cli.common import FINDINGS, ConfigOption, JsonOption, print_json
from vaultlayer.cli.question_show import table

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

    And the ledgers in the database (consents, requests, notices) for rows that aren't as the
    log tells of them.

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
    if not (keys or offline or directory):
        report = dataclasses.replace(report, findings=[*report.findings, *ledgers(config, folder)])
    if json_:
        told = dataclasses.asdict(report)
        print_json({"ok": not report.findings, **told, "limits": report.limits})
    else:
        _show_report(report)
    if report.findings:
        raise typer.Exit(FINDINGS)


@app.command()
def recover(
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
    directory: DirectoryOption = None,
    json_: JsonOption = False,
) -> None:
    """Bring what crashed processes had noted into the log. Opening a vault does this too."""
    folder = audit_directory(config, directory)
    recovered = recoverable(folder) if dry_run else recover_directory(folder)
    if json_:
        told = [dataclasses.asdict(one) for one in recovered]
        print_json({"dry_run": dry_run, "recovered": told})
    elif recovered:
        table(("Shard", "Notes recovered", "Torn bytes"), map(dataclasses.astuple, recovered))
        if dry_run:
            typer.echo("Nothing was changed: --dry-run.")
    else:
        typer.echo("Nothing to recover: every process that is gone ended its shard.")


def _show_report(report: Report) -> None:
    if report.findings:
        table(("Shard", "Line", "What is wrong"), map(dataclasses.astuple, report.findings))
    state = f"{len(report.findings)} finding(s)" if report.findings else "The log is whole"
    typer.echo(f"{state}: {report.records:,} records in {report.shards} shard(s).")
    if report.pruned:
        typer.echo(f"Pruned, their hashes kept: {report.pruned:,} records.")
    if report.limits:
        typer.echo(f"No signature was checked. {report.limits}")
    elif report.unsigned:
        typer.echo(f"Not signed yet: {report.unsigned:,} records.")
