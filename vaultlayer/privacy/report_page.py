"""A person's report as a page they can read, without a word of ours that they'd have to look up."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from vaultlayer.pages.page import Html, page, table, tag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SHOWN = frozenset({"png", "jpeg", "gif", "webp"})
_MOST_READS = 200
_CSS = "img{max-width:20rem;max-height:16rem}td{overflow-wrap:anywhere}"
_BASES = {
    "consent": "your consent",
    "contract": "a contract with you",
    "legal_obligation": "a legal obligation",
    "vital_interests": "somebody's vital interests",
    "public_task": "a public task",
    "legitimate_interests": "our legitimate interests",
}
_SAID = {
    "ask": "We asked you", "grant": "You agreed", "refuse": "You said no",
    "withdraw": "You took your consent back", "object": "You objected",
    "restrict": "Your data was restricted", "lift": "The restriction ended",
}  # fmt: skip
_NONE = tag("p", "None.", class_="muted")


def page_of(report: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    """The page; it holds the pictures, and nothing outside of it is asked for."""
    return page(
        "What we hold about you",
        *_withheld(report["withheld"]),
        tag("h2", "Your data"),
        *([_of_table(each, pictures) for each in report["data"]] or [_NONE]),
        *_reads(report["reads"]),
        tag("h2", "Who else was given your data"),
        _table(("When", "Who", "What", "For", "Because of", "Reference"), [
            (d["disclosed"][:10], d["recipient"], ", ".join(d["fields"]), d["purpose"],
             _BASES.get(d["basis"], d["basis"]), d["reference"])
            for d in report["disclosures"]
        ]),
        tag("h2", "What you agreed or objected to"),
        _table(("When (UTC)", "Purpose", "What happened", "Text shown", "How"), [
            (_when(c["recorded"]), c["purpose"] or "all", _SAID.get(c["said"], c["said"]),
             c["text_version"], c["channel"])
            for c in report["consents"]
        ]),
        tag("h2", "Privacy notices you acknowledged"),
        _table(("When (UTC)", "Version", "How"), [
            (_when(n["recorded"]), n["version"], n["channel"]) for n in report["notices"]
        ]),
        tag("h2", "Your requests"),
        _table(("Received", "Asked for", "State", "Answer due", "Why refused"), [
            (r["received"][:10], r["kind"], r["state"], r["due"][:10], r["text"])
            for r in report["requests"]
        ]),
        tag("h2", "What data is used for"),
        _table(("Purpose", "In words", "Because of", "Kept for"), [
            (p["purpose"], p["words"], _BASES.get(p["basis"], p["basis"]), p["retention"])
            for p in report["purposes"]
        ]),
        subtitle=f"Made on {report['made'][:10]} for data subject {report['subject']}, "
        f"under version {report['policy_version']} of our rules",
        css=_CSS,
        images=True,
    )  # fmt: skip


def _withheld(items: Sequence[Mapping[str, Any]]) -> list[Html | None]:
    if not items:
        return []
    rows = [(i["item"], i["text"], i["code"]) for i in items]
    return [tag("h2", "What you don't see here, and why"), table(("What", "Why", "Code"), rows)]


def _of_table(part: Mapping[str, Any], pictures: Mapping[str, bytes]) -> Html:
    fields, rows = part["fields"], part["rows"]
    title = tag("h3", part["table"].replace("_", " ").capitalize())
    if len(rows) == 1:
        lines = [
            (name, fields.get(name, {}).get("words", ""), _value(value, pictures))
            for name, value in rows[0].items()
        ]
        return tag("section", title, table(("Field", "What it is", "Value"), lines))
    names = list(rows[0])
    return tag(
        "section", title, table(names, [[_value(r.get(n), pictures) for n in names] for r in rows])
    )


def _value(value: Any, pictures: Mapping[str, bytes]) -> Html | str:
    if value is None:
        return tag("span", "empty", class_="muted")
    if isinstance(value, dict) and value.get("file") in pictures:
        name = str(value["file"])
        kind = name.rpartition(".")[2]
        if kind not in _SHOWN:
            return f"{name}, {value['bytes']:,} bytes"
        source = f"data:image/{kind};base64,{b64encode(pictures[name]).decode()}"
        return tag("img", src=source, alt=name)
    return str(value)


def _reads(reads: Mapping[str, Any]) -> list[Html | None]:
    readers = [
        (r["sub"], r["opened"], r["refused"], r["first"][:16].replace("T", " "),
         r["last"][:16].replace("T", " "))
        for r in reads["readers"]
    ]  # fmt: skip
    events = [
        (e["ts"][:16].replace("T", " "), e.get("actor", {}).get("sub", ""), e.get("purpose", ""),
         e.get("reason", ""), f"{e.get('entity', '')}: {', '.join(e.get('fields', ()))}",
         {"deny": "refused", "mask": "in part"}.get(e.get("decision", ""), "yes"))
        for e in reads["events"][:_MOST_READS]
    ]  # fmt: skip
    more = reads["total"] - len(events)
    return [
        tag("h2", "Who read your data, and why"),
        _table(("Who", "Read", "Refused", "First (UTC)", "Last (UTC)"), readers),
        tag("h3", "Each time") if events else None,
        _table(("When (UTC)", "Who", "For", "Reason", "What", "Opened"), events)
        if events
        else None,
        tag("p", f"{more:,} earlier ones are not shown here.") if more > 0 else None,
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> Html:
    return table(head, rows) if rows else _NONE


def _when(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
