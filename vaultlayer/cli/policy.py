"""``vaultlayer policy``: check the bundle that reviewers edited, and explain one decision."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vaultlayer.access.bundle import Bundle, read_bundle
from vaultlayer.access.chain import chain
from vaultlayer.access.check import Finding, findings, uncategorised, undeclared
from vaultlayer.access.snapshot import ANY_FIELD, Snapshot
from vaultlayer.cli import amend, emergencies, matrix, replay, reviewing
from vaultlayer.cli.bundles import (
    PoliciesOption,
    category_of,
    folder_of,
    snapshot_in,
)
from vaultlayer.cli.common import FINDINGS
from vaultlayer.cli.models import declared_in
from vaultlayer.cli.shadow import shadow_note, tell_shadow
from vaultlayer.errors import PolicyError

app = typer.Typer(no_args_is_help=True, help="Check and explain the policy bundle.")
app.command("emergencies")(emergencies.emergencies)
app.command("review")(emergencies.review)
app.command("store")(emergencies.store)
app.command("test")(reviewing.test)
app.command("who-can")(reviewing.who_can)
app.command("diff")(reviewing.diff)
app.command("matrix")(matrix.matrix)
app.command("replay")(replay.replay)
app.command("amend")(amend.amend)

_Config = Annotated[
    Path | None, typer.Option("--config", help="Settings file; else $VAULTLAYER_CONFIG.")
]
_Policies = PoliciesOption
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def check(
    models: Annotated[
        list[str] | None,
        typer.Option(help="Python module with mapped classes, to hold the rules against them."),
    ] = None,
    config: _Config = None,
    policies: _Policies = None,
    json_: _Json = False,
) -> None:
    """Read the whole bundle, run its tests, and list what is wrong.

    Exits with 0 if nothing is, 1 if something is, 2 if there is no bundle to check.
    """
    folder = folder_of(config, policies)
    try:
        bundle = read_bundle(folder)
        snapshot = Snapshot(bundle)
        found = findings(snapshot)
        if models:
            declared = declared_in(models)
            found += undeclared(snapshot, declared, complete=True)
            found += uncategorised(snapshot, declared)
    except PolicyError as error:
        bundle, found = None, [Finding.of(error)]
    note = shadow_note(config, policies)
    if json_:
        _print_json({"ok": not found, **_counts(bundle), "findings": found, "shadow": note})
    else:
        _show_findings(bundle, found)
        tell_shadow(note)
    if found:
        raise typer.Exit(FINDINGS)


@app.command()
def explain(
    role: Annotated[str, typer.Argument(help="One role, or several with commas between.")],
    field: Annotated[str, typer.Argument(help="A category, or a field as table.attribute.")],
    action: str,
    purpose: str,
    category: Annotated[
        str | None, typer.Option(help="The category that the field is declared with.")
    ] = None,
    config: _Config = None,
    policies: _Policies = None,
    json_: _Json = False,
) -> None:
    """Say what ROLE gets when it does ACTION with FIELD for PURPOSE, and which line says so."""
    snapshot = snapshot_in(folder_of(config, policies))
    chosen, how = category_of(snapshot.bundle, field, category)
    asked_field = ANY_FIELD if how == "given as the field" else field
    question = (frozenset(role.split(",")), asked_field, chosen, action, purpose)
    decision, rule = snapshot.decide(*question), snapshot.deciding_rule(*question)
    told = snapshot.bundle.purposes.get(purpose)
    answer = {
        "role": role,
        "field": field,
        "category": chosen,
        "category_is": how,
        "action": action,
        "purpose": purpose,
        "purpose_words": told.words if told else None,
        **dataclasses.asdict(decision),
        "rule": f"roles.csv:{rule.line}: {rule}" if rule else None,
        "chain": [dataclasses.asdict(step) for step in chain(snapshot, *question)],
        "digest": snapshot.digest,
        "shadow": shadow_note(config, policies),
    }
    if json_:
        _print_json(answer)
    else:
        _show_answer(answer)


def _counts(bundle: Bundle | None) -> dict[str, Any]:
    if bundle is None:
        return {}
    return {
        "digest": bundle.digest,
        "rules": len(bundle.rules),
        "categories": len(bundle.categories),
        "purposes": len(bundle.purposes),
        "tests": len(bundle.tests),
    }


def _print_json(answer: dict[str, Any]) -> None:
    typer.echo(json.dumps(answer, indent=2, default=dataclasses.asdict))


def _show_findings(bundle: Bundle | None, found: list[Finding]) -> None:
    console = Console()
    if found:
        table = Table("Where", "What is wrong", "What to do")
        for finding in found:
            table.add_row(Text(finding.where), Text(finding.message), Text(finding.hint))
        console.print(table)
    if bundle is not None:
        state = f"{len(found)} finding(s)" if found else "The policies are good"
        counts = ", ".join(f"{n} {what}" for what, n in _counts(bundle).items() if what != "digest")
        console.print(Text(f"{state}: {counts}. Digest {bundle.digest[:16]}"), soft_wrap=True)


def _show_answer(answer: dict[str, Any]) -> None:
    table = Table(show_header=False)
    for name, value in answer.items():
        if name != "chain" and (name != "shadow" or value):
            shown = {None: "-", True: "yes", False: "no"}.get(value, value)
            table.add_row(name.replace("_", " "), Text(shown))
    console = Console()
    console.print(table)
    for number, step in enumerate(answer["chain"], start=1):
        mark = {True: "yes", False: "NO", None: "?"}[step["holds"]]
        console.print(Text(f"{number}. [{mark}] {step['says']}"), soft_wrap=True)
