"""``vaultlayer migrate …``, ``backfill`` and ``export``: thin on top of ``vault.migrations``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from vaultlayer.cli.common import ConfigOption, JsonOption, print_json
from vaultlayer.cli.key_exchange import WaitOption  # noqa: TC001 typer reads it
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

app = typer.Typer(
    no_args_is_help=True,
    help="Move fields from plaintext into sealed columns, while the application runs: expand, "
    "backfill, verify, switch, contract.",
)

FieldsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="FIELD…", help="As table.attribute; else all that are declared."),
]
RateOption = Annotated[float | None, typer.Option(min=1, help="At most so many rows a second.")]
WorkersOption = Annotated[int, typer.Option(min=1, help="So many processes.")]


def backfill(
    fields: FieldsArgument = None,
    config: ConfigOption = None,
    models: ModelsOption = None,
    rate: RateOption = None,
    workers: WorkersOption = 1,
    by: AsOption = "",
    role: RoleOption = "privacy_officer",
    purpose: PurposeOption = "legal_obligation",
    reason: ReasonOption = "",
    dry_run: DryOption = False,
    json_: JsonOption = False,
) -> None:
    """Seal what is plaintext only, or differs; ends with proof, or exit code 1.

    Online, in chunks; a killed run is run again. What is sealed and equal is left alone.
    """
    with acting(config, models, by, role, purpose, reason) as vault, bar() as progress:
        report = vault.migrations.backfill(
            *(fields or ()), rate=rate, workers=workers, dry_run=dry_run, progress=progress
        )
    end(report, json_)


def _step(name: str, told: str, *, waits: bool = False, dry: bool = False) -> Any:
    """The command of a step, with the options that it takes."""

    def run(
        fields: FieldsArgument = None,
        config: ConfigOption = None,
        models: ModelsOption = None,
        wait: WaitOption = None,
        by: AsOption = "",
        role: RoleOption = "privacy_officer",
        purpose: PurposeOption = "legal_obligation",
        reason: ReasonOption = "",
        dry_run: DryOption = False,
        json_: JsonOption = False,
    ) -> None:
        options: dict[str, Any] = {"wait": wait} if waits else {}
        options |= {"dry_run": dry_run} if dry else {}
        with acting(config, models, by, role, purpose, reason) as vault, bar() as progress:
            step = getattr(vault.migrations, name)
            report = step(*(fields or ()), progress=progress, **options)
        end(report, json_)

    taken = {"wait": waits, "dry_run": dry}
    run.__annotations__ = {k: v for k, v in run.__annotations__.items() if taken.get(k, True)}
    run.__doc__ = told
    return _without(run, [option for option, has in taken.items() if not has])


def _without(command: Any, options: list[str]) -> Any:
    """The command without some of its options, as typer sees it."""
    import inspect

    signature = inspect.signature(command, eval_str=True)
    kept = [each for name, each in signature.parameters.items() if name not in options]
    command.__signature__ = signature.replace(parameters=kept)
    return command


export = _step(
    "export",
    "The way out: open every sealed value and put it into its plaintext column, which is then "
    "read.\n\nDecided as export and journaled. A column that was dropped is made anew.",
    waits=True,
    dry=True,
)
_STEPS = {
    "expand": _step(
        "expand", "Add the sealed columns, their indexes and a subject to every row.", dry=True
    ),
    "backfill": backfill,
    "verify": _step("verify", "Open every sealed value and compare it with its plaintext."),
    "switch": _step(
        "switch", "Read the sealed columns; both are written until contract.", waits=True
    ),
    "contract": _step(
        "contract",
        "Drop the plaintext columns and scrub them out of the database's files.\n\n"
        "Says what backups, replicas and log archives still hold. Only export leads back.",
        waits=True,
        dry=True,
    ),
    "undo": _step(
        "undo",
        "One step back, as long as there is a plaintext column.\n\n"
        "After the switch the plaintext is first made what is sealed, which is an export.",
        waits=True,
    ),
}
for _name, _run in _STEPS.items():
    app.command(_name)(_run)


@app.command()
def status(
    config: ConfigOption = None,
    models: ModelsOption = None,
    by: AsOption = "",
    role: RoleOption = "privacy_officer",
    purpose: PurposeOption = "legal_obligation",
    reason: ReasonOption = "",
    json_: JsonOption = False,
) -> None:
    """List how far each field has come, and until when its plaintext may be read."""
    with acting(config, models, by, role, purpose, reason) as vault:
        known = vault.migrations.status()
    if json_:
        print_json({"fields": [{**asdict(one), "until": str(one.until)} for one in known]})
        return
    for one in known:
        typer.echo(f"{one.field}: {one.stage}; plaintext in {one.plaintext}, until {one.until}")
    if not known:
        typer.echo("No field is declared to be migrated.")
