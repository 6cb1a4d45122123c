"""``vaultlayer policy amend``: publish the notice of a new version of the rules."""

from __future__ import annotations

import dataclasses
import getpass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

from vaultlayer.cli.bundles import PoliciesOption, folder_of, snapshot_in
from vaultlayer.cli.common import ConfigOption, JsonOption, database_error, print_json
from vaultlayer.cli.reviewing import show_changes
from vaultlayer.cli.shadow import shadow_note, tell_shadow
from vaultlayer.errors import ConfigurationError
from vaultlayer.vault import Vault

if TYPE_CHECKING:
    from vaultlayer.access.amendments import Amendment


def amend(
    config: ConfigOption = None,
    policies: PoliciesOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it means; note nothing.")
    ] = False,
    by: Annotated[str | None, typer.Option(help="Who publishes; else the system's user.")] = None,
    json_: JsonOption = False,
) -> None:
    """Publish the bundle's notice: from now on people are told, and the period runs.

    Say what the version changes against the one in force, whether it reduces people's rights,
    and when it can take effect. Run it on the day notice.md is shown to people, not before.
    """
    wanted = snapshot_in(folder_of(config, policies))
    with Vault.open(config) as vault:
        if vault.settings.database is None:
            raise ConfigurationError(
                "the settings don't say where the record of versions is",
                hint='set [vault] database, e.g. database = "sqlite:///app.db"',
            )
        try:
            vault.attach(create_engine(vault.settings.database, hide_parameters=True))
            amendment = vault.governing.publish(wanted, by or getpass.getuser(), dry_run=dry_run)
        except (SQLAlchemyError, ImportError) as error:
            raise database_error(error) from None
    note = shadow_note(config)
    if json_:
        print_json({**_told(amendment, dry_run), "shadow": note})
    else:
        _show(amendment, dry_run)
        tell_shadow(note)


def _show(amendment: Amendment | None, dry_run: bool) -> None:
    if amendment is None:
        typer.echo("This version is in force: there is nothing to publish.")
        return
    show_changes(list(amendment.changes))
    done = "Would be published" if dry_run else "Published"
    when = f"{amendment.due:%Y-%m-%d %H:%M} UTC" if amendment.due else "the next reload"
    typer.echo(f"{done}: version {amendment.version}. It takes effect at {when}, if files stay so.")


def _told(amendment: Amendment | None, dry_run: bool) -> dict[str, Any]:
    if amendment is None:
        return {"in_force": True}
    return {
        "in_force": False,
        "dry_run": dry_run,
        "version": amendment.version,
        "digest": amendment.digest,
        "reduces_rights": amendment.reduces,
        "notice_days": amendment.notice_days,
        "published": amendment.published.isoformat() if amendment.published else None,
        "takes_effect": amendment.due.isoformat() if amendment.due else None,
        "changes": [dataclasses.asdict(change) for change in amendment.changes],
    }
