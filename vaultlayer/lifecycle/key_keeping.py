"""``vault.keys`` as people use it: the keys a session asks for, and what is done to them all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

from vaultlayer.access.context import CURRENT, no_access
from vaultlayer.errors import ConfigurationError
from vaultlayer.keys.keyring import Keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime
    from pathlib import Path
    from uuid import UUID

    from vaultlayer.lifecycle.backups import Backup
    from vaultlayer.lifecycle.epochs import Epoch
    from vaultlayer.lifecycle.job import Job, Report
    from vaultlayer.vault import Vault

What = Literal["provider", "kek", "subject", "index"]


class VaultKeys(Keys):
    """``vault.keys``. Exchanging keys needs an access whose role may ``administer`` every field.

    Each of these is done online and by one process at a time, goes on where a killed one stopped,
    and ends with proof: ``report.ok``, ``report.proofs``.
    """

    def __init__(self, vault: Vault, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._vault = vault

    def rotate(
        self,
        what: What,
        *,
        region: str | None = None,
        tenant: str | None = None,
        subject_id: UUID | None = None,
        dry_run: bool = False,
        wait: float | None = None,
        progress: Callable[[str, int], None] | None = None,
    ) -> Report:
        """Exchange the provider's key, the KEKs, the subject keys or the index roots.

        :param region: for provider and kek; by default the settings' own.
        :param tenant: for subject and index: only this tenant's.
        :param subject_id: for subject: only this person's.
        :param wait: seconds for every process to learn of a new key; by default ``[keys] ttl``.
        :param progress: called with what is being done and how many rows more are done.
        """
        if what not in get_args(What):
            raise ConfigurationError(
                f"there is no key {what!r} to rotate", hint=f"one of {', '.join(get_args(What))}"
            )
        from vaultlayer.lifecycle import rotate_keks, rotate_lower

        job = self._job(what, dry_run, wait, progress)
        where = self.keks.region if region is None else region
        with job.lease():
            if what == "kek":
                rotate_keks.rotate_kek(job, where)
            elif what == "provider":
                rotate_keks.rotate_provider(job, where)
            elif what == "index":
                rotate_lower.rotate_index(job, tenant)
            else:
                subject = subject_id.bytes if subject_id is not None else None
                rotate_lower.rotate_subject(job, tenant, subject)
        return job.report

    def reseal(
        self, *, dry_run: bool = False, progress: Callable[[str, int], None] | None = None
    ) -> Report:
        """Seal and index anew whatever is under a former key or root, after a restore say."""
        job = self._job("subject", dry_run, None, progress)
        with job.lease():
            job.reseal(keys=True, terms=True)
            if not dry_run:
                proof = job.report.proofs[0]
                job.record("resealed", "", left=proof.left, count=proof.of)
        return job.report

    def epochs(self) -> list[Epoch]:
        """Every epoch, what it still protects, and from when its keys may be destroyed."""
        from vaultlayer.lifecycle.epochs import epochs

        with self._vault.databases.keys(None) as connection:
            return epochs(self._vault, connection)

    def end_epoch(
        self, epoch: int, *, region: str | None = None, dry_run: bool = False
    ) -> datetime | None:
        """Destroy an epoch's KEKs and its provider key; the moment from which that is final."""
        from vaultlayer.lifecycle.epochs import end_epoch

        job = self._job("epoch", dry_run, None, None)
        with job.lease():
            return end_epoch(job, self.keks.region if region is None else region, epoch)

    def backup(
        self, file: Path, *, shares: tuple[int, int] | None = None, folder: Path | None = None
    ) -> Backup:
        """Write the KEKs into a new file, under a recovery key that people hold shares of.

        :param shares: (k, n) deals a new recovery key, of whose n shares k are needed; wanted
            the first time, and whenever a holder leaves.
        :param folder: where the n share files go, to be handed out and not kept together.
        """
        from vaultlayer.lifecycle.backups import backup

        job = self._job("backup", False, None, None)
        with job.lease():
            return backup(job, file, shares, folder)

    def restore(self, file: Path, shares: Iterable[str], *, dry_run: bool = False) -> int:
        """Put a backup's KEKs back under today's providers; how many. Brings no erased key back.

        :param shares: the words of k shares.
        """
        from vaultlayer.lifecycle.backups import restore

        job = self._job("backup", dry_run, None, None)
        with job.lease():
            return restore(job, file, shares)

    def drill(self, file: Path, shares: Iterable[str]) -> Report:
        """Restore a backup into a scratch vault, open a sample with it, and record the outcome."""
        from vaultlayer.lifecycle.drill import drill

        return drill(self._job("backup", False, None, None), file, shares)

    def _job(
        self,
        what: str,
        dry_run: bool,
        wait: float | None,
        progress: Callable[[str, int], None] | None,
    ) -> Job:
        from vaultlayer.lifecycle.job import Job, Report

        access = CURRENT.get()
        if access is None:
            raise no_access("keys were to be exchanged")
        return Job(
            self._vault, access, Report(what, dry_run), wait=wait, progress=progress
        )
