"""``vaultlayer policy replay``: yesterday's log against tomorrow's bundle."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003  typer reads annotations at run time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vaultlayer.access.names import ACTIONS
from vaultlayer.cli.bundles import ModelsOption, folder_of, snapshot_in
from vaultlayer.cli.common import FINDINGS, ConfigOption, JsonOption, print_json
from vaultlayer.cli.models import declared_in
from vaultlayer.cli.shadow import shadow_note, tell_shadow
from vaultlayer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vaultlayer.access.bundle import Bundle
    from vaultlayer.access.snapshot import Snapshot

# What the rules alone decide; other refusals (consent, sign-in, tenant …) another bundle leaves.
_OF_THE_RULES = frozenset({"role", "rule_deny", "no_roles", "purpose_unknown", "purpose_category",
                           "category_unknown", "rule", ""})  # fmt: skip
_RANK = {"deny": 0, "mask": 1, "allow": 2}


@dataclass(frozen=True, slots=True, order=True)
class Request:
    """What was asked, as the log tells it."""

    roles: tuple[str, ...]
    tenant: str
    field: str
    action: str
    purpose: str
    decision: str
    reason: str


def replay(
    candidate: Annotated[Path, typer.Argument(help="The bundle to try: a folder.")],
    since: Annotated[str | None, typer.Option(help="From this day (UTC) on: 2026-01-31.")] = None,
    until: Annotated[str | None, typer.Option(help="Up to this day, included.")] = None,
    models: ModelsOption = None,
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Decide the log's requests anew, and list what would have been refused or newly opened.

    Exits with 1 if anything would have been otherwise. Nothing is opened: the log holds names.
    """
    settings = Settings.load(config)
    snapshot = snapshot_in(folder_of(config, candidate))
    declared = declared_in(models) if models else {}
    asked = Counter(_requests(settings.audit_directory / "log", since, until))
    found, unsure = [], set()
    for request, count in sorted(asked.items()):
        category = declared.get(request.field) or _guessed(snapshot.bundle, request.field)
        if category is None:
            unsure.add(request.field)
            continue
        told = _otherwise(snapshot, request, category)
        if told is not None:
            found.append({**told, "count": count})
    note = shadow_note(config)
    answer = {
        "events": asked.total(), "digest": snapshot.digest, "otherwise": found,
        "category_unknown": sorted(unsure), "shadow": note,
    }  # fmt: skip
    if json_:
        print_json(answer)
    else:
        _show(answer)
        tell_shadow(note)
    if found:
        raise typer.Exit(FINDINGS)


def _requests(logs: Path, since: str | None, until: str | None) -> Iterator[Request]:
    for path in sorted(logs.glob("*.jsonl")):
        with path.open("rb") as lines:
            for line in lines:
                record = _record(line)
                day = str(record.get("ts", ""))[:10]
                if record.get("event") not in ACTIONS or "decision" not in record:
                    continue
                if (since and day < since) or (until and day > until):
                    continue
                actor = record.get("actor") or {}
                for field in record.get("fields") or []:
                    yield Request(
                        tuple(actor.get("roles") or ()), str(actor.get("tenant", "")),
                        f"{record.get('entity')}.{field}", record["event"],
                        str(record.get("purpose")), record["decision"],
                        str(record.get("reason_code", "")),
                    )  # fmt: skip


def _record(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:  # being written, or damaged: see audit verify
        return {}
    return record if isinstance(record, dict) else {}


def _otherwise(snapshot: Snapshot, request: Request, category: str) -> Mapping[str, Any] | None:
    """The request and its new answer, if that is another one."""
    would = snapshot.decide(
        frozenset(request.roles), request.field, category, request.action, request.purpose,
        request.tenant,
    )  # fmt: skip
    effect = "deny" if would.effect == "mask" and request.action != "read" else would.effect
    if effect == request.decision or request.reason not in _OF_THE_RULES:
        return None
    wider = _RANK[effect] > _RANK[request.decision]
    if wider and would.needs_consent:
        return None  # it would still hang on the person
    kind = "newly opened" if wider else ("refused" if effect == "deny" else "masked")
    return {
        "would": kind, "roles": list(request.roles), "action": request.action,
        "field": request.field, "purpose": request.purpose, "was": request.decision,
        "now": effect, "reason": would.reason,
    }  # fmt: skip


def _guessed(bundle: Bundle, field: str) -> str | None:
    """The one category that ends like the field; None where that is not clear."""
    last = field.rpartition(".")[2]
    alike = [name for name in bundle.categories if name.rpartition(".")[2] == last]
    return alike[0] if len(alike) == 1 else None


def _show(answer: Mapping[str, Any]) -> None:
    console = Console()
    if answer["otherwise"]:
        table = Table(
            "Would be", "Roles", "Action", "Field", "Purpose", "Events", box=box.SIMPLE_HEAD
        )
        for row in answer["otherwise"]:
            roles = ", ".join(row["roles"])
            cells = (row["would"], roles, row["action"], row["field"], row["purpose"])
            table.add_row(*map(Text, (*cells, str(row["count"]))))
        console.print(table)
    changed = sum(row["count"] for row in answer["otherwise"])
    console.print(
        f"{answer['events']} field uses in the log; {changed} would be decided otherwise."
    )
    if answer["category_unknown"]:
        unsure = ", ".join(answer["category_unknown"])
        console.print(Text(f"Left out, their category is not known here: {unsure} (add --models)"))
