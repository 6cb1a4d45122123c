"""What the commands about a policy bundle share: where it is, and which category a field has."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from vaultlayer.access.bundle import Bundle, read_bundle
from vaultlayer.access.names import ACTIONS
from vaultlayer.access.snapshot import ANY_FIELD, Snapshot
from vaultlayer.cli.common import FINDINGS, USAGE
from vaultlayer.cli.models import declared_in
from vaultlayer.errors import ConfigurationError, PolicyError
from vaultlayer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

PoliciesOption = Annotated[
    Path | None, typer.Option("--policies", help="Policy folder; else the one in the settings.")
]
ModelsOption = Annotated[
    list[str] | None,
    typer.Option("--models", help="Python module with mapped classes, to name their fields."),
]


def snapshot_in(folder: Path) -> Snapshot:
    """The folder's bundle, compiled; a bad one ends the command with 1."""
    try:
        return Snapshot(read_bundle(folder))
    except PolicyError as error:
        stop(FINDINGS, error)


def fields_of(snapshot: Snapshot, models: list[str] | None) -> Mapping[str, str]:
    """What to ask about, by name, and the category of each: the models' fields, else categories
    that have none below them."""
    if models:
        return dict(sorted(declared_in(models).items()))
    categories = snapshot.bundle.categories
    parents = {each.parent for each in categories.values()}
    return {name: name for name in categories if name not in parents}


def asked_field(name: str, category: str) -> str:
    """The field to put into a question about what ``fields_of`` named."""
    return ANY_FIELD if name == category else name


def folder_of(config: Path | None, policies: Path | None) -> Path:
    try:
        folder = policies or Settings.load(config).policies
    except ConfigurationError as error:
        stop(USAGE, error)
    if not folder.is_dir():
        stop(
            USAGE,
            ConfigurationError(
                f"there is no policy folder {folder}",
                hint="name it with --policies, or write a starter with `vaultlayer init`",
            ),
        )
    return folder


def check_action(action: str) -> None:
    """Refuse what the rules have no word for, such as a field in the action's place."""
    if action not in ACTIONS:
        raise ConfigurationError("that is not an action", hint=f"use one of {', '.join(ACTIONS)}")


def category_of(bundle: Bundle, field: str, given: str | None) -> tuple[str, str]:
    """The category to ask about, and how it is known.

    The bundle doesn't know the application's models, so a field's category is given, or assumed
    where exactly one category ends like the field; the answer says which.
    """
    if given is not None:
        return given, "given"
    if field in bundle.categories:
        return field, "given as the field"
    alike = [name for name in bundle.categories if name.split(".")[-1] == field.split(".")[-1]]
    if len(alike) != 1:
        stop(
            USAGE,
            ConfigurationError(
                "it is not known which category this field has",
                hint="add --category, with the one it is declared with in personal(...)",
            ),
        )
    return alike[0], "assumed from the field's name; --category makes it sure"


def stop(code: int, error: ConfigurationError | PolicyError) -> NoReturn:
    typer.echo(str(error), err=True)
    raise typer.Exit(code)
