"""``vaultlayer keys rotate | reseal | erase | epochs``: thin on top of ``vault.keys``."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from typing import Annotated
from uuid import UUID  # noqa: TC003 - typer reads it

import typer

from vaultlayer.cli.common import ConfigOption, JsonOption, print_json
from vaultlayer.cli.key_frame import (
    AsOption,
    DryOption,
    ModelsOption,
    PurposeOption,
    ReasonOption,
    RoleOption,
    acting,
    bar,
    end,
)
from vaultlayer.errors import ConfigurationError


class What(StrEnum):
    PROVIDER = "provider"
    KEK = "kek"
    SUBJECT = "subject"
    INDEX = "index"


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
    with acting(config, models, by, role, purpose, reason) as vault, bar() as progress:
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
    with acting(config, models, by, role, purpose, reason) as vault, bar() as progress:
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


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, int | str) else str(value)
