"""Append-only ledgers: a row for each thing that was said or done, and a leaf of the log with it.

The log holds a digest of each row, so a row that was changed, removed or added in the database
afterwards is found (``check``); it can be told for the rows of this audit directory's own log.
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import event, inspect, select

from vaultlayer.audit.check import Finding
from vaultlayer.audit.event import canonical, clip
from vaultlayer.audit.registry import read_registry
from vaultlayer.keys import tables
from vaultlayer.ledgers import LEDGERS
from vaultlayer.lifecycle.tombstones import trail_of
from vaultlayer.privacy.disclosed import check_people

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from sqlalchemy import Connection, Table
    from sqlalchemy.orm import Session

    from vaultlayer.acting import Access

_MOST = 20  # findings told one by one; what a lost table leaves behind is one sentence
_UNDONE = "ledger_undone"


def append(
    access: Access,
    connection: Connection,
    table: Table,
    key: Mapping[str, Any],
    make: Callable[[Mapping[str, Any] | None], Mapping[str, Any]],
) -> dict[str, Any]:
    """Append the next row of ``key``, which ``make`` fills in given the one before it, if any.

    Two who append at once are numbered in turn.
    """
    where = [table.c[name] == value for name, value in key.items()]
    history: Any = select(table).where(*where).order_by(table.c.number.desc()).limit(1)
    before = connection.execute(history).mappings().first()
    while True:
        row = {
            **key,
            "number": before["number"] + 1 if before else 1,
            **make(dict(before) if before else None),
            "recorded": int(time.time()),
            "recorded_by": clip(access.principal.sub, 255),
            "trail": access.vault.tombstones.trail,
        }
        insert = tables.insert_if_absent(connection.dialect, table).values(row)
        if connection.execute(insert.execution_options(preserve_rowcount=True)).rowcount:
            return row
        again = tables.as_of_now(connection.dialect, history)  # another was first
        before = connection.execute(again).mappings().first()


def tell(
    access: Access, session: Session | None, name: str, row: Mapping[str, Any], **told: Any
) -> None:
    """Write the leaf of a row, before its transaction commits; and another if it doesn't."""
    leaf = digest(row)
    access.record(name, number=row["number"], row=leaf, **told)
    if session is not None:
        log = access.vault.log
        undone = [False]

        def rolled_back(*_: Any) -> None:
            if not undone[0]:
                undone[0] = True
                log.write(_UNDONE, row=leaf)

        def committed(*_: Any) -> None:
            undone[0] = True

        event.listen(session, "after_commit", committed, once=True)
        event.listen(session, "after_rollback", rolled_back, once=True)


def digest(row: Mapping[str, Any]) -> str:
    """SHA-256 of a row's canonical JSON, bytes in hexadecimal: what its event in the log holds."""
    told = {
        name: value if isinstance(value, str | int) else bytes(value).hex()
        for name, value in row.items()
    }
    return hashlib.sha256(canonical(told)).hexdigest()


def check(connection: Connection, directory: Path) -> list[Finding]:
    """What was done to the ledgers' rows since they were told of in the log of ``directory``.

    Memory grows by about 100 bytes a row. Rows of other audit directories are theirs to check,
    and those of pruned shards can't be any more.
    """
    leaves: dict[str, dict[str, str]] = {}
    undone: set[str] = set()
    for record in _leaves(directory):
        if record["event"] == _UNDONE:
            undone.add(record["row"])
        else:
            leaves.setdefault(record["event"], {})[record["row"]] = (
                f"record {record['seq']} of {record['shard']}"
            )
    trail = trail_of(directory)
    pruned = any(record.get("event") == "pruned" for record in read_registry(directory))
    findings: list[Finding] = []
    for table, events in LEDGERS.items():
        told = {row: place for name in events for row, place in leaves.get(name, {}).items()}
        findings += _check(connection, table, trail, told, undone, pruned)
    return findings + check_people(connection, trail)


def _check(
    connection: Connection,
    table: Table,
    trail: str,
    told: dict[str, str],
    undone: set[str],
    pruned: bool,
) -> list[Finding]:
    untold, found = [], []
    if inspect(connection).has_table(table.name):
        mine = select(table).where(table.c.trail == trail).order_by(*table.primary_key)
        streamed = connection.execute(mine, execution_options={"yield_per": 1000})
        for line, row in enumerate(streamed.mappings(), 1):
            if told.pop(digest(dict(row)), None) is None and not pruned:
                untold.append((line, row["number"], row["recorded"]))
    for line, number, recorded in untold[:_MOST]:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(recorded))
        what = f"row {number} of {when} UTC was changed or added: the log doesn't tell of it so"
        found.append(Finding(table.name, line, what))
    gone = [place for row, place in told.items() if row not in undone]
    found += [
        Finding(table.name, 0, f"a row was changed or removed, or never committed: see {place}")
        for place in gone[:_MOST]
    ]
    more = max(0, len(untold) - _MOST) + max(0, len(gone) - _MOST)
    if more:
        found.append(Finding(table.name, 0, f"{more:,} more rows are not as the log tells"))
    return found


def _leaves(directory: Path) -> Iterator[dict[str, Any]]:
    """The records that tell of a row; what is no record is left to ``verify``."""
    for path in sorted((directory / "log").glob("*.jsonl")):
        with path.open("rb") as file:
            for line in file:
                if b'"row":"' not in line:
                    continue
                try:
                    record = json.loads(line)
                    record["event"], record["row"], record["seq"], record["shard"]
                except (ValueError, KeyError, TypeError):
                    continue
                yield record
