"""Answers of ``vaultlayer audit`` as pages, with charts."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from vaultlayer.cli.question_show import RECORD_HEAD, WHAT, figure, record_rows, when
from vaultlayer.pages.charts import bars, columns
from vaultlayer.pages.page import Html, page, table, tag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_MOST_BARS, _MOST_COLUMNS = 20, 80
_VALUES, _REFUSED = ("values", "series-1"), ("refused", "bad")


def who_read(answer: Mapping[str, Any]) -> str:
    readers = answer["readers"]
    heads = ("Who", "Issuer", "Read", "Refused", "First (UTC)", "Last (UTC)")
    rows = [
        (r["sub"], r["iss"], r["opened"], r["refused"], when(r["first"]), when(r["last"]))
        for r in readers
    ]
    return page(
        "Who read this person's data",
        _over_time("Records by time", answer["events"]),
        bars("Records by reader", [(r["sub"], r["opened"]) for r in readers[:_MOST_BARS]]),
        tag("h2", "Readers"),
        table(heads, rows),
        *_records(answer["events"], answer["total"]),
        subtitle=f"Data subject {answer['subject']}",
        note=answer["shadow"],
    )


def what_did(answer: Mapping[str, Any]) -> str:
    return page(
        "What this principal did",
        _by_hour("Values by time", answer["hours"]),
        *_sums(answer["sums"]),
        *_records(answer["events"]),
        subtitle=answer["principal"],
        note=answer["shadow"],
    )


def scope(answer: Mapping[str, Any]) -> str:
    who = f"principal {answer['principal']}" if answer["principal"] else "the holder of a token"
    people = answer["people"]
    told = (
        f"{len(people):,} people, {answer['values']:,} values in {answer['events']:,} records"
        + (f", from {when(answer['first'])} to {when(answer['last'])} UTC" if people else "")
    )
    rows = [
        (one["subject"] or "not known", one["log_ref"], ", ".join(one["fields"])) for one in people
    ]
    return page(
        "Whose which fields were opened",
        tag("p", told + ".", class_="note"),
        bars("People by field", [(one["field"], one["people"]) for one in answer["fields"]]),
        tag("h2", "People"),
        table(("Person (subject_id)", "In the log (log_ref)", "Fields opened"), rows),
        subtitle=f"By {who}",
        note=answer["shadow"],
    )


def denials(answer: Mapping[str, Any]) -> str:
    codes: dict[str, int] = defaultdict(int)
    for one in answer["sums"]:
        codes[one["reason_code"] or "none"] += one["values"]
    by_code = sorted(codes.items(), key=lambda each: -each[1])
    principals = [(one["sub"], one["values"]) for one in answer["principals"][:_MOST_BARS]]
    return page(
        "What was refused",
        _by_hour("Values refused by time", answer["hours"]),
        bars("Values refused by reason", by_code, "bad"),
        bars("Values refused by principal", principals, "bad"),
        *_records(answer["events"]),
        subtitle="Reads, writes and searches that the rules said no to",
        note=answer["shadow"],
    )


def unusual(answer: Mapping[str, Any]) -> str:
    rows = [
        (
            when(one["hour"]),
            one["sub"],
            one["iss"],
            WHAT[one["what"]],
            figure(one),
            f"{one['usual']:g}",
        )
        for one in answer["findings"]
    ]
    heads = ("Hour (UTC)", "Who", "Issuer", "What", "Found", "Usual for them")
    return page(
        "What is unusual",
        _by_hour("People opened, and values refused, by time", answer["hours"], "people"),
        tag("h2", f"{len(rows):,} findings"),
        table(heads, rows) if rows else tag("p", "Nothing stands out.", class_="muted"),
        subtitle="Bulk reads, unwonted hours, spikes of refusals, by each one's own habit",
        note=answer["shadow"],
    )


def tail(records: Sequence[Mapping[str, Any]]) -> str:
    return page("The latest records", _record_table(records), subtitle="Oldest first")


def _records(events: Sequence[Mapping[str, Any]], total: int | None = None) -> list[Html]:
    told = f"The newest {len(events):,}" + (f" of {total:,}" if total else "") + " records"
    return [tag("h2", told), _record_table(events)]


def _record_table(events: Sequence[Mapping[str, Any]]) -> Html:
    """What the terminal shows, and the words that the access gave as its reason."""
    reasons = [one.get("reason", "") for one in events]
    rows = [(*row, why) for row, why in zip(record_rows(events), reasons, strict=True)]
    return table((*RECORD_HEAD, "Reason"), rows)


def _sums(sums: Iterable[Mapping[str, Any]]) -> list[Html]:
    rows = [
        (s["event"], s["decision"], s["reason_code"], s["events"], s["people"], s["values"])
        for s in sums
    ]
    return [
        tag("h2", "In sum"),
        table(("Did", "Decision", "Code", "Records", "People", "Values"), rows),
    ]


def _over_time(title: str, events: Iterable[Mapping[str, Any]]) -> Html:
    """Records by the hour they were written in, opened and refused."""
    hours: dict[str, dict[str, Any]] = {}
    for one in events:
        hour = hours.setdefault(one["ts"][:13], {"values": 0, "refused": 0})
        hour["refused" if one.get("decision") == "deny" else "values"] += 1
    found = [{"hour": f"{hour}:00:00Z", **counts} for hour, counts in sorted(hours.items())]
    return _by_hour(title, found, "opened")


def _by_hour(title: str, hours: Sequence[Mapping[str, Any]], name: str = "values") -> Html:
    """Columns an hour, a day or a week wide, so that there are at most about 80."""
    if not hours:
        return tag("p", "Nothing in this time.", class_="muted")
    moments = [(datetime.fromisoformat(h["hour"]), h["values"], h["refused"]) for h in hours]
    first, last = moments[0][0], moments[-1][0]
    step, label = _step(last - first)
    begin = first.replace(hour=0) if step >= timedelta(days=1) else first
    sums = [[0, 0] for _ in range((last - begin) // step + 1)]
    for moment, values, refused in moments:
        sums[(moment - begin) // step][0] += values
        sums[(moment - begin) // step][1] += refused
    labels = [label(begin + step * number) for number in range(len(sums))]
    return columns(title, labels, ((name, _VALUES[1]), _REFUSED), sums)


def _step(span: timedelta) -> tuple[timedelta, Callable[[datetime], str]]:
    for hours in (1, 3, 6, 24, 7 * 24, 28 * 24):
        step = timedelta(hours=hours)
        if span / step < _MOST_COLUMNS:
            break
    form = "%m-%d %H:00" if hours < 24 else "%Y-%m-%d"
    return step, lambda moment: moment.strftime(form)
