"""Epochs: what each still protects, and its end.

An epoch ends once its KEKs protect nothing and the backups that need them are gone: their wrapped
form is removed, and then the provider's versions that wrapped nothing else are destroyed. From
then on no backup of any table opens what was erased during that epoch or before.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from vaultlayer.errors import ConfigurationError, KeyUnavailable
from vaultlayer.keys import states, tables
from vaultlayer.keys.keks import RECORD as KEK_RECORD
from vaultlayer.lifecycle.backups import keep_recovery_key
from vaultlayer.lifecycle.job import Proof

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from vaultlayer.lifecycle.job import Job
    from vaultlayer.vault import Vault

_K, _S, _R = tables.kek.c, tables.subject_key.c, tables.index_root.c


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch of a region. ``due``: from when its keys may be destroyed; None while in use."""

    region: str
    epoch: int
    state: str
    keks: int
    keys_left: int
    began: datetime
    due: datetime | None


def epochs(vault: Vault, connection: Connection) -> list[Epoch]:
    """All epochs, by region and number."""
    rows = connection.execute(
        sa.select(_K.kek_id, _K.region, _K.epoch, _K.state, _K.created, _K.changed).order_by(
            _K.region, _K.epoch
        )
    ).all()
    groups: dict[tuple[str, int], list[Any]] = {}
    for row in rows:
        groups.setdefault((row.region, row.epoch), []).append(row)
    told = []
    for (region, number), members in groups.items():
        seen = {row.state for row in members}
        state = next(s for s in (*states.STATES[1:3], states.ADDED, states.ERASED) if s in seen)
        ended = datetime.fromtimestamp(max(row.changed for row in members), UTC)
        over = state == states.DECRYPT_ONLY
        due = ended + timedelta(vault.settings.backup_days) if over else None
        began = datetime.fromtimestamp(min(row.created for row in members), UTC)
        left = sum(keys_under(connection, row.kek_id) for row in members)
        told.append(Epoch(region, number, state, len(members), left, began, due))
    return told


def end_epoch(job: Job, region: str, number: int) -> datetime | None:
    """Destroy an epoch's KEKs and the provider's versions that only they needed.

    Returns when the provider says that nobody can bring its key back any more.
    """
    with job.keys() as connection:
        known = [e for e in epochs(job.vault, connection) if e.region == region]
        found = [epoch for epoch in known if epoch.epoch == number]
        if not found:
            raise ConfigurationError(
                f"region {region!r} has no epoch {number}", hint="see `vaultlayer keys epochs`"
            )
        epoch = found[0]
        if epoch.state != states.ERASED:
            _refuse_early(epoch)
            if job.dry_run:
                job.report.steps.append(f"would destroy epoch {number} of region {region!r}")
                return None
            gone = sa.and_(_K.region == region, _K.epoch == number)
            erased = {"state": states.ERASED, "wrapped": None, "changed": int(time.time())}
            connection.execute(sa.update(tables.kek).where(gone).values(erased))
    job.vault.keys.keks.forget()
    job.record("erased", f"epoch {number} erased", region=region, epoch=number)
    until = _destroy_versions(job, region)
    told = Proof(f"keys under epoch {number}", epoch.keys_left, epoch.keys_left)
    job.report.proofs.append(told)
    return until


def _refuse_early(epoch: Epoch) -> None:
    if not states.epoch_may_end(epoch.state, records_left=epoch.keys_left):
        raise ConfigurationError(
            f"epoch {epoch.epoch} of region {epoch.region!r} is {epoch.state} and protects "
            f"{epoch.keys_left} key(s)",
            hint="`vaultlayer keys rotate kek` moves them to the next epoch first",
        )
    if epoch.due is not None and datetime.now(UTC) < epoch.due:
        raise ConfigurationError(
            f"backups that need epoch {epoch.epoch} are kept until {epoch.due:%Y-%m-%d}",
            hint="wait, or set [keys] backup_days to how long you really keep backups",
        )


def _destroy_versions(job: Job, region: str) -> datetime | None:
    """Destroy the provider's versions that wrapped no KEK that is left, the oldest first."""
    provider = job.vault.keys.keks.provider(region)
    with suppress(KeyUnavailable):  # where it is lost already, there is nothing to keep
        keep_recovery_key(job)
    with job.keys() as connection:
        used = {
            provider.version_of(row.wrapped)
            for row in connection.execute(KEK_RECORD.where(_K.state != states.ERASED))
            if row.provider == provider.name
        }
    until = None
    for version in provider.versions()[:-1]:
        if version in used:
            break
        until = provider.destroy(version)
        job.record("erased", "provider key version destroyed", region=region, version=version)
    return until


def keys_under(connection: Connection, kek_id: bytes) -> int:
    """How many keys a KEK protects."""
    keys = sa.select(sa.func.count()).where(_S.kek_id == kek_id)
    roots = sa.select(sa.func.count()).where(_R.kek_id == kek_id, _R.state != states.ERASED)
    return (connection.scalar(keys) or 0) + (connection.scalar(roots) or 0)
