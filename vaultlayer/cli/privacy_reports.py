"""``vaultlayer report register | promises``: what is collected, and whether promises are kept."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003
from pathlib import Path  # noqa: TC003 typer reads it
from typing import Annotated, Any

import typer

from vaultlayer.cli.common import (
    FINDINGS,
    ConfigOption,
    HtmlOption,
    JsonOption,
    print_json,
    write_page,
)
from vaultlayer.cli.question_show import table as show_table
from vaultlayer.cli.question_show import when
from vaultlayer.cli.questions import open_vault
from vaultlayer.cli.shadow import shadow_note, tell_shadow
from vaultlayer.evidence.promises import GREEN, RED, STALE, failing
from vaultlayer.evidence.promises import promises as promises_of
from vaultlayer.evidence.register import register as register_of
from vaultlayer.pages.page import Html, page, table, tag

_CLASSES = {GREEN: "good", STALE: "warn", RED: "bad"}
_PRINTED = (
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:.35rem 1rem}dt{font-weight:600}"
    "dd{margin:0}dd ul{margin:0;padding-left:1.1rem;columns:2}td .muted{overflow-wrap:anywhere}"
    "section{break-inside:avoid}@media(max-width:40rem){dl{display:block}dd ul{columns:1}}"
)


def register(
    html: HtmlOption = None, config: ConfigOption = None, json_: JsonOption = False
) -> None:
    """The register of what is collected (GDPR article 30), from the models and the policies.

    Exits with 1 if a field's category is not declared, or no purpose is for it.
    """
    with open_vault(config) as vault:
        answer = {**register_of(vault), "shadow": shadow_note(config)}
    if html is not None:
        write_page(html, _register_page(answer))
    if json_:
        print_json(answer)
    elif html is None:
        _show_register(answer)
        tell_shadow(answer["shadow"])
    if answer["unexplained"]:
        raise typer.Exit(FINDINGS)


def promises(
    results: Annotated[
        Path | None,
        typer.Option(help="The last test run's results (pytest --junit-xml=FILE)."),
    ] = None,
    html: HtmlOption = None,
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Each sentence of notice.md: green, stale or red, with its control, test and evidence.

    Exits with 1 if one is red: no control, a finding, a failed test.
    """
    with open_vault(config) as vault:
        answer = {**promises_of(vault, results), "shadow": shadow_note(config)}
    if html is not None:
        write_page(html, _promises_page(answer))
    if json_:
        print_json(answer)
    elif html is None:
        _show_promises(answer)
        tell_shadow(answer["shadow"])
    if any(failing(answer)):
        raise typer.Exit(FINDINGS)


def _show_register(answer: Mapping[str, Any]) -> None:
    rows = [
        (one["name"], one["basis"], one["retention"], ", ".join(one["fields"]) or "none")
        for one in answer["purposes"]
    ]
    show_table(("Purpose", "Basis", "Kept", "Fields"), rows)
    if answer["recipients"]:
        sent = [(p["name"], p["agreement"], p["expires"]) for p in answer["recipients"]]
        show_table(("Recipient", "Agreement", "Until"), sent)
    for label in answer["unexplained"]:
        typer.echo(f"No purpose says what {label} is used for.")
    typer.echo(f"{len(answer['fields'])} fields, {len(answer['purposes'])} purposes.")


def _register_page(answer: Mapping[str, Any]) -> str:
    parts: list[Html] = []
    for one in answer["purposes"]:
        kinds = [c["words"] + " (sensitive)" * c["sensitive"] for c in one["categories"]]
        facts = (
            ("Why the law permits it", one["basis"].replace("_", " ")),
            ("Asked for first", "yes" if one["consent"] else "no"),
            ("Kept for", one["retention"]),
            ("Regions", _regions(one["regions"])),
            ("Kinds of data", tag("ul", *[tag("li", kind) for kind in kinds])),
            ("Fields", ", ".join(one["fields"]) or "none"),
            ("Who works with it", ", ".join(one["roles"]) or "nobody"),
            ("Given to", ", ".join(one["recipients"]) or "nobody"),
        )
        pairs = [each for name, told in facts for each in (tag("dt", name), tag("dd", told))]
        parts.append(tag("section", tag("h2", one["words"]), tag("dl", *pairs)))
    if answer["recipients"]:
        heads = ("Recipient", "Agreement", "From", "Until", "Where", "Safeguards", "Contact")
        rows = [
            (p["words"], p["agreement"], p["signed"], p["expires"], _regions(p["regions"]),
             p["safeguards"], p["contact"])
            for p in answer["recipients"]
        ]  # fmt: skip
        parts += [tag("h2", "Recipients under agreement"), table(heads, rows)]
    listed = answer["fields"]
    fields = [(f["field"], f["words"], ", ".join(f["purposes"]) or "none") for f in listed]
    parts += [tag("h2", "Fields"), table(("Field", "What it is", "Purposes"), fields)]
    if answer["unexplained"]:
        told = f"No purpose says what is done with {', '.join(answer['unexplained'])}."
        parts.insert(0, tag("p", told, class_="bad"))
    return page(
        "What personal data is collected, and what for", *parts,
        subtitle=f"Record of processing activities (GDPR article 30) of {when(answer['made'])} UTC",
        note=answer["shadow"], css=_PRINTED,
    )  # fmt: skip


def _regions(regions: list[str]) -> str:
    return "everywhere" if regions == ["*"] else ", ".join(regions)


def _show_promises(answer: Mapping[str, Any]) -> None:
    made = answer["promises"]
    rows = [(p["state"], p["sentence"], p["control"] or "none", p["why"]) for p in made]
    show_table(("State", "Sentence", "Control", "Why"), rows)
    typer.echo(_counts(answer))


def _counts(answer: Mapping[str, Any]) -> str:
    return ", ".join(f"{number} {state}" for state, number in answer["counts"].items()) + "."


def _promises_page(answer: Mapping[str, Any]) -> str:
    rows = [
        (
            tag("span", p["state"], class_=_CLASSES[p["state"]]),
            p["sentence"],
            p["control"] or "none",
            p["why"],
            tag("span", p["test"] or "none", class_="muted"),
            p["tested"] or "not shown",
        )
        for p in answer["promises"]
    ]
    heads = ("State", "What the notice says", "Control", "Evidence", "Test", "Tested")
    return page(
        "Are the notice's promises kept?",
        tag("p", _counts(answer), class_="note"),
        table(heads, rows),
        subtitle=f"Made {when(answer['made'])} UTC",
        note=answer["shadow"],
        css=_PRINTED,
    )
