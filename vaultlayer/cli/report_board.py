"""``vaultlayer report board``: what the privacy team tells the board, as page, table or JSON."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated, Any

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
from vaultlayer.cli.questions import moment, open_vault
from vaultlayer.cli.shadow import shadow_note, tell_shadow
from vaultlayer.evidence import board as evidence
from vaultlayer.evidence.controls import sign
from vaultlayer.pages.charts import bars, columns
from vaultlayer.pages.page import Html, page, table, tag

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_SERIES = (("opened", "series-1"), ("in part", "series-2"), ("refused", "bad"))
_COUNTED = ("opened", "masked", "refused")
_MOST_COLUMNS = 60
_CSS = (
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(10.5rem,1fr));gap:.8rem;"
    "margin:1.2rem 0}.tile{background:var(--raised);border:1px solid var(--line);"
    "border-radius:.4rem;padding:.6rem .9rem;break-inside:avoid}.tile b{display:block;"
    "font-size:1.5rem;font-variant-numeric:tabular-nums}.tile span{color:var(--muted);"
    "font-size:.85em}"
)


def board(
    since: Annotated[
        str, typer.Option(help="From when on: 2026-01-31, 2026-01-31T09:00Z, or 24h, 30d ago.")
    ] = "90d",
    results: Annotated[
        Path | None, typer.Option(help="The last test run's results (pytest --junit-xml=FILE).")
    ] = None,
    html: HtmlOption = None,
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Tell how the promises were kept: reads, refusals, emergencies, disclosures, requests,
    erasures, keys and the log's own health.

    Its digest is written into the audit log. Exits with 1 where the log or a ledger has findings.
    """
    with open_vault(config) as vault:
        made = evidence.board(vault, moment(since), results, shadow_note(config))
        answer = {**made, "signed": sign(vault, made)}
    if html is not None:
        write_page(html, board_page(answer))
    if json_:
        print_json(answer)
    elif html is None:
        for title, heads, rows in sections(answer):
            typer.echo(title)
            show_table(heads, rows)
        tell_shadow(answer["shadow"])
    if answer["audit"]["findings"]:
        raise typer.Exit(FINDINGS)


def sections(
    answer: Mapping[str, Any],
) -> Iterator[tuple[str, Sequence[str], Sequence[Sequence[Any]]]]:
    """The report's tables: a title, heads and rows."""
    requests, erasures, keys = answer["requests"], answer["erasures"], answer["keys"]
    emergencies, audit = answer["emergencies"], answer["audit"]
    for name, what in (("by_role", "Role"), ("by_purpose", "Purpose")):
        rows = [
            (each, *(f"{counts.get(kind, 0):,}" for kind in _COUNTED))
            for each, counts in answer["reads"][name].items()
        ]
        yield f"Reads by {what.lower()}", (what, "Opened", "In part", "Refused"), rows
    refused = [(code, f"{count:,}") for code, count in answer["refusals"].items()]
    yield "Refusals", ("Reason", "Values"), refused
    yield "Emergencies (break-glass)", ("Opened", "Reviewed", "Waiting", "Oldest waiting"), [
        (emergencies["opened"], emergencies["reviewed"], emergencies["waiting"],
         when(emergencies["oldest_waiting"]) or "none")
    ]  # fmt: skip
    yield "Disclosures", ("Kind", "Times"), _pairs(answer["disclosures"])
    yield "What people said", ("Said", "Times"), _pairs(answer["consents"])
    yield "Requests", ("Kind", "Open", "Completed", "Refused"), [
        (kind, states.get("received", 0) + states.get("identified", 0),
         states.get("completed", 0), states.get("refused", 0))
        for kind, states in requests["by_kind"].items()
    ]  # fmt: skip
    yield "Deadlines", ("Met", "Missed", "Overdue now"), [
        (requests["deadline_met"], requests["deadline_missed"], requests["overdue"])
    ]
    yield "Erasures", ("Erased", "Signed receipts", "Contradicted", "Gone from backups by"), [
        (erasures["erased"], erasures["receipts"], erasures["contradicted"],
         erasures["horizon"] or "none")
    ]  # fmt: skip
    yield "Keys", ("Change", "Times"), _pairs(keys["changes"])
    drill = keys["last_drill"][:16].replace("T", " ") or "none"
    yield "Restore drill", ("Last", "Not brought back"), [(drill, keys["drill_left"])]
    promises = answer["promises"]
    yield "Promises of the notice", ("Green", "Stale", "Red"), [
        tuple(promises[state] for state in ("green", "stale", "red"))
    ]
    yield "The audit log", ("Records", "Shards", "Findings", "Alarms"), [
        (f"{audit['records']:,}", audit["shards"], len(audit["findings"]), answer["alarms"])
    ]
    if audit["findings"]:
        yield "Findings", ("What is wrong",), [(each,) for each in audit["findings"]]


