"""``vaultlayer init``: the settings, the starter policies and a keyring, in a folder."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from vaultlayer.cli.common import JsonOption, print_json
from vaultlayer.errors import ConfigurationError
from vaultlayer.keys.local import LocalKeyring
from vaultlayer.settings import DEFAULT_FILE, secret

PASSPHRASE = "VAULTLAYER_PASSPHRASE"  # noqa: S105 - the variable's name
POLICIES, KEYRING, PASSPHRASE_FILE = "policies", "keyring.json", "keyring.passphrase"

_SETTINGS = """\
# Settings of vaultlayer. Paths count from this file's folder; a SQLite database's path counts
# from the folder the program runs in.

[vault]
# Where the keys are stored (wrapped): the application's own database.
database = {database}
policies = "policies"

[keys]
# Opened with the passphrase in VAULTLAYER_PASSPHRASE, or in the file VAULTLAYER_PASSPHRASE_FILE.
provider = "local:keyring.json"

[audit]
directory = "audit"
# "process" survives a killed process; "power" a power cut too, and is slower.
durability = "process"
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What ``init`` writes. ``passphrase`` is None where a new one is to be made up."""

    folder: Path
    database: str
    passphrase: str | None

    @property
    def files(self) -> list[Path]:
        names = [DEFAULT_FILE, POLICIES, KEYRING]
        if self.passphrase is None:
            names.append(PASSPHRASE_FILE)
        return [self.folder / name for name in names]


def init(
    folder: Annotated[Path, typer.Argument(help="Where to write; made if missing.")] = Path(),
    database: Annotated[
        str, typer.Option(help="URL of the application's database, where the keys will be stored.")
    ] = "sqlite:///app.db",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be written.")] = False,
    json_: JsonOption = False,
) -> None:
    """Write vaultlayer.toml, the starter policies and a keyring. Never overwrites anything.

    The keyring's passphrase is VAULTLAYER_PASSPHRASE, or the content of the file that
    VAULTLAYER_PASSPHRASE_FILE names. If neither is set, one is made up and put into a file that
    only you can read.
    """
    plan = Plan(folder, database, _given_passphrase())
    refuse_to_overwrite(plan)
    if not dry_run:
        write(plan)
    if json_:
        print_json({"dry_run": dry_run, "files": [str(path) for path in plan.files]})
    else:
        _tell(plan, dry_run)


def refuse_to_overwrite(plan: Plan) -> None:
    for path in plan.files:
        if path.exists() or path.is_symlink():
            raise ConfigurationError(
                f"{path} is there already", hint="name another folder, or move it away yourself"
            )


def write(plan: Plan) -> str:
    """Write the plan's files, the settings last; returns the keyring's passphrase."""
    starter = starter_policies()
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
        passphrase = plan.passphrase
        if passphrase is None:
            passphrase = secrets.token_urlsafe(32)
            _write_private(plan.folder / PASSPHRASE_FILE, passphrase + "\n")
        _copy(starter, plan.folder / POLICIES)
        LocalKeyring.create(plan.folder / KEYRING, passphrase)
        text = _SETTINGS.format(database=json.dumps(plan.database))
        with (plan.folder / DEFAULT_FILE).open("x", encoding="utf-8") as file:
            file.write(text)
        return passphrase
    except OSError as error:
        raise ConfigurationError(
            f"{plan.folder} can't be written to ({type(error).__name__})",
            hint="name a folder of your own",
        ) from None


def starter_policies() -> Path:
    """The starter bundle: package data of an installed wheel, or ``policies/`` of a checkout."""
    checkout = Path(__file__).parents[2] / POLICIES
    if checkout.is_dir() and (checkout.parent / "pyproject.toml").is_file():
        return checkout
    found = find_spec("vaultlayer_policies")
    if found is None or not found.submodule_search_locations:
        raise ConfigurationError(
            "the starter policies are missing from this installation",
            hint="install sqlalchemy-vaultlayer again",
        )
    return Path(next(iter(found.submodule_search_locations)))


def _copy(starter: Path, folder: Path) -> None:
    """The contents only: an installation's files may be read-only, these are to be edited."""
    folder.mkdir()
    for file in starter.iterdir():
        if file.name.startswith((".", "_")):
            continue
        if file.is_dir():  # the schemas, for editors
            _copy(file, folder / file.name)
        else:
            (folder / file.name).write_bytes(file.read_bytes())


def _given_passphrase() -> str | None:
    if os.environ.get(PASSPHRASE) or os.environ.get(f"{PASSPHRASE}_FILE"):
        return secret(PASSPHRASE)()
    return None


def _write_private(path: Path, text: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)


def _tell(plan: Plan, dry_run: bool) -> None:
    for path in plan.files:
        typer.echo(f"{'Would write' if dry_run else 'Wrote'} {path}")
    if plan.passphrase is None:
        file = (plan.folder / PASSPHRASE_FILE).absolute()
        would = "would be" if dry_run else "was"
        typer.echo(
            f"\nThe keyring's passphrase {would} made up. Let the program find it with\n"
            f"  export {PASSPHRASE}_FILE={file}\n"
            "and keep a copy of the keyring and of the passphrase, each in another place:\n"
            "without both of them nothing can be read again."
        )
    typer.echo(f"\nPut neither {KEYRING} nor a passphrase under version control.")
