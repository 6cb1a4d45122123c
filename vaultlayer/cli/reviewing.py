"""``vaultlayer policy test | who-can | diff``: what the rules say, and what a change means."""

from __future__ import annotations

import dataclasses
from pathlib import Path  # noqa: TC003  typer reads annotations at run time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vaultlayer.access.check import failed_tests
from vaultlayer.access.compare import Change, compare, reduces_rights
from vaultlayer.access.compare_roles import roles_of
from vaultlayer.access.snapshot import ANY_FIELD
from vaultlayer.cli.bundles import (
    PoliciesOption,
    category_of,
    check_action,
    folder_of,
    snapshot_in,
)
from vaultlayer.cli.common import FINDINGS, ConfigOption, JsonOption, print_json
from vaultlayer.cli.shadow import shadow_note, tell_shadow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaultlayer.access.snapshot import Snapshot


def test(
    config: ConfigOption = None, policies: PoliciesOption = None, json_: JsonOption = False
) -> None:
    """Ask every question of tests.toml. Exits with 1 if an answer is not the expected one."""
    snapshot = snapshot_in(folder_of(config, policies))
    failed, asked = list(failed_tests(snapshot)), len(snapshot.bundle.tests)
    note = shadow_note(config, policies)
    if json_:
        told = [dataclasses.asdict(each) for each in failed]
        print_json({"ok": not failed, "asked": asked, "failed": told, "shadow": note})
    else:
        for each in failed:
            typer.echo(f"{each.where}: {each.message}. {each.hint[0].upper()}{each.hint[1:]}.")
        typer.echo(f"{asked - len(failed)} of {asked} answers are as expected.")
        tell_shadow(note)
    if failed:
        raise typer.Exit(FINDINGS)


def who_can(
    action: str,
    field: Annotated[str, typer.Argument(help="A category, or a field as table.attribute.")],
    purpose: Annotated[str | None, typer.Option(help="For this purpose only.")] = None,
    category: Annotated[
        str | None, typer.Option(help="The category that the field is declared with.")
    ] = None,
    config: ConfigOption = None,
    policies: PoliciesOption = None,
    json_: JsonOption = False,
) -> None:
    """List every role that may do ACTION with FIELD, for which purpose, and by which line."""
    check_action(action)
    snapshot = snapshot_in(folder_of(config, policies))
    bundle = snapshot.bundle
    chosen, how = category_of(bundle, field, category)
    asked = ANY_FIELD if how == "given as the field" else field
    found = list(_holders(snapshot, asked, chosen, action, [purpose] if purpose else None))
    emergencies = [
        {"role": each.role, "takes": each.takes, "minutes": each.minutes}
        for each in bundle.emergencies
        if any(row["role"] == each.takes for row in found)
    ]
    note = shadow_note(config, policies)
    if json_:
        answer = {"action": action, "field": field, "category": chosen, "category_is": how}
        print_json({**answer, "who": found, "in_an_emergency": emergencies, "shadow": note})
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("Role", "Purpose", "Effect", "Where", "Line"):
        table.add_column(name, overflow="fold")
    for row in found:
        where = " ".join(filter(None, (row["tenant"], row["region"]))) or "everywhere"
        consent = ", with consent" if row["needs_consent"] else ""
        line = "-" if row["line"] is None else str(row["line"])
        table.add_row(
            *map(Text, (row["role"], row["purpose"], row["effect"] + consent, where, line))
        )
    Console().print(table) if found else typer.echo(f"Nobody may {action} {chosen}.")
    for each in emergencies:
        told = "In an emergency {role} may act as {takes} for {minutes} minutes."
        typer.echo(told.format(**each))
    tell_shadow(note)


def _holders(
    snapshot: Snapshot, field: str, category: str, action: str, purposes: list[str] | None
) -> Iterator[dict[str, Any]]:
    """Every role that gets something; a place only where its answer is another than elsewhere."""
    bundle = snapshot.bundle
    places = sorted({("", ""), *((rule.tenant, rule.region) for rule in bundle.rules)})
    for role in roles_of(bundle):
        for purpose in purposes or bundle.purposes:
            asked = (frozenset({role}), field, category, action, purpose)
            elsewhere = snapshot.decide(*asked)
            for place in places:
                decision, rule = (
                    snapshot.decide(*asked, *place),
                    snapshot.deciding_rule(*asked, *place),
                )
                is_general = place == ("", "")
                if decision == elsewhere and not is_general:
                    continue
                if is_general and decision.effect == "deny":
                    continue
                yield {
                    "role": role,
                    "purpose": purpose,
                    "effect": decision.effect,
                    "tenant": place[0],
                    "region": place[1],
                    "needs_consent": decision.needs_consent,
                    "line": rule.line if rule else None,
                }


def diff(
    before: Annotated[Path, typer.Argument(help="The bundle as it was: a folder.")],
    after: Annotated[
        Path | None, typer.Argument(help="As it will be; else the settings' own.")
    ] = None,
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Say in sentences what changes from one bundle to another, and whether people's rights shrink.

    Exits with 1 if they do.
    """
    old = snapshot_in(folder_of(config, before))
    new = snapshot_in(folder_of(config, after))
    changes = compare(old, new)
    reduces = reduces_rights(changes)
    note = shadow_note(config, after)
    if json_:
        told = [dataclasses.asdict(change) for change in changes]
        digests = {"before": old.digest, "after": new.digest}
        print_json({"reduces_rights": reduces, **digests, "changes": told, "shadow": note})
    else:
        show_changes(changes)
        tell_shadow(note)
    if reduces:
        raise typer.Exit(FINDINGS)


def show_changes(changes: list[Change]) -> None:
    """The sentences, those that reduce people's rights first, and the verdict."""
    console = Console()
    for reduces, title in ((True, "This reduces people's rights"), (False, "This does not")):
        told = [change for change in changes if change.reduces is reduces]
        if told:
            console.print(Text(f"{title}:"))
        for change in told:
            console.print(Text(f"  - {change.sentence}"))
    if not changes:
        console.print("Nothing changes: the two decide alike and say the same.")
    elif reduces_rights(changes):
        console.print(
            "People's rights are reduced: the version takes effect after its notice has run "
            "(vaultlayer policy amend)."
        )
    else:
        console.print("People's rights are not reduced: it can take effect at once.")
