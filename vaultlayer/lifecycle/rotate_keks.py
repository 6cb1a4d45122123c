"""The upper keys: a new epoch (provider version and KEKs), or a new provider version alone.

    rotate("kek"):       version added → KEKs added → wait → active → every key rewrapped → proof
    rotate("provider"):  version added → KEKs in use rewrapped → proof
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from vaultlayer.keys import states, tables
from vaultlayer.keys.keks import RECORD as KEK_RECORD
from vaultlayer.keys.keyring import RECORD as KEY_RECORD
from vaultlayer.keys.places import index_root_aad
from vaultlayer.keys.records import open_subject_keys, open_wrapped, rewrapped, wrap
from vaultlayer.lifecycle.epochs import keys_under
from vaultlayer.lifecycle.job import Proof
from vaultlayer.lifecycle.rewrite import Rewriting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from vaultlayer.keys.provider import KeyProvider
    from vaultlayer.lifecycle.job import Job

_K, _S, _R = tables.kek.c, tables.subject_key.c, tables.index_root.c


def rotate_kek(job: Job, region: str) -> None:
    """Begin a region's next epoch, or go on with one that was begun."""
    keks = job.vault.keys.keks
    with job.keys() as connection:
        rows = _living(connection, region)
        former = [row for row in rows if _is_former(row, rows)]
        unfinished = any(keys_under(connection, row.kek_id) for row in former)
    if job.dry_run:
        job.report.steps.append(f"would begin epoch {_last(rows) + 1} of region {region!r}")
        return
    if not unfinished:
        if rows and not any(row.state == states.ADDED for row in rows):
            _new_version(keks.provider(region), rows)
            epoch = _last(rows) + 1
            with job.keys() as connection:
                for tenant in sorted({row.tenant for row in rows}):
                    keks.create(connection, tenant, region, epoch, states.ADDED)
            job.record("added", f"epoch {epoch} added", region=region, epoch=epoch)
        job.settle()
        with job.keys() as connection:
            epoch = _activate(job, connection, region)
        job.record("active", f"epoch {epoch} active", region=region, epoch=epoch)
    job.settle()
    _rewrap_keys(job, region)


def rotate_provider(job: Job, region: str) -> None:
    """Wrap the KEKs in use by a new version of the provider's key."""
    keks = job.vault.keys.keks
    provider = keks.provider(region)
    with job.keys() as connection:
        living = _living(connection, region)
        rows = [
            row
            for row in living
            if not _is_former(row, living) or keys_under(connection, row.kek_id)
        ]
    if job.dry_run:
        job.report.steps.append(f"would rewrap {len(rows)} KEK(s) of region {region!r}")
        return
    version = _new_version(provider, rows)
    job.record("added", "provider key version added", region=region, version=version)
    for row in rows:
        if row.provider == provider.name and provider.version_of(row.wrapped) == version:
            continue
        new = {"wrapped": keks.rewrapped(row, row.state), "provider": provider.name}
        with job.keys() as connection:
            unchanged = sa.and_(_K.kek_id == row.kek_id, _K.state == row.state)
            connection.execute(
                sa.update(tables.kek).where(unchanged), {**new, "changed": int(time.time())}
            )
        job.tell("rewrapping KEKs", 1)
    keks.forget()
    with job.keys() as connection:
        now = [row for row in _living(connection, region) if row.kek_id in {r.kek_id for r in rows}]
        left = sum(provider.version_of(row.wrapped) != version for row in now)
        opened = sum(keks.by_id(connection, row.kek_id) is not None for row in now)
    told = Proof("KEKs under a former provider key", left, len(now), len(now), opened)
    job.report.proofs.append(told)
    job.record("proved", "", region=region, left=left, count=len(now))


def _new_version(provider: KeyProvider, rows: Sequence[Any]) -> str:
    """A provider version that wraps none of these: one that a killed run made, or a new one."""
    used = {provider.version_of(row.wrapped) for row in rows if row.provider == provider.name}
    versions = provider.versions()
    return versions[-1] if versions and versions[-1] not in used else provider.rotate()


