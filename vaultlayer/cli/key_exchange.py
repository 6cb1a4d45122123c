"""``vaultlayer keys rotate | reseal | erase | epochs``: thin on top of ``vault.keys``."""

from __future__ import annotations

import getpass
import sys
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID  # noqa: TC003 - typer reads it

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

from vaultlayer.access.principal import Principal
from vaultlayer.cli.common import FINDINGS, ConfigOption, JsonOption, database_error, print_json
from vaultlayer.errors import ConfigurationError
from vaultlayer.lifecycle.models import import_models
from vaultlayer.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from vaultlayer.lifecycle.job import Report


class What(StrEnum):
    PROVIDER = "provider"
    KEK = "kek"
    SUBJECT = "subject"
    INDEX = "index"


ModelsOption = Annotated[
    list[str] | None,
    typer.Option("--models", help="Module with models, as Python imports it; else [vault] models."),
]
AsOption = Annotated[str, typer.Option("--as", help="Who does this, for the record; else you.")]
RoleOption = Annotated[str, typer.Option("--role", help="In which role of policies/.")]
PurposeOption = Annotated[str, typer.Option("--purpose", help="For which declared purpose.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, in words for the record.")]
DryOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; do nothing.")]
RegionOption = Annotated[str | None, typer.Option("--region", help="Else the settings' own.")]
TenantOption = Annotated[str | None, typer.Option("--tenant", help="Of this tenant only.")]
WaitOption = Annotated[
    float | None,
    typer.Option("--wait", help="Seconds for every process to learn of a key; else [keys] ttl."),
]


def add_to(app: typer.Typer) -> None:
    """Make the commands ``keys`` commands."""
    for command in (rotate, reseal, erase, epochs):
        app.command()(command)


def rotate(
    what: Annotated[What, typer.Argument(help="Which keys.")],
    config: ConfigOption = None,
    models: ModelsOption = None,
    tenant: TenantOption = None,
    region: RegionOption = None,
    subject: Annotated[UUID | None, typer.Option(help="Of this person only.")] = None,
    wait: WaitOption = None,
    by: AsOption = "",
    role: RoleOption = "privacy_officer",
    purpose: PurposeOption = "legal_obligation",
    reason: ReasonOption = "",
    dry_run: DryOption = False,
    json_: JsonOption = False,
) -> None:
    """Exchange keys, online; a killed run is gone on with. Ends with proof, or exit code 1.

    provider: the provider's key. kek: the next epoch of KEKs. subject: everybody's key, and
    all values sealed anew. index: the root of the blind indexes, and all terms made anew.
    """
    with acting(config, models, by, role, purpose, reason) as vault, _bar() as progress:
        report = vault.keys.rotate(
            what.value, region=region, tenant=tenant, subject_id=subject, dry_run=dry_run,
            wait=wait, progress=progress,
        )  # fmt: skip
    end(report, json_)


def reseal(
    config: ConfigOption = None,
    models: ModelsOption = None,
    by: AsOption = "",
    role: RoleOption = "privacy_officer",
    purpose: PurposeOption = "legal_obligation",
    reason: ReasonOption = "",
    dry_run: DryOption = False,
    json_: JsonOption = False,
) -> None:
    """Seal and index anew what is under former keys, after old data was put back say."""
    with acting(config, models, by, role, purpose, reason) as vault, _bar() as progress:
        report = vault.keys.reseal(dry_run=dry_run, progress=progress)
    end(report, json_)


def erase(
    subject: Annotated[UUID | None, typer.Argument(help="The person's subject_id.")] = None,
    config: ConfigOption = None,
    models: ModelsOption = None,
    by: AsOption = "",
    role: RoleOption = "privacy_officer",
    purpose: PurposeOption = "legal_obligation",
    reason: ReasonOption = "",
    replay: Annotated[
        bool, typer.Option("--replay", help="Erase again whom a restored backup brought back.")
    ] = False,
    dry_run: DryOption = False,
    json_: JsonOption = False,
) -> None:
    """Destroy a person's keys and empty their rows. Nothing brings that back."""
    if replay == (subject is not None):
        raise ConfigurationError(
            "it isn't clear whom to erase", hint="give one subject_id, or --replay"
        )
    with acting(config, models, by, role, purpose, reason) as vault:
        if dry_run:
            with vault.databases.keys(None, check=False) as connection:
                people = {one.subject for one in vault.tombstones.missing(connection)}
            told = len(people) if replay else 1
            typer.echo(f"Would erase {told} person(s).")
            return
        if subject is not None:
            receipts = [vault.subjects.erase(subject, reason=reason)]
        else:
            receipts = vault.subjects.replay(reason=reason)
    if json_:
        print_json({"receipts": [{k: _plain(v) for k, v in asdict(r).items()} for r in receipts]})
        return
    for receipt in receipts:
        typer.echo(
            f"Erased {receipt.subject_id}: {receipt.keys} key(s), {receipt.values} value(s), "
            f"{receipt.terms} index term(s).\n"
            f"Backups may hold them until {receipt.horizon:%Y-%m-%d}. "
            f"Receipt {receipt.erasure_id}."
        )
    if not receipts:
        typer.echo("Nobody to erase again.")


def epochs(
    config: ConfigOption = None,
    models: ModelsOption = None,
    destroy: Annotated[int | None, typer.Option(help="Destroy this epoch's keys.")] = None,
    region: RegionOption = None,
    by: AsOption = "",
    role: RoleOption = "privacy_officer",
    purpose: PurposeOption = "legal_obligation",
    reason: ReasonOption = "",
    dry_run: DryOption = False,
    json_: JsonOption = False,
) -> None:
    """List the epochs of KEKs, and from when each may be destroyed; or destroy one."""
    with acting(config, models, by, role, purpose, reason) as vault:
        final = None
        if destroy is not None:
            final = vault.keys.end_epoch(destroy, region=region, dry_run=dry_run)
        known = vault.keys.epochs()
    if json_:
        listed = [{name: _plain(value) for name, value in asdict(e).items()} for e in known]
        print_json({"epochs": listed, "final": _plain(final)})
        return
    for epoch in known:
        where = f" of region {epoch.region}" if epoch.region else ""
        due = f"; may be destroyed from {epoch.due:%Y-%m-%d}" if epoch.due else ""
        typer.echo(
            f"epoch {epoch.epoch}{where}: {epoch.state.replace('_', ' ')}, {epoch.keks} KEK(s) "
            f"over {epoch.keys_left} key(s), since {epoch.began:%Y-%m-%d}{due}"
        )
    if final is not None:
        typer.echo(f"The provider's key is gone for good from {final:%Y-%m-%d %H:%M} UTC.")


@contextmanager
def acting(
    config: Path | None, models: list[str] | None, by: str, role: str, purpose: str, reason: str
) -> Iterator[Vault]:
    """The vault, attached to its database, within an access."""
    if "" not in sys.path:
        sys.path.insert(0, "")
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
            vault.attach(create_engine(vault.settings.database, hide_parameters=True))
            with vault.access(principal, purpose=purpose, reason=reason):
                yield vault
        except (SQLAlchemyError, ImportError) as error:
            raise database_error(error) from None


@contextmanager
def _bar() -> Iterator[Callable[[str, int], None] | None]:
    """A progress bar on stderr, where that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed} rows")
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bar:
        tasks: dict[str, Any] = {}

        def progress(told: str, more: int) -> None:
            if told not in tasks:
                tasks[told] = bar.add_task(told, total=None)
            bar.advance(tasks[told], more)

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


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, int | str) else str(value)
