"""``vaultlayer keys backup | restore | drill``: thin on top of ``vault.keys``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    end,
)
from vaultlayer.errors import ConfigurationError

_File = Annotated[Path, typer.Argument(help="The backup's file.")]
_Shares = Annotated[
    list[Path] | None,
    typer.Option("--share", help="A file with one share; once for each. Else they are asked for."),
]


def add_to(app: typer.Typer) -> None:
    """Make the commands ``keys`` commands."""
    for command in (backup, restore, drill):
        app.command()(command)


def backup(
    file: _File,
    shares: Annotated[
        str, typer.Option("--shares", help="Deal a new recovery key: 3/5 is any 3 of 5 people.")
    ] = "",
    folder: Annotated[
        Path | None, typer.Option("--shares-to", help="A new folder for the shares' files.")
    ] = None,
    config: ConfigOption = None,
    models: ModelsOption = None,
    by: AsOption = "",
    role: RoleOption = "privacy_officer",
    purpose: PurposeOption = "legal_obligation",
    reason: ReasonOption = "",
    dry_run: DryOption = False,
    json_: JsonOption = False,
) -> None:
    """Write the KEKs into a new file, which any k of n people's shares open.

    The first time, deal the shares: --shares 3/5 --shares-to FOLDER. Later backups need nobody.
    Subject keys are never in it. Keep the file with the database's backups, and destroy it with
    them; keep each share with another person.
    """
    deal = _numbers(shares) if shares else None
    if dry_run:
        typer.echo(f"Would write {file}" + (f" and {deal[1]} shares" if deal else "") + ".")
        return
    with acting(config, models, by, role, purpose, reason) as vault:
        made = vault.keys.backup(file, shares=deal, folder=folder)
    if json_:
        print_json(
            {
                "file": str(made.file),
                "recovery": made.recovery,
                "shares": made.shares,
                "keks": made.keks,
                "share_files": [str(path) for path in made.share_files],
            }
        )
        return
    typer.echo(f"Wrote {made.file}: {made.keks} KEK(s), opened by {made.shares} shares.")
    for path in made.share_files:
        typer.echo(f"Wrote {path}")
    if made.share_files:
        typer.echo("Hand each share to another person, and delete these files.")


def restore(
    file: _File,
    share: _Shares = None,
    config: ConfigOption = None,
    models: ModelsOption = None,
    by: AsOption = "",
    role: RoleOption = "privacy_officer",
    purpose: PurposeOption = "legal_obligation",
    reason: ReasonOption = "",
    dry_run: DryOption = False,
    json_: JsonOption = False,
) -> None:
    """Put a backup's KEKs back, wrapped by the provider that the settings name now.

    Whoever was erased stays erased, and KEKs of an epoch that ended stay destroyed.
    """
    words = _words(share)
    with acting(config, models, by, role, purpose, reason) as vault:
        count = vault.keys.restore(file, words, dry_run=dry_run)
    if json_:
        print_json({"keks": count, "dry_run": dry_run})
    else:
        typer.echo(f"{'Would restore' if dry_run else 'Restored'} {count} KEK(s).")


def drill(
    file: _File,
    share: _Shares = None,
    config: ConfigOption = None,
    models: ModelsOption = None,
    by: AsOption = "",
    role: RoleOption = "privacy_officer",
    purpose: PurposeOption = "legal_obligation",
    reason: ReasonOption = "",
    json_: JsonOption = False,
) -> None:
    """Restore into a scratch vault in memory and open a sample; exit code 1 if some doesn't open.

    Changes nothing but the audit log, which tells of the drill and its outcome.
    """
    words = _words(share)
    with acting(config, models, by, role, purpose, reason) as vault:
        report = vault.keys.drill(file, words)
    end(report, json_)


def _numbers(shares: str) -> tuple[int, int]:
    needed, _, dealt = shares.partition("/")
    if not (needed.isascii() and needed.isdigit() and dealt.isascii() and dealt.isdigit()):
        raise ConfigurationError(f"--shares {shares} isn't k/n", hint="3/5 is any 3 of 5 people")
    return int(needed), int(dealt)


def _words(files: list[Path] | None) -> list[str]:
    """The shares' words, from files or typed in unseen, one after another until an empty one."""
    if files:
        try:
            return [file.read_text("utf-8") for file in files]
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"a share's file can't be read ({type(error).__name__})",
                hint="--share FILE, once for each share",
            ) from None
    words: list[str] = []
    while True:
        typed = typer.prompt(
            f"Share {len(words) + 1} (empty: that's all)",
            default="",
            hide_input=True,
            show_default=False,
            err=True,
        )
        if not typed.strip():
            return words
        words.append(typed)