def board_page(answer: Mapping[str, Any]) -> str:
    """One self-contained page that prints well."""
    parts: list[Html] = [_tiles(answer), _by_day(answer["reads"]["by_day"])]
    for name, what in (("by_role", "role"), ("by_purpose", "purpose")):
        rows = [(each, sum(counts.values())) for each, counts in answer["reads"][name].items()]
        if rows:
            parts.append(bars(f"Values asked for, by {what}", sorted(rows, key=_most)))
    if answer["refusals"]:
        parts.append(bars("Values refused, by reason", [*answer["refusals"].items()], "bad"))
    for title, heads, found in sections(answer):
        parts.append(tag("h2", title))
        parts.append(table(heads, found) if found else tag("p", "None.", class_="muted"))
    signed = answer["signed"]
    place = f"SHA-256 {signed['sha256']}, record {signed['seq']} of {signed['shard']}."
    parts.append(tag("p", place, class_="muted"))
    return page(
        "How the privacy promises were kept",
        *parts,
        subtitle=f"From {answer['since'][:10]} to {answer['made'][:10]}, under version "
        f"{answer['policy_version']} of the rules",
        note=answer["shadow"],
        css=_CSS,
    )


def _tiles(answer: Mapping[str, Any]) -> Html:
    requests, audit = answer["requests"], answer["audit"]
    totals = dict.fromkeys(_COUNTED, 0)
    for counts in answer["reads"]["by_purpose"].values():
        for kind in _COUNTED:
            totals[kind] += counts.get(kind, 0)
    told: tuple[tuple[str, int, str], ...] = (
        ("values opened", totals["opened"], ""),
        ("values refused", totals["refused"], ""),
        ("emergencies waiting for review", answer["emergencies"]["waiting"], "warn"),
        ("requests overdue", requests["overdue"], "bad"),
        ("deadlines missed", requests["deadline_missed"], "bad"),
        ("people erased", answer["erasures"]["erased"], ""),
        ("disclosures", sum(answer["disclosures"].values()), ""),
        ("findings in the log", len(audit["findings"]), "bad"),
    )
    return tag(
        "div",
        [
            tag("div", tag("b", f"{n:,}", class_=(colour or None) if n else None),
                tag("span", words), class_="tile")
            for words, n, colour in told
        ],
        class_="tiles",
    )  # fmt: skip


def _by_day(days: Mapping[str, Mapping[str, int]]) -> Html:
    """Columns of one day, or of as many as it takes for about 60 of them."""
    if not days:
        return tag("p", "Nothing was read in this time.", class_="muted")
    first, last = date.fromisoformat(min(days)), date.fromisoformat(max(days))
    width = (last - first).days // _MOST_COLUMNS + 1
    sums = [[0, 0, 0] for _ in range((last - first).days // width + 1)]
    for day, counts in days.items():
        place = (date.fromisoformat(day) - first).days // width
        for number, kind in enumerate(_COUNTED):
            sums[place][number] += counts.get(kind, 0)
    labels = [(first + timedelta(width * n)).isoformat() for n in range(len(sums))]
    return columns("Values asked for, by day (UTC)", labels, _SERIES, sums)


def _pairs(counts: Mapping[str, int]) -> Sequence[Sequence[Any]]:
    return [(name, f"{count:,}") for name, count in counts.items()]


def _most(row: tuple[str, int]) -> int:
    return -row[1]
