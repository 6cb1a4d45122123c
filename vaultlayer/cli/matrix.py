"""``vaultlayer policy matrix``: roles × fields × purposes, in the terminal and as one page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003  typer reads annotations at run time
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vaultlayer.access.compare_roles import roles_of
from vaultlayer.cli.bundles import (
    ModelsOption,
    PoliciesOption,
    asked_field,
    check_action,
    fields_of,
    folder_of,
    snapshot_in,
)
from vaultlayer.cli.common import ConfigOption, JsonOption, print_json
from vaultlayer.cli.shadow import shadow_note, tell_shadow
from vaultlayer.pages.page import Html, join, page, tag

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from vaultlayer.access.snapshot import Snapshot

_SIGNS = {"allow": "●", "mask": "◐", "deny": "·"}
_WORDS = {"allow": "in full", "mask": "masked", "deny": "not at all"}
_COLUMN = 3  # characters of a role's column in the terminal


@dataclass(frozen=True, slots=True)
class Sheet:
    """One purpose: an effect a field and role, and the fields that the purpose doesn't reach."""

    purpose: str
    words: str
    consent: bool
    rows: Mapping[str, tuple[str, ...]]
    out_of_reach: tuple[str, ...]


def matrix(
    action: Annotated[str, typer.Option(help="The action that is shown.")] = "read",
    purpose: Annotated[list[str] | None, typer.Option(help="These purposes only.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write one self-contained page here.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write no page.")] = False,
    models: ModelsOption = None,
    config: ConfigOption = None,
    policies: PoliciesOption = None,
    json_: JsonOption = False,
) -> None:
    """Draw who gets what: a row a field, a column a role, a sheet a purpose."""
    snapshot = snapshot_in(folder_of(config, policies))
    check_action(action)
    roles = list(roles_of(snapshot.bundle))
    sheets = sheets_of(snapshot, roles, fields_of(snapshot, models), action, purpose or ())
    note = shadow_note(config, policies)
    if html is not None and not dry_run:
        html.write_text(page_of(snapshot, roles, sheets, action, note), "utf-8")
    if json_:
        told = [
            {"purpose": sheet.purpose, "needs_consent": sheet.consent,
             "fields": {name: dict(zip(roles, row, strict=True))
                        for name, row in sheet.rows.items()},
             "out_of_reach": list(sheet.out_of_reach)}
            for sheet in sheets
        ]  # fmt: skip
        print_json({"action": action, "roles": roles, "purposes": told, "shadow": note})
    elif html is not None:
        typer.echo(f"{'Would write' if dry_run else 'Wrote'} {html}")
    else:
        _show(roles, sheets, action)
        tell_shadow(note)


def sheets_of(
    snapshot: Snapshot,
    roles: Collection[str],
    fields: Mapping[str, str],
    action: str,
    purposes: Collection[str],
) -> list[Sheet]:
    """A sheet for each of the purposes, or of all."""
    sheets = []
    for known in snapshot.bundle.purposes.values():
        if purposes and known.name not in purposes:
            continue
        rows, beyond = {}, []
        for name, category in fields.items():
            decisions = [
                snapshot.decide(
                    frozenset({role}), asked_field(name, category), category, action, known.name
                )
                for role in roles
            ]
            if any(decision.reason == "purpose_category" for decision in decisions):
                beyond.append(name)
            else:
                rows[name] = tuple(decision.effect for decision in decisions)
        sheets.append(Sheet(known.name, known.words, known.consent, rows, tuple(beyond)))
    return sheets


