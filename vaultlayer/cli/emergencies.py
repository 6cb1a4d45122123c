"""``vaultlayer policy emergencies | review | store``: what acts beside the bundle's files."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

from vaultlayer.access.bundle import bundle_of, read_files
from vaultlayer.access.check import findings
from vaultlayer.access.principal import Principal
from vaultlayer.access.snapshot import Snapshot
from vaultlayer.access.source import Stored
from vaultlayer.cli.common import ConfigOption, JsonOption, database_error, print_json
from vaultlayer.cli.shadow import shadow_note, tell_shadow
from vaultlayer.errors import ConfigurationError, PolicyError
from vaultlayer.settings import Settings
from vaultlayer.vault import Vault

_Folder = Annotated[Path, typer.Argument(help="The bundle's folder.")]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")]


def emergencies(
    config: ConfigOption = None,
    all_: Annotated[bool, typer.Option("--all", help="The reviewed ones too.")] = False,
    json_: JsonOption = False,
) -> None:
    """List the emergency accesses that wait for a second person's review.

    Exits with 1 if some wait.
    """
    with _vault(config) as vault:
        found = _asked(lambda: vault.elevations.open(reviewed=all_))
    told, note = [_told(row) for row in found], shadow_note(config)
    if json_:
        print_json({"emergencies": told, "shadow": note})
    else:
        _show(told)
        tell_shadow(note)
    if any(row["reviewed"] is None for row in told):
        raise typer.Exit(1)


def review(
    emergency: Annotated[str, typer.Argument(help="The emergency's id.")],
    sub: Annotated[str, typer.Option("--as", help="Who reviews: another person than had it.")],
    verdict: Annotated[str, typer.Option(help="What was found.")],
    role: Annotated[str, typer.Option(help="The reviewer's role.")] = "privacy_officer",
    purpose: Annotated[str, typer.Option(help="The review's purpose.")] = "legal_obligation",
    config: ConfigOption = None,
    dry_run: _DryRun = False,
) -> None:
    """Close an emergency access after a second person has looked at what was done in it."""
    principal = Principal(sub, [role])
    with _vault(config) as vault, vault.access(principal, purpose=purpose, reason="review"):
        if not dry_run:
            _asked(lambda: vault.elevations.review(emergency, verdict))
    typer.echo(f"{'Would close' if dry_run else 'Closed'} {emergency}")


def store(
    folder: _Folder,
    config: ConfigOption = None,
    dry_run: _DryRun = False,
) -> None:
    """Put a bundle into the database, for settings that say policies = "database:".

    It is checked, with its tests, before; a bad one is not stored. Running vaults take it up
    within seconds.
    """
    settings = Settings.load(config)
    if settings.database is None:
        raise ConfigurationError(
            "the settings name no database", hint='set [vault] database, e.g. "sqlite:///app.db"'
        )
    files = read_files(folder)
    bundle = bundle_of(files)
    for found in findings(Snapshot(bundle)):
        raise PolicyError(f"{found.where}: {found.message}", hint=found.hint)
    version = None if dry_run else _asked(lambda: Stored.at(settings.database or "").store(files))
    done = "Would store" if dry_run else f"Stored as version {version}"
    typer.echo(f"{done}: {len(bundle.rules)} rules. Digest {bundle.digest[:16]}")


def _vault(config: Path | None) -> Vault:
    vault = Vault.open(config)
    if vault.settings.database is None:
        raise ConfigurationError(
            "the settings don't say where emergencies are kept",
            hint='set [vault] database, e.g. database = "sqlite:///app.db"',
        )
    try:
        vault.attach(create_engine(vault.settings.database, hide_parameters=True))
    except (SQLAlchemyError, ImportError) as error:
        raise database_error(error) from None
    return vault


def _asked(ask: Any) -> Any:
    try:
        return ask()
    except SQLAlchemyError as error:
        raise database_error(error) from None


def _told(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row["elevation_id"],
        "began": _time(row["begins"]),
        "who": row["sub"],
        "took": row["roles"].split(),
        "purpose": row["purpose"],
        "why": row["why"],
        "reviewed": _time(row["closed"]),
        "reviewed_by": row["closed_by"],
        "verdict": row["verdict"],
    }


def _time(seconds: int | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()


def _show(told: list[dict[str, Any]]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("Emergency", no_wrap=True)
    for name in ("Who, as what", "Why", "Review"):
        table.add_column(name, overflow="fold")
    for row in told:
        which = f"{row['id']}\n{row['began'][:16]}\n{row['purpose']}"
        who = f"{row['who']}\n{', '.join(row['took'])}"
        reviewed = f"{row['reviewed_by']}: {row['verdict']}" if row["reviewed"] else "waits"
        table.add_row(*map(Text, (which, who, row["why"], reviewed)))
    console = Console()
    if told:
        console.print(table)
    waiting = sum(row["reviewed"] is None for row in told)
    console.print(f"{waiting} emergency access(es) wait for a review.")
