"""Backing up the KEKs, and restoring them under a provider.

The recovery key is made once and dealt to people as shares. The provider keeps a wrapped copy of
it, so that each later backup needs nobody; a restore needs k of the shares and no provider but the
new one. Subject keys are never in a backup: whoever was erased stays so.
"""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import sqlalchemy as sa

from vaultlayer.crypto.envelope import key_id_for
from vaultlayer.errors import ConfigurationError, IntegrityError, VaultLayerError
from vaultlayer.keys import states, tables
from vaultlayer.keys.backup import (
    SavedKek,
    opened_backup,
    read_backup,
    recovery_aad,
    sealed_backup,
    secret_sharing,
)
from vaultlayer.keys.keks import RECORD
from vaultlayer.keys.local_file import publish
from vaultlayer.keys.records import KEY_BYTES, check_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from sqlalchemy import Connection

    from vaultlayer.keys.keyring import Keys
    from vaultlayer.lifecycle.job import Job

_K, _R = tables.kek.c, tables.recovery.c
_NEWEST_RECOVERY = sa.select(tables.recovery).order_by(_R.created.desc(), _R.recovery_id)
_P = ParamSpec("_P")
_A = TypeVar("_A")


@dataclass(slots=True)
class Backup:
    """A backup that was written; the share files are there when a new set was dealt."""

    file: Path
    recovery: str
    shares: str
    keks: int
    share_files: list[Path] = field(default_factory=list)


def without_frames(action: Callable[_P, _A]) -> Callable[_P, _A]:
    """Errors of ours leave it without the frames whose variables hold keys."""

    @wraps(action)
    def run(*given: _P.args, **named: _P.kwargs) -> _A:
        try:
            return action(*given, **named)
        except VaultLayerError as error:
            error.__cause__ = error.__context__ = None
            refusal = error.with_traceback(None)
        del given, named
        raise refusal

    return run


@without_frames
def backup(job: Job, file: Path, deal: tuple[int, int] | None, folder: Path | None) -> Backup:
    """Write all KEKs that still open something into ``file``, which must not exist.

    ``deal`` (k, n): make a new recovery key and put its shares into ``folder``; needed the first
    time. The order: shares on disk and tried, then the key's record, then the file.
    """
    with job.keys() as connection:
        row = connection.execute(_NEWEST_RECOVERY).first()
        if deal is None and row is None:
            raise ConfigurationError(
                "there is no recovery key yet, so nobody could open a backup",
                hint="deal its shares: --shares 3/5 --shares-to FOLDER",
            )
        keks = [
            (row_, job.vault.keys.keks.unwrapped(row_))
            for row_ in connection.execute(RECORD.where(_K.state != states.ERASED)).all()
        ]
    made = Backup(file, "", "", len(keks))
    if deal is not None or row is None:
        key = _dealt(job, made, deal or (0, 0), folder)
    else:
        key = _recovery_key(job, row)
        with job.keys() as connection:  # before the version that wrapped it may be destroyed
            _keep(job, connection, key, row.shares)
        made.shares = row.shares
    made.recovery = key_id_for(key).hex()
    saved = {SavedKek(r.kek_id.hex(), r.tenant, r.region, r.epoch, r.state): k for r, k in keks}
    text = sealed_backup(key, made.shares, datetime.now(UTC).isoformat(timespec="seconds"), saved)
    del key, saved, keks
    publish(file, text)
    job.record("backed_up", f"{made.keks} KEK(s) in {file.name}", count=made.keks)
    return made


@without_frames
def restore(job: Job, file: Path, shares: Iterable[str]) -> int:
    """Put the backup's KEKs back, wrapped by today's providers; returns how many.

    Those of an epoch that ended stay destroyed. Nothing else is touched.
    """
    document, key = read_backup(file), secret_sharing().combine(shares)
    keks = opened_backup(document, key)
    with job.vault.databases.keys(None, check=False) as connection:
        # SQLite has one writer at a time: the first write waits for it, a read before would not.
        connection.execute(sa.update(tables.kek).where(_K.kek_id == b"").values(epoch=0))
        put = sum(_put(job, connection, saved, keks[saved]) for saved in keks)
        _keep(job, connection, key, document["shares"])
        if job.dry_run:
            connection.rollback()
    del keks, key
    if not job.dry_run:
        job.vault.keys.keks.forget()
        job.record("restored", f"{put} KEK(s) restored from {file.name}", count=put)
    return put


