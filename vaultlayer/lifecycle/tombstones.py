"""Tombstones outlive the database: how a restored backup of the keys, or of the log, is told.

``<audit directory>/erasures.jsonl`` (0600, append-only) remembers every erasure: those made by
processes that write this audit directory, and those found in the key tables when one of them
started. It lies beside the log and not in the database, since what is to be told is that the
database was put back; it is not the log itself, which is written to for years and would have to be
read whole. It holds random ids only: an erasure's, a tenant's name, a subject's UUID.

    {"trail": "6f…"}                        first line: names this audit directory
    {"erasure": "…", "step": "begun", "subject": "…", "tenant": "", "at": 1767225600}
    {"erasure": "…", "step": "done"}        after the commit; "undone": it was rolled back
    {"erasure": "…", "step": "seen", …}     found in the key tables, made elsewhere
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect, select, update

from vaultlayer.audit.files import folder, lines_backwards, unavailable
from vaultlayer.errors import KeyUnavailable
from vaultlayer.keys import tables

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sqlalchemy import Connection

    from vaultlayer.acting import Access
    from vaultlayer.audit.log import Log

NAME = "erasures.jsonl"
BEGUN, DONE, UNDONE, SEEN = "begun", "done", "undone", "seen"


@dataclass(frozen=True, slots=True)
class Erasure:
    """One person's end: of (tenant, subject), at a time in Unix seconds."""

    erasure_id: str
    tenant: str
    subject: bytes
    at: int

    def line(self, step: str) -> dict[str, Any]:
        return {
            "erasure": self.erasure_id,
            "step": step,
            "subject": self.subject.hex(),
            "tenant": self.tenant,
            "at": self.at,
        }


def trail_of(directory: Path) -> str:
    """The name of an audit directory; "" where it has none yet. Nothing is written."""
    try:
        with (directory / NAME).open("rb") as file:
            return str(json.loads(file.readline())["trail"])
    except (OSError, ValueError, KeyError):
        return ""


class Tombstones:
    """What an audit directory remembers of erasures."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory / NAME

    @property
    def trail(self) -> str:
        """The name of this audit directory, drawn when it was first asked for."""
        self._append([])
        with self._path.open("rb") as file:
            return str(json.loads(file.readline())["trail"])

    def note(self, step: str, erasures: Iterable[Erasure]) -> None:
        """Remember a step of some erasures; on the disk when this returns."""
        self._append([erasure.line(step) for erasure in erasures])

    def check(self, connection: Connection) -> None:
        """KeyUnavailable when the key tables, or the log, are older than the newest tombstone."""
        if not inspect(connection).has_table(tables.tombstone.name):
            return  # no key tables yet, which is said where keys are looked for
        rows = connection.execute(select(tables.tombstone)).all()
        there = {(row.tenant, row.subject) for row in rows}
        steps = self._steps()
        lost = 0
        for erasure, step in steps.values():
            exists = (erasure.tenant, erasure.subject) in there
            if step == BEGUN:  # its process died: before the commit, or after it
                self.note(DONE if exists else UNDONE, [erasure])
            elif step != UNDONE and not exists:
                lost += 1
        if lost:
            raise _older("key tables are", lost)
        self._learn(rows, steps)
        self._check_log(rows)

    def missing(self, connection: Connection) -> list[Erasure]:
        """The erasures that are remembered here and not in the key tables."""
        rows = connection.execute(select(tables.tombstone)).all()
        there = {(row.tenant, row.subject) for row in rows}
        return [
            erasure
            for erasure, step in self._steps().values()
            if step in (DONE, SEEN) and (erasure.tenant, erasure.subject) not in there
        ]

    def _learn(self, rows: Iterable[Any], steps: dict[Any, Any]) -> None:
        """Remember what other machines erased, for when this database is put back."""
        known = {(erasure.tenant, erasure.subject) for erasure, _ in steps.values()}
        new = [
            Erasure(row.erasure_id.hex(), row.tenant, row.subject, row.erased)
            for row in rows
            if (row.tenant, row.subject) not in known
        ]
        if new:
            self.note(SEEN, new)

    def _check_log(self, rows: Iterable[Any]) -> None:
        """The record of the newest erasure that this directory's log told must be in it."""
        newest = self._newest(rows)
        if newest is not None and not self._is_logged(newest):
            raise _older("audit log is", 1)

    def record_again(self, connection: Connection, access: Access, log: Log) -> None:
        """Tell the log anew of the newest erasure, where its record was lost with the log."""
        newest = self._newest(connection.execute(select(tables.tombstone)).all())
        if newest is None or self._is_logged(newest):
            return
        told = {"erasure": newest.erasure_id.hex(), "keys": 0, "values": 0, "terms": 0}
        day = datetime.fromtimestamp(newest.erased, UTC).date().isoformat()
        access.record("subject_erased", **told, horizon=day, again=True)
        written, of = log.written(), tables.tombstone.c
        if written is not None:
            place = {"shard": written.path.stem, "seq": written.records - 1}
            same = of.erasure_id == newest.erasure_id
            connection.execute(update(tables.tombstone).where(same).values(place))

    def _newest(self, rows: Iterable[Any]) -> Any:
        trail = self.trail
        mine = [row for row in rows if row.trail == trail]
        return max(mine, key=lambda row: (row.shard, row.seq), default=None)

    def _is_logged(self, row: Any) -> bool:
        path = self._directory / "log" / f"{row.shard}.jsonl"
        last = next(lines_backwards(path), b"") if path.exists() else b""
        try:
            return bool(json.loads(last)["seq"] >= row.seq)
        except (ValueError, KeyError, TypeError):
            return bool(last)  # torn by a crash just now: recovery and `audit verify` tell

    def _steps(self) -> dict[tuple[str, str, bytes], tuple[Erasure, str]]:
        """Each erasure of the file with its last step."""
        steps: dict[tuple[str, str, bytes], tuple[Erasure, str]] = {}
        for line in self._path.read_bytes().split(b"\n") if self._path.exists() else ():
            try:
                told = json.loads(line)
                subject = bytes.fromhex(told["subject"])
                erasure = Erasure(told["erasure"], told["tenant"], subject, told["at"])
            except (ValueError, KeyError, TypeError):
                continue  # the first line, or one that a power cut tore
            steps[erasure.erasure_id, erasure.tenant, subject] = erasure, told["step"]
        return steps

    def _append(self, lines: list[dict[str, Any]]) -> None:
        folder(self._directory, "log")
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if os.fstat(descriptor).st_size == 0:
                    lines = [{"trail": secrets.token_hex(16)}, *lines]
                if lines:
                    text = "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines)
                    os.write(descriptor, text.encode())
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise unavailable("the record of erasures can't be written", error) from error


def _older(what: str, count: int) -> KeyUnavailable:
    return KeyUnavailable(
        f"the {what} older than {count} erasure(s) remembered beside the audit log: a backup was "
        "put back",
        hint="put back a newer one, or run `vaultlayer keys erase --replay`, which erases again "
        "whoever was erased since that backup and records it",
    )
