"""``vaultlayer report``: evidence gathered from this vault now."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import typer

from vaultlayer.audit.files import unavailable
from vaultlayer.audit.follow import tree_folder
from vaultlayer.cli.common import (
    FINDINGS,
    ConfigOption,
    HtmlOption,
    JsonOption,
    print_json,
    write_page,
)
from vaultlayer.cli.question_show import table as show_table
from vaultlayer.cli.questions import open_vault
from vaultlayer.cli.report_board import board
from vaultlayer.cli.shadow import shadow_note, tell_shadow
from vaultlayer.evidence import controls as evidence
from vaultlayer.pages.page import page, table, tag

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

STATES = {"there": "shown", "partly": "partly", "absent": "nothing to show", "finding": "finding"}
_CLASSES = {"there": "good", "partly": "warn", "absent": "muted", "finding": "bad"}

app = typer.Typer(no_args_is_help=True, help="Reports: what this vault can show.")
app.command()(board)


@app.command()
def controls(
    html: HtmlOption = None, config: ConfigOption = None, json_: JsonOption = False
) -> None:
    """Map NIST 800-53, ISO 27001/27701, SOC 2 and GDPR to what this vault shows now.

    Its digest is written into the audit log, whose next checkpoint signs it. Exits with 1 where
    an artefact has findings; a control that has no artefact says so, and is none.
    """
    with open_vault(config) as vault:
        made = evidence.report(vault, shadow_note(config))
        signature = evidence.sign(vault, made)
        directory = vault.settings.audit_directory
    answer = {**made, "signed": {**signature, "checkpoint": _checkpoint(directory, signature)}}
    if html is not None:
        write_page(html, _page(answer))
    if json_:
        print_json(answer)
    elif html is None:
        _show(answer)
        tell_shadow(answer["shadow"])
    if any(each["state"] == "finding" for each in answer["artefacts"].values()):
        raise typer.Exit(FINDINGS)


def _checkpoint(directory: Path, signature: Mapping[str, Any]) -> str:
    """The signed head that covers the report's record; the vault has closed, so it is there."""
    try:
        return (tree_folder(directory, signature["shard"]) / "checkpoint").read_text("utf-8")
    except FileNotFoundError:
        return ""  # the log is not signed: there is no database for its key
    except OSError as error:
        raise unavailable("the log's checkpoint can't be read", error) from error


def _show(answer: Mapping[str, Any]) -> None:
    for catalogue in answer["catalogues"]:
        typer.echo(catalogue["name"])
        rows = [
            (c["id"], c["title"], STATES[c["state"]], ", ".join(c["artefacts"]))
            for c in catalogue["controls"]
        ]
        show_table(("Control", "What it asks", "State", "Artefacts"), rows)
    typer.echo("Artefacts")
    found = [(n, STATES[a["state"]], a["words"]) for n, a in answer["artefacts"].items()]
    show_table(("Artefact", "State", "What was found"), found)
    typer.echo(_signed(answer))


def _signed(answer: Mapping[str, Any]) -> str:
    signed = answer["signed"]
    how = "under a signed checkpoint" if signed["checkpoint"] else "not signed yet"
    place = f"Record {signed['seq']} of {signed['shard']}"
    return f"SHA-256 {signed['sha256']}.\n{place}, {how}."


def _page(answer: Mapping[str, Any]) -> str:
    parts = []
    for catalogue in answer["catalogues"]:
        counts = Counter(control["state"] for control in catalogue["controls"])
        told = ", ".join(f"{counts[state]} {words}" for state, words in STATES.items())
        rows = [
            (c["id"], c["title"], _mark(c["state"]), ", ".join(c["artefacts"]))
            for c in catalogue["controls"]
        ]
        heads = ("Control", "What it asks", "State", "Artefacts")
        parts += [tag("h2", catalogue["name"]), tag("p", told, class_="muted"), table(heads, rows)]
    parts.append(tag("h2", "Artefacts"))
    for name, each in answer["artefacts"].items():
        facts = tag("ul", [tag("li", f"{n}: {_plain(v)}") for n, v in each["facts"].items()])
        head = tag("h3", name, " ", _mark(each["state"]))
        parts.append(tag("section", head, tag("p", each["words"]), facts))
    signed = answer["signed"]
    parts += [tag("h2", "Signature"), tag("p", _signed(answer)), tag("pre", signed["checkpoint"])]
    return page(
        "Controls and their evidence",
        *parts,
        subtitle=f"Made {answer['made']}",
        note=answer["shadow"],
        css="pre{overflow-x:auto}li{overflow-wrap:anywhere}",
    )


def _mark(state: str) -> Any:
    return tag("span", STATES[state], class_=_CLASSES[state])


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_plain(each)}" for name, each in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(_plain(each) for each in value) or "none"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
