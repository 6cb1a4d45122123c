"""What the command groups share: exit codes, options, JSON, and errors as two lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from vaultlayer.errors import (
    AuditUnavailable,
    ConfigurationError,
    IntegrityError,
    KeyUnavailable,
    PlaintextFound,
    PolicyError,
    VaultLayerError,
)

FINDINGS, USAGE, UNREACHABLE = 1, 2, 3

_EXIT_CODES: dict[type[VaultLayerError], int] = {
    AuditUnavailable: UNREACHABLE,
    IntegrityError: FINDINGS,
    KeyUnavailable: UNREACHABLE,
    PlaintextFound: FINDINGS,
    PolicyError: FINDINGS,
}

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="Settings file; else $VAULTLAYER_CONFIG, ./vaultlayer.toml."),
]
HtmlOption = Annotated[
    Path | None, typer.Option("--html", help="Write one self-contained page to this file.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def exit_code(error: VaultLayerError) -> int:
    """1: something is wrong with what was looked at; 2: with the call; 3: a part can't be had."""
    return _EXIT_CODES.get(type(error), USAGE)


def show_error(error: VaultLayerError) -> None:
    """The error and its remedy on stderr, a line each."""
    typer.echo(f"Error: {error.message}.", err=True)
    if error.hint:
        typer.echo(f"Hint: {error.hint}", err=True)


def database_error(error: Exception) -> VaultLayerError:
    """An error of the database or its driver as one of ours, without statement or URL."""
    kind = type(error).__name__
    if isinstance(error, DBAPIError):
        return KeyUnavailable(
            f"the database can't be used now ({kind})",
            hint="check that it runs, that the application has called vault.create_tables() on "
            "it, and [vault] database in the settings",
        )
    if isinstance(error, ArgumentError | NoSuchModuleError):
        return ConfigurationError(
            f"the database's URL can't be used ({kind})",
            hint='[vault] database is a SQLAlchemy URL such as "postgresql+psycopg://host/name"',
        )
    return ConfigurationError(
        f"the database's driver can't be used ({kind})",
        hint="install the driver that the URL in [vault] database names",
    )


def write_page(file: Path, text: str) -> None:
    """Write a page of page.py, and say so on stderr."""
    try:
        file.write_text(text, "utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"{file} can't be written ({type(error).__name__})", hint="name another file"
        ) from None
    typer.echo(f"Wrote {file}", err=True)


def print_json(answer: dict[str, Any]) -> None:
    """Print one JSON document; bytes are shown in hexadecimal."""
    typer.echo(json.dumps(answer, indent=2, ensure_ascii=False, default=bytes.hex))