def _dealt(job: Job, made: Backup, deal: tuple[int, int], folder: Path | None) -> bytes:
    """A new recovery key, its shares on disk and tried, and then its record."""
    if folder is None:
        raise ConfigurationError(
            "shares are dealt into files", hint="name a folder for them: --shares-to FOLDER"
        )
    sharing, key = secret_sharing(), os.urandom(KEY_BYTES)
    made.shares = f"{deal[0]} of {deal[1]}"
    words = sharing.split(key, *deal)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for number, share in enumerate(words, 1):
        made.share_files.append(folder / f"share-{number}-of-{deal[1]}.txt")
        publish(made.share_files[-1], share + "\n")
    drawn = secrets.SystemRandom().sample(made.share_files, deal[0])
    if sharing.combine(path.read_text("utf-8") for path in drawn) != key:
        raise IntegrityError("the shares don't give the key back", hint="don't use them")
    with job.keys() as connection:
        _keep(job, connection, key, made.shares)
    job.record("dealt", f"a recovery key was dealt, {made.shares}", count=deal[1])
    return key


def _keep(job: Job, connection: Connection, key: bytes, shares: str) -> None:
    """The recovery key's record, wrapped by the provider's newest version of today."""
    recovery_id, provider = key_id_for(key), job.vault.keys.keks.provider("")
    new = {
        "provider": provider.name,
        "wrapped": provider.wrap(key, recovery_aad(recovery_id, shares)),
    }
    there = _R.recovery_id == recovery_id
    if not connection.execute(sa.update(tables.recovery).where(there).values(new)).rowcount:
        last = connection.scalar(sa.select(sa.func.max(_R.created))) or 0
        created = max(int(time.time()), last + 1)  # the newest is the one in use
        row = {"recovery_id": recovery_id, "shares": shares, "created": created, **new}
        connection.execute(tables.recovery.insert(), row)


@without_frames
def keep_recovery_key(job: Job) -> None:
    """Wrap the recovery key in use anew, before the version that wrapped it may be destroyed."""
    with job.keys() as connection:
        row = connection.execute(_NEWEST_RECOVERY).first()
        if row is not None:
            _keep(job, connection, _recovery_key(job, row), row.shares)


def _recovery_key(job: Job, row: Any) -> bytes:
    provider = job.vault.keys.keks.providers.that_wrapped(row.provider, "")
    key = provider.unwrap(row.wrapped, recovery_aad(row.recovery_id, row.shares))
    if not check_key(key, row.recovery_id):
        del key
        raise IntegrityError(
            "the recovery key's record is damaged", hint="deal new shares: --shares 3/5"
        )
    return key


def opened(file: Path, shares: Iterable[str]) -> dict[SavedKek, bytes]:
    document = read_backup(file)
    return opened_backup(document, secret_sharing().combine(shares))


def _put(job: Job, connection: Connection, saved: SavedKek, key: bytes) -> bool:
    """One KEK into its record, or a new one; False when its epoch has ended."""
    kek_id = bytes.fromhex(saved.kek_id)
    there = connection.execute(RECORD.where(_K.kek_id == kek_id)).one_or_none()
    if there is not None and there.state == states.ERASED:
        return False
    if there is None:
        row = record_of(job.vault.keys, saved, key, _state(connection, saved))
        connection.execute(tables.kek.insert(), row)
        return True
    if (there.tenant, there.region, there.epoch) != (saved.tenant, saved.region, saved.epoch):
        raise IntegrityError(
            "a KEK's record isn't the one that was backed up", hint="restore the key tables first"
        )
    row = record_of(job.vault.keys, saved, key, there.state)
    new = {name: row[name] for name in ("provider", "wrapped")}
    connection.execute(sa.update(tables.kek).where(_K.kek_id == kek_id).values(new))
    return True


def _state(connection: Connection, saved: SavedKek) -> str:
    """Another KEK that took over meanwhile stays the one to wrap with."""
    place = (_K.tenant == saved.tenant, _K.region == saved.region, _K.state == states.ACTIVE)
    active = connection.execute(sa.select(_K.kek_id).where(*place)).first()
    return states.DECRYPT_ONLY if active and saved.state == states.ACTIVE else saved.state


def record_of(keys: Keys, saved: SavedKek, key: bytes, state: str) -> dict[str, Any]:
    """A KEK's record, wrapped by its region's provider of today."""
    kek_id, now = bytes.fromhex(saved.kek_id), int(time.time())
    place = (saved.tenant, saved.region, saved.epoch, kek_id)
    wrapped = keys.keks.wrapped(key, *place, added=state == states.ADDED)
    return {
        "kek_id": kek_id,
        "tenant": saved.tenant,
        "region": saved.region,
        "epoch": saved.epoch,
        "state": state,
        "provider": keys.keks.provider(saved.region).name,
        "wrapped": wrapped,
        "created": now,
        "changed": now,
    }
