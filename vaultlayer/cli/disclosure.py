"""``vaultlayer disclosure``: the ledger; and for recipients, a key and opening a package."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from datetime import datetime  # noqa: TC003 typer reads it
from pathlib import Path  # noqa: TC003
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID  # noqa: TC003

import typer

from vaultlayer.cli.common import ConfigOption, JsonOption, print_json
from vaultlayer.cli.key_frame import (  # typer reads them
    AsOption,  # noqa: TC001
    DryOption,  # noqa: TC001
    PurposeOption,  # noqa: TC001
    ReasonOption,  # noqa: TC001
    RoleOption,  # noqa: TC001
)
from vaultlayer.cli.question_show import printable, table
from vaultlayer.cli.questions import open_vault
from vaultlayer.cli.subject_requests import as_officer
from vaultlayer.errors import ConfigurationError
from vaultlayer.privacy.disclosures import telling
from vaultlayer.privacy.package import new_key, open_package

if TYPE_CHECKING:
    from vaultlayer.privacy.disclosures import Disclosure

app = typer.Typer(no_args_is_help=True, help="What was given to whom; keys and packages.")


@app.command("list")
def list_(
    subject: Annotated[
        UUID | None, typer.Option(help="Only those a person may be told of: their subject_id.")
    ] = None,
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """List the ledger of disclosures, oldest first."""
    with open_vault(config) as vault:
        ledger = vault.disclosures
        found = ledger.all() if subject is None else ledger.of(subject)
    if json_:
        print_json({"disclosures": [_told(each) for each in found]})
        return
    rows = [
        (f"{d.disclosed:%Y-%m-%d %H:%M}", f"{d.recipient} ({d.kind})", d.reference or d.basis,
         d.people, ", ".join(d.fields), "withheld" if d.withheld else "told")
        for d in found
    ]  # fmt: skip
    table(("When (UTC)", "To", "Ground", "People", "Fields", "People are"), rows)
    typer.echo(f"{len(found)} disclosure(s).")


@app.command()
def review(
    disclosure: Annotated[UUID, typer.Argument(help="The disclosure's id (list --json).")],
    withhold: Annotated[
        str, typer.Option(help="Why its people may still not be told; else they are.")
    ] = "",
    until: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The next day of review.")
    ] = None,
    config: ConfigOption = None,
    by: AsOption = "",
    role: RoleOption = "privacy_officer",
    purpose: PurposeOption = "legal_obligation",
    reason: ReasonOption = "",
    dry_run: DryOption = False,
    json_: JsonOption = False,
) -> None:
    """Have people told of a disclosure that was withheld from them, or withhold it for longer."""
    day = until.date() if until else None
    telling(withhold, day)  # refuses one without the other, in a dry run too
    with as_officer(config, by, role, purpose, reason) as vault:
        found = vault.disclosures.get(disclosure)
        if not dry_run:
            found = vault.disclosures.review(disclosure, withhold=withhold, until=day)
    if json_:
        print_json({**_told(found), "dry_run": dry_run})
        return
    told = "Would do: " if dry_run else ""
    done = f"withheld until {day}" if day else "told to its people from now on"
    typer.echo(f"{told}The disclosure to {printable(found.recipient)} is {done}.")


@app.command()
def key(
    file: Annotated[Path, typer.Argument(help="Where the private key is written; a new file.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    json_: JsonOption = False,
) -> None:
    """Make a recipient's key pair: the private key into a file, the public one shown.

    The recipient runs this, keeps the file, and sends the public key (x25519:…) to whoever
    discloses, who puts it into processors.toml or passes it as public_key.
    """
    private, public = new_key()
    if dry_run:
        typer.echo(f"Would write {file}")
        return
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
            opened.write(private)
    except OSError as error:
        raise ConfigurationError(
            f"{file} can't be written ({type(error).__name__})", hint="name a new file"
        ) from None
    if json_:
        print_json({"private_key": str(file), "public_key": public})
    else:
        typer.echo(public)


@app.command("open")
def open_(
    package: Annotated[Path, typer.Argument(help="The package.")],
    private: Annotated[
        Path, typer.Option("--key", help="The private key: PEM, or a JWK for a package of JWE.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Write the content to a new file, not to the terminal.")
    ] = None,
) -> None:
    """Open a package with the recipient's private key. Needs no settings; prints JSON.

    Exits with 1 if it was changed or is for another key.
    """
    content = open_package(_read(package), _read(private))
    if out is None:
        sys.stdout.write(content.decode() + "\n")
        return
    try:
        with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
            opened.write(content)
    except OSError as error:
        raise ConfigurationError(
            f"{out} can't be written ({type(error).__name__})", hint="name a new file"
        ) from None
    typer.echo(f"Wrote {out}", err=True)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{file} can't be read ({type(error).__name__})", hint="name a file that is there"
        ) from None


def _told(disclosure: Disclosure) -> dict[str, Any]:
    told = asdict(disclosure)
    review = disclosure.review.isoformat() if disclosure.review else None
    return {
        **told,
        "disclosure_id": str(disclosure.disclosure_id),
        "disclosed": disclosure.disclosed.isoformat(),
        "review": review,
    }
