"""What the commands that act on keys share: options, the vault within an access, a bar, the end."""

from __future__ import annotations

import getpass
import sys
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

from vaultlayer.access.principal import Principal
from vaultlayer.cli.common import FINDINGS, database_error, print_json
from vaultlayer.errors import ConfigurationError
from vaultlayer.lifecycle.models import import_models
from vaultlayer.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from vaultlayer.lifecycle.job import Report

ModelsOption = Annotated[
    list[str] | None,
    typer.Option("--models", help="Module with models, as Python imports it; else [vault] models."),
]
AsOption = Annotated[str, typer.Option("--as", help="Who does this, for the record; else you.")]
RoleOption = Annotated[str, typer.Option("--role", help="In which role of policies/.")]
PurposeOption = Annotated[str, typer.Option("--purpose", help="For which declared purpose.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, in words for the record.")]
DryOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; do nothing.")]


@contextmanager
def acting(
    config: Path | None, models: list[str] | None, by: str, role: str, purpose: str, reason: str
) -> Iterator[Vault]:
    """The vault, attached to its database, within an access."""
    with Vault.open(config) as vault:
        if vault.settings.database is None:
            raise ConfigurationError(
                "the settings don't say where the database is",
                hint='set [vault] database, e.g. database = "sqlite:///app.db"',
            )
        if not models and not vault.settings.models:
            raise ConfigurationError(
                "the models aren't named, and what isn't seen can't be looked after",
                hint='--models shop.models, or [vault] models = ["shop.models"]',
            )
        vault.models = tuple(import_models(models or ()))
        principal = Principal(by or getpass.getuser(), roles=[role])
        try:
            engine = create_engine(vault.settings.database, hide_parameters=True)
            vault.attach(engine, check_indexes=False)  # the commands are what mends them
            with vault.access(principal, purpose=purpose, reason=reason):
                yield vault
        except (SQLAlchemyError, ImportError) as error:
            raise database_error(error) from None


@contextmanager
def bar() -> Iterator[Callable[[str, int], None] | None]:
    """A progress bar on stderr, where that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed} rows")
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as shown:
        tasks: dict[str, Any] = {}

        def progress(told: str, more: int) -> None:
            if told not in tasks:
                tasks[told] = shown.add_task(told, total=None)
            shown.advance(tasks[told], more)

        yield progress


def end(report: Report, json_: bool) -> None:
    """Show the report; exit code 1 where it proves that something is left."""
    if json_:
        proofs = [{**asdict(proof), "ok": proof.ok} for proof in report.proofs]
        print_json({**asdict(report), "proofs": proofs, "ok": report.ok})
    else:
        for step in report.steps:
            typer.echo(step)
        for proof in report.proofs:
            typer.echo(f"{'Found' if report.dry_run else 'Proof'}: {proof}.")
        if report.damaged:
            typer.echo(f"{report.damaged} value(s) open under no key: restore them from a backup.")
    if not report.ok:
        raise typer.Exit(FINDINGS)
