"""Who waits for the process's shard to be in the registry, and how long.

Nothing is noted for a shard that nobody has heard of: that is how planted ones look.
"""

from __future__ import annotations

import threading

from vaultlayer.audit.files import unavailable
from vaultlayer.audit.heads import MissingTables
from vaultlayer.errors import AuditUnavailable, VaultLayerError

REGISTERED = 10.0  # seconds a process's first access waits for its shard to be registered


class Registration:
    """Of one shard: tried in each round of the notary, waited for by the accesses that begin."""

    def __init__(self) -> None:
        self.is_over = False  # registered, or never to be
        self.rounds = 0  # begun so far
        self._hopeless = 0  # the last one whose trouble no waiting would mend
        self._failure = ""
        self._trouble: Exception | None = None
        self._changed = threading.Condition()

    def over(self, failure: str = "") -> None:
        """Nobody need wait any more: it is registered, or its log has failed."""
        with self._changed:
            self.is_over, self._failure = True, failure
            self._changed.notify_all()

    def failed(self, trouble: Exception) -> None:
        """A round came to nothing. A busy database or registry may have time in the next."""
        is_busy = isinstance(trouble, AuditUnavailable) and not isinstance(trouble, MissingTables)
        with self._changed:
            self._trouble = trouble
            if isinstance(trouble, VaultLayerError) and not is_busy:
                self._hopeless = self.rounds
                self._changed.notify_all()

    def wait(self, patience: float, rounds: int) -> None:
        """Return once it is registered; ``AuditUnavailable`` when that takes too long, or can't be.

        ``rounds`` had begun when the access did: what was wrong then (no tables yet) may be right
        by now.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.is_over or self._hopeless > rounds, patience)
        if self._failure:
            raise unavailable(self._failure)
        if not self.is_over:
            raise unavailable("the audit log's file can't be registered", self._trouble)