def _activate(job: Job, connection: Connection, region: str) -> int:
    """Added KEKs become active, those before them decrypt_only; returns the epoch."""
    keks, now = job.vault.keys.keks, int(time.time())
    rows = _living(connection, region)
    added = [row for row in rows if row.state == states.ADDED]
    for row in added:
        new = {"state": states.ACTIVE, "wrapped": keks.rewrapped(row, states.ACTIVE)}
        connection.execute(
            sa.update(tables.kek).where(_K.kek_id == row.kek_id), {**new, "changed": now}
        )
        former = sa.and_(
            _K.tenant == row.tenant, _K.region == region, _K.epoch < row.epoch,
            _K.state == states.ACTIVE,
        )  # fmt: skip
        over = {"state": states.DECRYPT_ONLY, "changed": now}
        connection.execute(sa.update(tables.kek).where(former).values(over))
    return _last(rows)


def _rewrap_keys(job: Job, region: str) -> None:
    """Every subject key and index root under a former KEK goes under the current one."""
    keks = job.vault.keys.keks
    with job.keys() as connection:
        living = _living(connection, region)
        former = {row.kek_id: row for row in living if _is_former(row, living)}
        _rewrap_roots(job, connection, list(former))

    def change(connection: Connection, rows: Sequence[Any]) -> list[tuple[tuple[Any, ...], ...]]:
        changed: list[tuple[tuple[Any, ...], ...]] = []
        for key_id, *record in rows:
            old = keks.by_id(connection, record[1])
            new = keks.current(connection, record[4], region)
            fresh = rewrapped(record, old, new, record[0])
            changed.append(((key_id,), (record[2],), (fresh, new.kek_id)))
        return changed

    query = sa.select(_S.key_id.label("k0"), *KEY_RECORD.selected_columns)
    under = query.where(_S.kek_id.in_(list(former)))
    rewriting = Rewriting(
        job.key_engine, tables.subject_key, under, [_S.key_id], [_S.wrapped], [_S.kek_id], change
    )
    job.until_clean("rewrapping keys", lambda: rewriting)
    with job.keys() as connection:
        left = sum(keys_under(connection, kek_id) for kek_id in former)
        of = connection.scalar(sa.select(sa.func.count()).select_from(tables.subject_key)) or 0
        sample = connection.execute(
            KEY_RECORD.where(_S.state != states.ERASED).limit(100)
        ).all()
        opened = len(_opened(job, connection, sample))
    told = Proof("keys under a former KEK", left, of, len(sample), opened)
    job.report.proofs.append(told)
    job.record("proved", "", region=region, left=left, count=of)


def _rewrap_roots(job: Job, connection: Connection, former: Sequence[bytes]) -> None:
    keks = job.vault.keys.keks
    held = sa.select(tables.index_root).where(_R.kek_id.in_(former), _R.state != states.ERASED)
    for row in connection.execute(held.with_for_update()):
        old, new = keks.by_id(connection, row.kek_id), keks.current(connection, row.tenant)
        aad = index_root_aad(row.tenant, row.epoch, row.root_id, row.state)
        fresh = wrap(new, aad, open_wrapped(old, aad, row.wrapped))
        connection.execute(
            sa.update(tables.index_root).where(_R.root_id == row.root_id),
            {"wrapped": fresh, "kek_id": new.kek_id},
        )


def _living(connection: Connection, region: str) -> list[Any]:
    rows = KEK_RECORD.where(_K.region == region, _K.state != states.ERASED).order_by(_K.epoch)
    return list(connection.execute(rows).all())


def _is_former(row: Any, rows: Sequence[Any]) -> bool:
    """Whether a later KEK of the same tenant is in use."""
    return any(
        other.tenant == row.tenant and other.epoch > row.epoch and other.state != states.ADDED
        for other in rows
    )


def _last(rows: Sequence[Any]) -> int:
    return max((row.epoch for row in rows), default=0)


def _opened(job: Job, connection: Connection, sample: Sequence[Any]) -> dict[bytes, Any]:
    """A sample's keys, unwrapped with KEKs fetched anew."""
    keks = job.vault.keys.keks
    keks.forget()
    needed = {row.kek_id: keks.by_id(connection, row.kek_id) for row in sample}
    return dict(open_subject_keys(sample, needed, 0.0))
