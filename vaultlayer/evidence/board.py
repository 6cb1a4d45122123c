"""What the privacy team tells the board: how the promises were kept since a day.

The figures are counted from the log's own records and from the ledgers, at the time of asking.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from vaultlayer.audit.heads import heads_at
from vaultlayer.audit.query.index import Index
from vaultlayer.audit.query.questions import READS, records_at, text
from vaultlayer.audit.verify import keys_and_heads, verify
from vaultlayer.errors import AuditUnavailable
from vaultlayer.evidence.promises import promises
from vaultlayer.privacy.request import COMPLETED, OPEN, REFUSED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from vaultlayer.vault import Vault

_CHUNK = 10_000  # records


@dataclass(slots=True)
class _Counts:
    """Values, by who read them in which role, for what, and what came of it."""

    by_role: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    by_purpose: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    by_day: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    refusals: Counter[str] = field(default_factory=Counter)
    consents: Counter[str] = field(default_factory=Counter)
    disclosures: Counter[str] = field(default_factory=Counter)
    keys: Counter[str] = field(default_factory=Counter)
    erasures: Counter[str] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)
    horizon: str = ""
    drill: str = ""
    drill_left: int = 0

    def add(self, record: Mapping[str, Any]) -> None:
        name = record["event"]
        self.told[name] += 1
        if name in READS or record.get("decision") == "deny":
            self._read(record)
        elif name == "consent":
            self.consents[record["change"]] += 1
        elif name == "disclosure" and record.get("change") == "given":
            self.disclosures[record["kind"]] += 1
        elif name == "keys_changed":
            self._keys(record)
        elif name in ("subject_erased", "erasure_receipt", "erasure_contradicted"):
            self.erasures[name] += 1
            self.horizon = max(self.horizon, record.get("horizon", ""))

    def _read(self, record: Mapping[str, Any]) -> None:
        what = {"deny": "refused", "mask": "masked"}.get(record.get("decision", ""), "opened")
        count = record.get("count", 1)
        for role in record.get("actor", {}).get("roles") or ["none"]:
            self.by_role[role][what] += count
        self.by_purpose[record.get("purpose", "none")][what] += count
        self.by_day[record["ts"][:10]][what] += count
        if what == "refused":
            self.refusals[record.get("reason_code", "none")] += count

    def _keys(self, record: Mapping[str, Any]) -> None:
        self.keys[f"{record['what']}: {record['step'].replace('_', ' ')}"] += 1
        if record["step"] == "drilled":
            self.drill, self.drill_left = record["ts"], record.get("left", 0)


def board(
    vault: Vault, since: int, results: Path | None = None, shadow: str | None = None
) -> dict[str, Any]:
    """The report from ``since`` (microseconds since 1970, UTC) up to now.

    :param results: a JUnit XML file of the last test run, for the promises' coverage.
    """
    directory = vault.settings.audit_directory
    counts = _Counts()
    with Index(directory, progress=vault.audit.progress) as index:
        for record in _records(index, since):
            counts.add(record)
    snapshot = vault.snapshot
    return {
        "report": "board",
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "since": text(since),
        "policy_version": snapshot.bundle.version.number,
        "policy": snapshot.digest,
        "reads": {
            "by_role": _plain(counts.by_role),
            "by_purpose": _plain(counts.by_purpose),
            "by_day": _plain(counts.by_day),
        },
        "refusals": dict(counts.refusals.most_common()),
        "emergencies": _emergencies(vault, since),
        "consents": dict(counts.consents),
        "disclosures": dict(counts.disclosures),
        "requests": _requests(vault, since),
        "notices": {str(version): people for version, people in vault.notices.count().items()},
        "erasures": {
            "erased": counts.erasures["subject_erased"],
            "receipts": counts.erasures["erasure_receipt"],
            "contradicted": counts.erasures["erasure_contradicted"],
            "horizon": counts.horizon,
        },
        "keys": {
            "changes": dict(counts.keys),
            "last_drill": counts.drill,
            "drill_left": counts.drill_left,
        },
        "promises": promises(vault, results)["counts"],
        "alarms": counts.told["alarm"],
        "audit": _audit(vault),
        "shadow": shadow,
    }


def _records(index: Index, since: int) -> Iterator[dict[str, Any]]:
    places = index.database.execute(
        "SELECT shard.name, place, length FROM event JOIN shard ON shard.id = event.shard "
        "WHERE ts >= ? ORDER BY shard.name, place",
        (since,),
    )
    while chunk := places.fetchmany(_CHUNK):
        yield from records_at(index, chunk)


def _emergencies(vault: Vault, since: int) -> dict[str, Any]:
    rows = [
        row
        for row in vault.elevations.open(reviewed=True)
        if row["begins"] * 10**6 >= since or row["closed"] is None
    ]
    waits = [row for row in rows if row["closed"] is None]
    return {
        "opened": len(rows),
        "reviewed": len(rows) - len(waits),
        "waiting": len(waits),
        "oldest_waiting": min((text(row["begins"] * 10**6) for row in waits), default=""),
    }


def _requests(vault: Vault, since: int) -> dict[str, Any]:
    begin = datetime.fromtimestamp(since / 10**6, UTC)
    found = [r for r in vault.requests.all() if r.received >= begin or r.state in OPEN]
    ended = [each for each in found if each.state in (COMPLETED, REFUSED)]
    met = sum(each.changed <= each.due for each in ended)
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for each in found:
        kinds[each.kind][each.state] += 1
    return {
        "by_kind": _plain(kinds),
        "ended": len(ended),
        "deadline_met": met,
        "deadline_missed": len(ended) - met,
        "open": len(found) - len(ended),
        "overdue": sum(each.is_overdue() for each in found),
        "refused": dict(Counter(each.code for each in ended if each.code)),
    }


def _audit(vault: Vault) -> dict[str, Any]:
    began = time.monotonic()
    directory = vault.settings.audit_directory
    try:
        known, heads = keys_and_heads(heads_at(vault.settings.database), directory)
    except AuditUnavailable:
        known, heads = [], []
    checked = verify(directory, known, heads)
    findings = [*checked.findings, *vault.audit.verify_ledgers()]
    return {
        "records": checked.records,
        "shards": checked.shards,
        "unsigned": checked.unsigned,
        "findings": [f"{each.shard}, line {each.line}: {each.what}" for each in findings],
        "seconds": int(time.monotonic() - began),
    }


def _plain(counts: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    return {name: dict(counts[name]) for name in sorted(counts)}
