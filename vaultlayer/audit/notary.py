"""The notary: signs how far the log has come, each second, outside of every read.

A thread per process. Each round looks whether the trail's files are still there, brings the
log's new lines to the disk, grows the shard's tree by them, signs its head, swaps it in the
store of heads, and only then publishes it (the order of Sunlight).
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from vaultlayer.audit.files import DEADLINE, at_exit_and_fork, persist, unavailable
from vaultlayer.audit.follow import Follower, check_heads, seal_dead, stand, stored_heads
from vaultlayer.audit.forks import fork_between_rounds
from vaultlayer.audit.heads import Conflict, MissingTables
from vaultlayer.audit.registration import REGISTERED, Registration
from vaultlayer.audit.registry import Signing, opened
from vaultlayer.errors import AuditUnavailable, VaultLayerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from vaultlayer.audit.heads import Head, Heads, Provider
    from vaultlayer.audit.journal import Journal
    from vaultlayer.audit.log import Log
    from vaultlayer.audit.registry import Publisher, Registry
    from vaultlayer.audit.witness import Witness

ROUND = 1.0  # seconds between two rounds
HEARTBEAT = 60.0  # seconds after which an idle process says that it is there
WITNESS = 60.0  # seconds between two heads that witnesses are asked to sign
MAX_LAG = 60.0  # seconds without a signature after which accesses are refused

_logger = logging.getLogger("vaultlayer.audit")


class Notary:
    """Signs the log of one process. Any thread may ask ``check``; the rest is its own."""

    _log: Log
    _journal: Journal
    _publisher: Publisher
    _own = ""
    working: threading.Lock  # held while a round is on

    def __init__(
        self,
        directory: Path,
        heads: Heads,
        provider: Provider,
        witnesses: Sequence[Witness] = (),
    ) -> None:
        self.heads, self._witnesses = heads, witnesses
        self._directory, self._provider = directory, provider
        self._signing: Signing | None = None
        self._failure = ""
        self._is_checked = self._is_attending = self._closed = False
        self.release()
        at_exit_and_fork(self)
        fork_between_rounds(weakref.ref(self))

    def attend(self, log: Log, journal: Journal) -> None:
        """Watch over these from now on; the thread starts with the first access."""
        self._log, self._journal, self._is_attending = log, journal, True
        log.before_use, self._own = self.check, log.shard

    def check_heads(self) -> None:
        """Compare the log with its stored heads, once (``Conflict``), where they can be had."""
        try:
            check_heads(self._directory, self.heads)
        except Conflict as error:
            self._fail(error)
            raise
        self._is_checked = True

    def check(self, patience: float = REGISTERED) -> None:
        """Refuse an access that begins while the log can't be vouched for."""
        if self._failure:
            raise unavailable(self._failure)
        if not self._is_checked:
            self.check_heads()
        rounds = self.registration.rounds
        if self._thread is None:
            self._start()
        in_round = self._rounding == threading.get_ident()
        if not (self.registration.is_over or in_round) and self._log.shard:  # a forked child's is
            self.registration.wait(patience, rounds)  # not begun yet: it asks again once it is
        lag = time.monotonic() - self._signed
        if lag > MAX_LAG:
            raise unavailable(f"the audit log wasn't signed for {lag:.0f} s", self._trouble)

    def sign_now(self) -> None:
        """Do a round at once, for who needs a signature over what was just written."""
        with self.working:
            self._round()

    def close(self) -> None:
        """Sign the shard to its end, once the log is closed; what can't be is left to others."""
        self._stop.set()
        with suppress(RuntimeError):  # the interpreter ends and starts no thread any more
            self._start()
        self._closed = True
        if self._thread is not None:
            self._thread.join(DEADLINE)

    def release(self) -> None:
        """Forget the thread and the shard: in a forked child they are the parent's."""
        self._thread: threading.Thread | None = None
        self._follower: Follower | None = None
        self._trouble: Exception | None = None
        self._guard, self.working = threading.Lock(), threading.Lock()
        self._stop, self.registration = threading.Event(), Registration()
        self._signed = self._spoke = time.monotonic()
        self._next_witness, self._rounding = 0.0, 0

    def discard(self) -> None:
        """End the thread without a signature: the folder is about to go."""
        self._failure, self._closed = "the audit log was closed", True
        self.close()

    def _start(self) -> None:
        with self._guard:
            if self._thread is None and not self._closed and self._is_attending:
                self._signed = self._spoke = time.monotonic()
                self._thread = threading.Thread(target=self._run, name="notary", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            with self.working:
                self._round()
            self._stop.wait(ROUND)
        if not self._failure:
            with self.working, suppress(VaultLayerError, OSError):  # else the next process does it
                self._settle()

    def _round(self) -> None:
        self._rounding = threading.get_ident()
        self.registration.rounds += 1
        try:
            self._watch()
            self._sign()
            self._witness()
            self._signed, self._trouble = time.monotonic(), None
        except Conflict as error:
            self._fail(error)
        except Exception as error:  # whatever it is, the next round tries again, until MAX_LAG
            self._trouble = error
            self._is_checked &= not isinstance(error, MissingTables)
            self.registration.failed(error)
        self._rounding = 0

    def _watch(self) -> None:
        self._journal.watch()
        if self._log.due:
            self._register(self._log.prepare_next())
            self._journal.rotate()
        if time.monotonic() - self._spoke > HEARTBEAT:
            self._log.write("heartbeat")
            self._spoke = time.monotonic()

    def _sign(self) -> None:
        written = self._log.written()
        if written is None:
            return
        follower = self._follower
        if follower is None or follower.path != written.path:
            follower = self._begin(written.path)
        if follower is None:
            return
        if self._trouble is not None:
            rows = stored_heads(self.heads, self._directory, self._publisher.origin)
            follower.settle(rows.get(f"{self._publisher.origin}/{follower.name}"))
        if follower.published == written.records:
            return
        self._log.sync()
        follower.advance(written.bytes)
        if not follower.is_chained or follower.prev != written.prev:
            raise Conflict("the audit log was changed by someone else while it was written")
        follower.publish(self._publisher)
        self._spoke = time.monotonic()

    def _witness(self) -> None:
        """Tell the registry how far the shard has come, so that witnesses sign that too."""
        follower = self._follower
        if follower is not None and self._witnesses and time.monotonic() > self._next_witness:
            self._next_witness = time.monotonic() + WITNESS
            with self._registry() as registry:
                head = self._rows(registry).get(registry.origin)
                registry.append([stand(follower, "head")], head)

    def _begin(self, path: Path) -> Follower | None:
        """Seal what has ended, the process's own former shard too, and register this one.

        None where it has ended too by now: another thread made the log go on in the next.
        """
        self._settle()
        if not self._register(path):
            return None
        self._follower = Follower(path, keep=True)
        self.registration.over()
        return self._follower

    def _register(self, path: Path) -> bool:
        """Tell the registry of a shard, once; False where it has ended."""
        with self._registry() as registry:
            self._publisher = registry.publisher
            known = registry.state().get(path.stem, {}).get("event")
            if known is None:
                persist(path)  # a power cut must not take what the registry knows of
                persist(path.parent)
                head = self._rows(registry).get(registry.origin)
                registry.append([{"event": "shard", "shard": path.stem}], head)
            return known != "sealed"

    def _settle(self) -> None:
        with self._registry() as registry:
            seal_dead(registry, self.heads, self._follower, self._own)

    @contextmanager
    def _registry(self) -> Iterator[Registry]:
        if self._signing is None:
            signer = self.heads.signer(self._provider)
            self._signing = Signing(signer, self.heads, self._witnesses)
        with opened(self._directory, self._signing) as registry:
            yield registry
        for why in registry.unwitnessed:
            _logger.warning("%s", why)

    def _rows(self, registry: Registry) -> dict[str, Head]:
        return stored_heads(self.heads, self._directory, registry.origin)

    def _fail(self, error: Conflict) -> None:
        self._failure = error.message
        self.registration.over(error.message)
        if self._is_attending:
            self._log.fail(error.message)
            with suppress(AuditUnavailable):
                self._journal.watch()
