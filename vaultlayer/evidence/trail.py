"""Artefacts about the audit trail: whether it is whole, what it tells, what is odd in it."""

from __future__ import annotations

import json
import shutil
import time
from hashlib import sha256
from typing import TYPE_CHECKING

from vaultlayer.audit.event import SCHEMA, VERSION
from vaultlayer.audit.files import DEADLINE
from vaultlayer.audit.query.questions import denials as denied
from vaultlayer.audit.query.unusual import unusual as unusual_in
from vaultlayer.evidence.artefact import Artefact, absent, finding, there

if TYPE_CHECKING:
    from vaultlayer.audit.query.index import Index
    from vaultlayer.audit.verify import Report
    from vaultlayer.vault import Vault

_BY_EVENT = """
SELECT name.name, coalesce(decision.name, ''), sum(events), sum(touched) FROM hour
JOIN name ON name.id = hour.name LEFT JOIN name AS decision ON decision.id = hour.decision
GROUP BY 1, 2 ORDER BY 1, 2
"""


def log(report: Report) -> Artefact:
    """The verification of the log, made now."""
    facts = {
        "shards": report.shards,
        "records": report.records,
        "findings": [one.what for one in report.findings[:20]],
    }
    if report.findings:
        return finding(f"{len(report.findings)} findings; see `vaultlayer audit verify`", **facts)
    return there(f"{report.records:,} records in {report.shards} shard(s) are whole", **facts)


def checkpoints(report: Report, keys: list[str]) -> Artefact:
    """Which records are covered by signatures that were checked."""
    facts = {"records": report.records, "unsigned": report.unsigned, "public_keys": keys}
    if not keys:
        return absent("there is no public key of the log to check signatures with", **facts)
    signed = report.records - report.unsigned
    return there(f"{signed:,} of {report.records:,} records are under a signed root", **facts)


def event_schema() -> Artefact:
    text = SCHEMA.read_bytes()
    schema = json.loads(text)
    kinds = [place["$ref"].rpartition("/")[2] for place in schema["oneOf"]]
    return there(
        f"{len(kinds)} kinds of record, times in UTC to the microsecond",
        version=VERSION,
        sha256=sha256(text).hexdigest(),
        kinds=kinds,
    )


def decisions(index: Index) -> Artefact:
    """What was done and how it was decided, over all of the log."""
    told: dict[str, dict[str, int]] = {}
    for event, decision, _, values in index.database.execute(_BY_EVENT):
        if decision:
            told.setdefault(event, {})[decision] = values
    refused = {
        f"{one['event']}: {one['reason_code']}": one["values"] for one in denied(index)["sums"]
    }
    if not told:
        return absent("the log has no decision yet")
    return there("values by what was done and decided", values=told, refused_for=refused)


def questions(index: Index) -> Artefact:
    """That the log can be asked, and how long the breach question's kind of search takes."""
    began = time.perf_counter()
    (records,) = index.database.execute("SELECT count(*) FROM event").fetchone()
    unusual_in(index)
    spent = round((time.perf_counter() - began) * 1000)
    return there(
        f"{records:,} records about people are indexed", indexed=records, milliseconds=spent
    )


def unusual(index: Index) -> Artefact:
    """Bulk reads, unwonted hours, spikes of refusals."""
    found = unusual_in(index)["findings"]
    kinds = {kind: sum(one["what"] == kind for one in found) for kind in sorted(_KINDS)}
    return there(f"looked for: {len(found)} hours stand out", found=kinds)


_KINDS = ("bulk", "hours", "refusals")


def happened(index: Index, event: str, words: str, none: str) -> Artefact:
    """How often something was recorded."""
    (times,) = index.database.execute(
        "SELECT coalesce(sum(events), 0) FROM hour JOIN name ON name.id = hour.name "
        "WHERE name.name = ?",
        (event,),
    ).fetchone()
    return there(words.format(times), times=times) if times else absent(none)


def backup_drill(index: Index) -> Artefact:
    """The restore drills of the key backup, and when the last was."""
    places = index.database.execute(
        "SELECT shard.name, place, length FROM event JOIN shard ON shard.id = event.shard "
        "JOIN name ON name.id = event.name WHERE name.name = 'keys_changed' ORDER BY ts"
    ).fetchall()
    changes = map(json.loads, index.lines(places))
    drills = [one for one in changes if one.get("step") == "drilled"]
    if not drills:
        return absent("no restore drill is in the log")
    last, times = drills[-1], len(drills)
    if last.get("left"):
        return finding(f"the last drill, at {last['ts']}, did not bring all back", times=times)
    return there(f"{times} drill(s), the last at {last['ts']}", times=times)


def honeytokens(index: Index, marked: int) -> Artefact:
    (alarms,) = index.database.execute(
        "SELECT coalesce(sum(events), 0) FROM hour JOIN name ON name.id = hour.name "
        "WHERE name.name = 'alarm'"
    ).fetchone()
    facts = {"marked": marked, "alarms": alarms}
    if alarms:
        return finding(f"{alarms} alarms were raised", **facts)
    return there(f"{marked} decoys, no alarm", **facts) if marked else absent("no row is marked")


def fail_closed(vault: Vault) -> Artefact:
    settings = vault.settings
    required = [one.name for one in vault.audit.sinks() if one.required]
    return there(
        "a value is released only after its record is kept",
        durability=settings.durability,
        deadline_seconds=int(DEADLINE),
        required_sinks=required,
    )


def sinks(vault: Vault) -> Artefact:
    states = vault.audit.sinks()
    told = [
        {"sink": s.name, "required": s.required, "failing": s.failing, "lost": s.lost}
        for s in states
    ]
    if not states:
        return absent("no sink beside the local log is set up")
    if any(one.failing or one.lost for one in states):
        return finding("a sink fails or has lost records", sinks=told)
    return there(f"{len(states)} sink(s) take all records", sinks=told)


def log_capacity(vault: Vault) -> Artefact:
    folder = vault.settings.audit_directory
    used = sum(path.stat().st_size for path in (folder / "log").glob("*.jsonl"))
    free = shutil.disk_usage(folder).free
    facts = {"log_bytes": used, "free_bytes": free}
    if free < max(used // 10, 1 << 30):
        return finding("there is less than a tenth of the log, or 1 GiB, of room left", **facts)
    return there(f"{used >> 20:,} MiB used, {free >> 30:,} GiB free", **facts)
