"""The lower keys: a new generation of subject keys, a new epoch of index roots.

    rotate("subject"):  generation added and active → every envelope resealed → proof
    rotate("index"):    root added → wait → active → wait → every term made anew → proof → erased

A former generation stays for as long as backups of the data may be put back (``backup_days``), and
is destroyed by the first rotation after that. A former root isn't needed: from an old backup
``vaultlayer keys reseal`` makes the terms anew.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from vaultlayer.keys import states, tables
from vaultlayer.keys.erasing import set_state
from vaultlayer.keys.index_roots import RECORD as ROOT_RECORD
from vaultlayer.keys.keyring import RECORD
from vaultlayer.keys.records import next_generation, open_subject_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from vaultlayer.lifecycle.job import Job

_S, _R = tables.subject_key.c, tables.index_root.c
_CHUNK = 500
_DAY = 86_400


def rotate_subject(job: Job, tenant: str | None, subject: bytes | None) -> None:
    """A new key for everybody (of a tenant), or for one person, and everything sealed under it."""
    chosen = _chosen(tenant, subject)
    if job.dry_run:
        count = sa.select(sa.func.count()).select_from(tables.subject_key)
        with job.keys() as connection:
            number = connection.scalar(count.where(_S.state == states.ACTIVE, *chosen))
        job.report.steps.append(f"would make {number} key(s), and reseal what is under former ones")
        job.reseal(keys=True, terms=False)
        return
    began = job.begun(f"subject {tenant} {subject.hex() if subject is not None else ''}")
    made = _add_generations(job, [*chosen, _S.created <= began])
    job.record("active", f"{made} new key(s)", tenant=tenant, count=made)
    job.settle()
    job.reseal(keys=True, terms=False)
    proof = job.report.proofs[-1]
    job.record("proved", "", tenant=tenant, left=proof.left, count=proof.of)
    if job.report.ok:
        _destroy_former(job)
        job.ended()


def rotate_index(job: Job, tenant: str | None) -> None:
    """A new index root for every tenant (or one), and every term under it."""
    if job.dry_run:
        job.reseal(keys=False, terms=True)
        return
    with job.keys() as connection:
        rows = _roots(connection, tenant)
        last = {row.tenant: row.epoch for row in rows}  # in the order of epochs
        pending = {row.tenant for row in rows if row.state in (states.ADDED, states.DECRYPT_ONLY)}
        for owner in sorted(last.keys() - pending):
            job.vault.keys.roots.create(connection, owner, last[owner] + 1, states.ADDED)
    job.record("added", f"{len(last) - len(pending)} new root(s) added", tenant=tenant)
    job.settle()
    with job.keys() as connection:
        for row in _roots(connection, tenant, lock=True):
            if row.state == states.ADDED:
                _set(job, connection, row.tenant, row)
    job.record("active", "new root(s) active", tenant=tenant)
    job.settle()
    job.reseal(keys=False, terms=True)
    proof = job.report.proofs[-1]
    job.record("proved", "", tenant=tenant, left=proof.left, count=proof.of)
    if job.report.ok:
        with job.keys() as connection:
            gone = _R.state == states.DECRYPT_ONLY
            if tenant is not None:
                gone = sa.and_(gone, _R.tenant == tenant)
            erased = {"state": states.ERASED, "wrapped": None, "changed": int(time.time())}
            connection.execute(sa.update(tables.index_root).where(gone).values(erased))
        job.vault.keys.roots.forget()
        job.record("erased", "former root(s) erased", tenant=tenant)


def _add_generations(job: Job, chosen: list[Any]) -> int:
    """The next generation of each chosen key, where it has not been made; how many were made."""
    made, chunks, last = 0, 0, None
    order = (_S.tenant, _S.subject)
    query = RECORD.where(_S.state == states.ACTIVE, *chosen).order_by(*order).limit(_CHUNK)
    while True:
        with job.keys() as connection:
            look = query if last is None else query.where(sa.tuple_(*order) > last)
            if connection.dialect.name == "sqlite":  # the first write takes the one lock
                connection.execute(sa.delete(tables.kek).where(sa.false()))
            rows = connection.execute(look.with_for_update(skip_locked=True)).all()
            _replace(job, connection, rows)
        made, chunks = made + len(rows), chunks + 1
        if chunks.bit_count() == 1:  # 1, 2, 4, 8 …
            job.analyze()
        job.tell("making keys", len(rows))
        if rows:
            last = (rows[-1].tenant, rows[-1].subject)
        elif last is None:
            return made
        else:
            last = None  # once more from the start: some were in use


def _replace(job: Job, connection: Connection, rows: Sequence[Any]) -> None:
    keys, now = job.vault.keys, int(time.time())
    if not rows:
        return
    keks = {kek_id: keys.keks.by_id(connection, kek_id) for kek_id in {row.kek_id for row in rows}}
    former = open_subject_keys(rows, keks, 0.0)
    new = []
    for row in rows:
        old = former[row.key_id]
        kek = keys.keks.current(connection, row.tenant, old.region)
        key_id, wrapped = next_generation(kek, old, row.generation + 1)
        new.append(
            {
                "key_id": key_id, "tenant": row.tenant, "subject": row.subject,
                "generation": row.generation + 1, "state": states.ACTIVE, "kek_id": kek.kek_id,
                "wrapped": wrapped, "created": now, "changed": now,
            }
        )  # fmt: skip
    connection.execute(sa.insert(tables.subject_key), new)
    set_state(keys, connection, rows, states.DECRYPT_ONLY)


def _destroy_former(job: Job) -> None:
    """Former generations that no backup within its time needs, and no envelope (as was proved)."""
    before = int(time.time()) - job.vault.settings.backup_days * _DAY
    old = RECORD.where(_S.state == states.DECRYPT_ONLY, _S.changed <= before).limit(_CHUNK)
    gone = 0
    while True:
        with job.keys() as connection:
            rows = connection.execute(old.with_for_update(skip_locked=True)).all()
            set_state(job.vault.keys, connection, rows, states.ERASED)
        if not rows:
            break
        gone += len(rows)
    if gone:
        job.record("erased", f"{gone} former key(s) erased", count=gone)


def _roots(connection: Connection, tenant: str | None, lock: bool = False) -> list[Any]:
    query = ROOT_RECORD.where(_R.state != states.ERASED).order_by(_R.epoch)
    query = query if tenant is None else query.where(_R.tenant == tenant)
    return list(connection.execute(query.with_for_update() if lock else query).all())


def _set(job: Job, connection: Connection, tenant: str, added: Any) -> None:
    """The added root becomes active, the one before it is only searched; each is wrapped anew."""
    keys, now = job.vault.keys, int(time.time())
    for row in _roots(connection, tenant):
        state = states.ACTIVE if row.root_id == added.root_id else states.DECRYPT_ONLY
        if not states.may_follow(state, row.state):
            continue
        kek = keys.keks.by_id(connection, row.kek_id)
        new = {"state": state, "wrapped": keys.roots.rewrapped(row, kek, kek, state)}
        connection.execute(
            sa.update(tables.index_root).where(_R.root_id == row.root_id), {**new, "changed": now}
        )


def _chosen(tenant: str | None, subject: bytes | None) -> list[Any]:
    chosen: list[Any] = []
    if tenant is not None:
        chosen.append(_S.tenant == tenant)
    if subject is not None:
        chosen.append(_S.subject == subject)
    return chosen
