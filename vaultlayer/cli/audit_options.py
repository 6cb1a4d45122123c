"""What the commands of ``vaultlayer audit`` share: where the log is, and whose keys it has."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

from vaultlayer.audit.heads import heads_at, place_of
from vaultlayer.audit.note import VerifierKey
from vaultlayer.audit.registry import origin_of
from vaultlayer.cli.common import database_error
from vaultlayer.errors import AuditUnavailable, ConfigurationError
from vaultlayer.privacy.ledger import check
from vaultlayer.settings import Settings

if TYPE_CHECKING:
    from vaultlayer.audit.check import Finding
    from vaultlayer.audit.heads import Head

DirectoryOption = Annotated[
    Path | None, typer.Option("--directory", help="Audit directory; else the settings' own.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")]
KeyOption = Annotated[
    list[str] | None,
    typer.Option("--key", help="A public key of the log (or witness), or a file of them."),
]


def audit_directory(config: Path | None, directory: Path | None) -> Path:
    """The directory that was named, else that of the settings; it must be there."""
    folder = directory or Settings.load(config).audit_directory
    if not folder.is_dir():
        raise AuditUnavailable(
            f"there is no audit directory {folder}",
            hint="the first vault makes it; name another with --directory or --config",
        )
    return folder


def trusted(
    config: Path | None, directory: Path | None, keys: list[str], *, offline: bool
) -> tuple[list[VerifierKey], list[Head]]:
    """The keys to believe and the stored heads to compare with.

    Keys that were named are all there is; else the database of the settings is asked.
    """
    if keys or directory or offline:
        return [key for text in keys for key in _parse(text)], []
    settings = Settings.load(config)
    folder, heads = settings.audit_directory, heads_at(settings.database)
    if settings.database is None:
        return [], []
    try:
        return heads.keys(), heads.at(place_of(folder), origin_of(folder))
    except AuditUnavailable as error:
        typer.echo(f"Signatures aren't checked: {error.message}.", err=True)
        return [], []


def ledgers(config: Path | None, folder: Path) -> list[Finding]:
    """What is wrong with the ledgers in the database of the settings, where there is one."""
    database = Settings.load(config).database
    if database is None:
        return []
    try:
        engine = create_engine(database, hide_parameters=True)
        with engine.connect() as connection:
            return check(connection, folder)
    except (SQLAlchemyError, ImportError) as error:
        typer.echo(f"The ledgers aren't checked: {database_error(error).message}.", err=True)
        return []


def _parse(text: str) -> list[VerifierKey]:
    file = Path(text)
    if "+" not in text and file.is_file():
        try:
            lines = file.read_text("utf-8").split("\n")
        except (OSError, UnicodeDecodeError):
            raise ConfigurationError(
                f"{file} can't be read", hint="it holds one public key a line"
            ) from None
        return [VerifierKey.parse(line) for line in lines if line.strip()]
    return [VerifierKey.parse(text)]
