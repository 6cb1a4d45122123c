"""The audit trail of one process: journal, log and notary, opened and closed together."""

from __future__ import annotations

import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from vaultlayer.audit.files import DEADLINE
from vaultlayer.audit.heads import Conflict, heads_at
from vaultlayer.audit.journal import Journal
from vaultlayer.audit.log import Log
from vaultlayer.audit.notary import Notary
from vaultlayer.audit.recover import recover
from vaultlayer.audit.witness import Witness
from vaultlayer.errors import AuditUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from vaultlayer.audit.heads import Provider
    from vaultlayer.audit.sinks.group import Sinks
    from vaultlayer.settings import Settings


class Trail:
    """Everything under one audit directory that this process writes."""

    def __init__(self, settings: Settings, provider: Provider, sinks: Sinks) -> None:
        """Finish what dead processes left, compare the log with its heads, begin a shard.

        :raises AuditUnavailable: the directory can't be used, or holds an older state of the log.
        """
        directory, durability = settings.audit_directory, settings.durability
        witnesses = [Witness.parse(text) for text in settings.witnesses]
        recover(directory)
        self.notary = Notary(directory, heads_at(settings.database), provider, witnesses)
        try:
            self.notary.check_heads()
        except Conflict:
            raise
        except AuditUnavailable:
            pass  # no database or no tables yet: asked again before the first access
        self.log = Log(directory, durability=durability, sinks=sinks)
        self.journal = Journal(directory, durability=durability, log=self.log)
        sinks.catch_up(directory)
        self.notary.attend(self.log, self.journal)

    def begin(self) -> None:
        """Have the shard registered before an access is entered.

        Its session may hold a database's only writer later, which registering needs too. What
        fails here is told by the access's first note.
        """
        if not self.notary.registration.is_over:
            with suppress(AuditUnavailable):
                self.notary.check(DEADLINE)

    def close(self) -> None:
        """Write what the journal still holds into the log, sign that, and let go of the files."""
        try:
            self.journal.close()
        finally:
            try:
                self.log.close()
            finally:
                self.notary.close()

    def finish(self, temporary: Path | None = None) -> None:
        """What ``close`` does, for a vault that is dropped; remove a temporary one's folder."""
        if temporary is not None:
            self.notary.discard()
        with suppress(AuditUnavailable):  # nobody to tell: what can't be logged is recovered later
            self.close()
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