def _show(roles: list[str], sheets: list[Sheet], action: str) -> None:
    """Roles stand in numbered columns, as many beside each other as the terminal holds."""
    console = Console()
    console.print(Text(f"{action}: ● in full  ◐ masked  · not at all"))
    for number, role in enumerate(roles, start=1):
        console.print(Text(f"{number:>3} {role}"))
    for sheet in sheets:
        consent = " (with the person's consent)" if sheet.consent else ""
        console.print(Text(f"\n{sheet.purpose}{consent}: {sheet.words}"))
        width = max(map(len, sheet.rows), default=0) + 2
        columns = max(1, (console.width - width) // (_COLUMN + 1))
        for start in range(0, len(roles), columns):
            shown = range(start, min(start + columns, len(roles)))
            table = Table(
                box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0)
            )
            table.add_column("")
            for at in shown:
                table.add_column(str(at + 1), justify="right", width=_COLUMN - 1)
            for name, row in sheet.rows.items():
                table.add_row(Text(name), *(_SIGNS[row[at]] for at in shown))
            if sheet.rows:
                console.print(table)
        if sheet.out_of_reach:
            console.print(Text(f"Not for this purpose: {', '.join(sheet.out_of_reach)}"))


def page_of(
    snapshot: Snapshot, roles: list[str], sheets: list[Sheet], action: str, note: str | None
) -> str:
    """The page: a table a purpose, whose heads stay in sight while it is scrolled."""
    version = snapshot.bundle.version.number
    subtitle = (
        f"{len(roles)} roles, {len(sheets)} purposes. Version {version}, digest "
        f"{snapshot.digest[:16]}. Each role alone; who holds several is denied what any denies."
    )
    key = [tag("span", _SIGNS[effect], class_=effect) for effect in _SIGNS]
    legend = join(
        (join([sign, f" {_WORDS[effect]}"]) for sign, effect in zip(key, _SIGNS, strict=True)),
        "   ",
    )
    links = (tag("a", sheet.purpose, href=f"#{sheet.purpose}") for sheet in sheets)
    return page(
        f"Who may {action} what",
        tag("p", legend, class_="legend"),
        tag("nav", join(links, " · ")),
        [_section(roles, sheet) for sheet in sheets],
        subtitle=subtitle,
        note=note,
        css=_CSS,
    )


def _section(roles: list[str], sheet: Sheet) -> Html:
    head = [tag("th", tag("span", role), scope="col", class_="role") for role in roles]
    rows = [
        tag(
            "tr",
            tag("th", name, scope="row"),
            *(
                tag("td", _SIGNS[effect], class_=effect, title=f"{role}: {name} {_WORDS[effect]}")
                for role, effect in zip(roles, row, strict=True)
            ),
        )
        for name, row in sheet.rows.items()
    ]
    body = tag(
        "table",
        tag("thead", tag("tr", tag("th", "field", scope="col"), *head)),
        tag("tbody", rows),
    )
    beyond = ", ".join(sheet.out_of_reach)
    return tag(
        "section",
        tag("h2", sheet.purpose, id=sheet.purpose),
        tag("p", sheet.words, class_="muted"),
        tag("p", "Only with the person's consent.", class_="warn") if sheet.consent else None,
        tag("div", body, class_="sheet") if rows else None,
        tag("p", f"Not for this purpose: {beyond}.", class_="muted") if beyond else None,
    )


_CSS = """
main{max-width:none}header{max-width:none}
.legend{white-space:pre}
.sheet{overflow:auto;max-height:90vh;width:fit-content;max-width:100%;
border:1px solid var(--line);border-radius:6px}
.sheet table{margin:0;border-collapse:separate;border-spacing:0;font-size:.85rem}
.sheet thead th{position:sticky;top:0;z-index:2;vertical-align:bottom;padding:.4rem .3rem}
.sheet th[scope=row],.sheet thead th:first-child{position:sticky;left:0;background:var(--ground);
z-index:1;white-space:nowrap}
.sheet thead th:first-child{z-index:3;background:var(--raised)}
.sheet th.role span{writing-mode:vertical-rl;transform:rotate(180deg);white-space:nowrap}
.sheet td{text-align:center;padding:.15rem .3rem;min-width:1.7rem}
.sheet tbody tr:hover>*{background:var(--raised)}
.allow{color:var(--good)}.mask{color:var(--warn)}.deny{color:var(--muted)}
td.allow{background:var(--good-soft)}td.mask{background:var(--warn-soft)}
@media print{.sheet{overflow:visible;max-height:none;border:0}section{break-before:page}}
"""
