"""The drill: a backup restored into a scratch vault, and a sample of what is stored opened with it.

Nothing of the scratch vault touches a disk, and nothing of the live one is changed.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from vaultlayer.errors import IntegrityError, KeyUnavailable
from vaultlayer.keys import states, tables
from vaultlayer.keys.keks import RECORD
from vaultlayer.keys.keyring import Keys
from vaultlayer.keys.provider import MemoryProvider
from vaultlayer.lifecycle.backups import opened, record_of, without_frames
from vaultlayer.lifecycle.job import Proof
from vaultlayer.lifecycle.models import fields_by_table
from vaultlayer.lifecycle.reseal import Resealing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from sqlalchemy import Connection

    from vaultlayer.keys.backup import SavedKek
    from vaultlayer.lifecycle.job import Job, Report

_K, _S = tables.kek.c, tables.subject_key.c
SAMPLE = 50  # keys of each KEK, and rows of each table, that a drill opens


@without_frames
def drill(job: Job, file: Path, shares: Iterable[str]) -> Report:
    """Restore into a scratch vault and open a sample of what is stored, and say so in the log."""
    keks = opened(file, shares)
    with _scratch(keks) as scratch, job.keys() as connection:
        del keks
        alive = connection.execute(RECORD.where(_K.state != states.ERASED)).all()
        missing = [row for row in alive if row.kek_id not in scratch.kek_ids]
        unsaved = Proof("KEKs in use that are not in the backup", len(missing), len(alive))
        job.report.proofs.append(unsaved)
        for row in alive:
            if row.kek_id in scratch.kek_ids:
                job.report.proofs.append(_open_keys(scratch, connection, row))
        with job.engine.connect() as data:
            job.report.proofs.append(_open_values(job, scratch, connection, data))
    sampled = sum(proof.sampled for proof in job.report.proofs)
    count = sum(proof.opened for proof in job.report.proofs)
    told = f"drill with {file.name}: sampled {sampled}, opened {count}"
    job.record("drilled", told, count=count, left=len(missing) + sampled - count)
    return job.report


class _Scratch:
    """A vault's keys in memory: the restored KEKs under a provider of the moment."""

    def __init__(self, connection: Connection) -> None:
        self.keys = Keys(MemoryProvider())
        self.kek_ids: set[bytes] = set()
        self.connection = connection

    @contextmanager
    def key_connection(self, using: object) -> Iterator[Connection]:
        yield self.connection

    def copy(self, live: Connection, condition: Any, most: int | None = None) -> list[bytes]:
        """Copy wrapped subject keys from the live tables; returns the ids of those that open."""
        rows = live.execute(sa.select(tables.subject_key).where(condition).limit(most)).all()
        known = {key_id for (key_id,) in self.connection.execute(sa.select(_S.key_id))}
        new = [dict(row._mapping) for row in rows if row.key_id not in known]
        if new:
            self.connection.execute(tables.subject_key.insert(), new)
        return [row.key_id for row in rows if row.state != states.ERASED]


@contextmanager
def _scratch(keks: dict[SavedKek, bytes]) -> Iterator[_Scratch]:
    engine = sa.create_engine("sqlite://")
    tables.metadata.create_all(engine)
    with engine.connect() as connection:
        scratch = _Scratch(connection)
        for saved, key in keks.items():
            row = record_of(scratch.keys, saved, key, saved.state)
            connection.execute(tables.kek.insert(), row)
            scratch.kek_ids.add(row["kek_id"])
        yield scratch
    engine.dispose()


def _open_keys(scratch: _Scratch, live: Connection, row: Any) -> Proof:
    under = sa.and_(_S.kek_id == row.kek_id, _S.state != states.ERASED)
    ids = scratch.copy(live, under, SAMPLE)
    count = 0
    for key_id in ids:
        with suppress(IntegrityError, KeyUnavailable):
            count += len(scratch.keys.fetch(scratch.connection, [key_id]))
    what = f"keys under KEK {row.kek_id.hex()[:8]} that don't open"
    return Proof(what, len(ids) - count, len(ids), len(ids), count)


def _open_values(job: Job, scratch: _Scratch, live: Connection, data: Connection) -> Proof:
    sampled = count = 0
    for entity, table, fields in fields_by_table(job.entities):
        scratched: Any = scratch  # all that it needs of a vault
        look = Resealing(scratched, entity, table, fields, keys=False, terms=False, sample=True)
        rewriting = look.rewriting(job.engine)
        newest = [column.desc() for column in rewriting.keys]
        rows = data.execute(rewriting.query.order_by(*newest).limit(SAMPLE)).all()
        found = {v[3:19] for row in rows for v in row if isinstance(v, bytes) and len(v) > 31}
        scratch.copy(live, _S.key_id.in_(found))
        for row in rows:
            try:
                look.changes(data, [row])
            except (IntegrityError, KeyUnavailable):
                sampled += 1
        sampled += look.tally.sampled
        count += look.tally.opened
    return Proof("values that don't open", sampled - count, sampled, sampled, count)
