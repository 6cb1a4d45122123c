"""``vaultlayer privacy sweep``: take out what is kept for longer than its purposes say."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from vaultlayer.cli.common import ConfigOption, JsonOption, print_json
from vaultlayer.cli.key_frame import (
    AsOption,
    DryOption,
    ModelsOption,
    PurposeOption,
    RoleOption,
    acting,
    bar,
)
from vaultlayer.cli.question_show import table
from vaultlayer.privacy.retention import sweep as sweep_vault

if TYPE_CHECKING:
    from vaultlayer.privacy.retention import Sweep

app = typer.Typer(no_args_is_help=True, help="What the purposes promise, done.")


@app.callback()
def _privacy() -> None:
    pass  # keeps `privacy sweep` a command of its own while it is the only one


@app.command()
def sweep(
    config: ConfigOption = None,
    models: ModelsOption = None,
    by: AsOption = "",
    role: RoleOption = "privacy_officer",
    purpose: PurposeOption = "legal_obligation",
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "retention",
    dry_run: DryOption = False,
    json_: JsonOption = False,
) -> None:
    """Find what is past the longest retention of its purposes, and take it out for good.

    Look with --dry-run first. A killed sweep is run again.
    """
    with acting(config, models, by, role, purpose, reason) as vault, bar() as progress:
        told = sweep_vault(vault, dry_run=dry_run, progress=progress or (lambda *_: None))
    if json_:
        swept = [{**asdict(one), "before": one.before.isoformat()} for one in told.swept]
        print_json({**asdict(told), "swept": swept})
    else:
        _show(told)


def _show(told: Sweep) -> None:
    rows = [
        (one.table, ", ".join(one.fields), one.retention, one.before.isoformat(), one.values)
        for one in told.swept
    ]
    if rows:
        table(("Table", "Fields", "Kept for", "From before", "Values"), rows)
    for name in told.undated:
        typer.echo(f"{name}: its class has no __collected__, so nothing says how old its rows are.")
    values = sum(one.values for one in told.swept)
    typer.echo(f"{'Took out' if told.done else 'Would take out'} {values:,} value(s).")
