"""The policies in force: one snapshot, looked at again when its source changes, never by half.

A bundle that is not valid, or whose own tests fail, never replaces a good one: it is told of
once, and the good one goes on. A snapshot that can't be confirmed any more, because its source
is gone or bad, counts for ``max_age`` seconds.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from vaultlayer.access.bundle import bundle_of
from vaultlayer.access.check import failed_tests
from vaultlayer.access.snapshot import Snapshot
from vaultlayer.errors import PolicyError
from vaultlayer.forks import in_child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vaultlayer.access.check import Finding
    from vaultlayer.access.source import Source

EVERY = 1.0  # seconds between two looks at the source
AGAIN = 60.0  # until a version that may not take effect yet is asked for again
_ATTEMPTS = 3  # to read files that are being written
_logger = logging.getLogger("vaultlayer")


class Policies:
    """The snapshot in force, and since when it is known to be what its source says.

    Any number of threads may look; one of them reads, the others go on with what there is.

    :param check: what else is wrong with a snapshot, such as rules that don't fit the models.
    :param permit: raises PolicyError for a good snapshot that may not take effect, or not yet.
    :param tell: called with "loaded" or "refused", the snapshot in force, and the refusal.
    """

    def __init__(
        self,
        source: Source,
        *,
        max_age: float,
        check: Callable[[Snapshot], Iterable[Finding]] = lambda _: (),
        permit: Callable[[Snapshot], None] = lambda _: None,
        tell: Callable[[str, Snapshot, PolicyError | None], None] = lambda *_: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._max_age = max_age
        self._check = check
        self._permit = permit
        self._tell = tell
        self._clock = clock
        self._reading = threading.Lock()
        self._hurry = False
        self._refused: Any = None  # the stamp of a bad bundle, which is not read again
        self._waiting: Any = None  # the stamp of a good one that may not take effect yet
        self._ask_again = 0.0
        self._trouble = ""  # what was told of last
        self._stamp, self.snapshot = self._read()
        self._last = self._stamp  # what the last look saw
        self._confirmed = self._clock()
        self._next = self._confirmed + EVERY
        in_child(self._forked)

    @property
    def fresh_until(self) -> float:
        """The time, on the monotonic clock, up to which the snapshot counts."""
        return self._confirmed + self._max_age

    def look(self) -> None:
        """Load the bundle anew if its source has changed; asks once a second at most.

        A change is taken up once it has lasted from one look to the next, so that files are not
        read while they are being written.
        """
        if self._clock() < self._next or not self._reading.acquire(blocking=False):
            return
        try:
            self._next = self._clock() + EVERY
            self._look()
        except PolicyError as error:
            self._say("refused", error)
        finally:
            self._reading.release()

    def reload(self) -> None:
        """Load the bundle now. A bad one raises PolicyError, and the good one stays."""
        with self._reading:
            try:
                self._load()
            except PolicyError as error:
                self._say("refused", error)
                raise

    def soon(self) -> None:
        """Have the next look ask at once, and take up what it finds; safe in a signal handler."""
        self._hurry, self._next = True, 0.0

    def hold(self, snapshot: Snapshot) -> None:
        """Enforce this one, the version in force, while the source's own may not take effect."""
        if snapshot is not self.snapshot:
            with self._reading:
                self._wait_with(self._stamp)
                self._stamp, self.snapshot = None, snapshot
            self._tell("loaded", snapshot, None)

    def heard(self, _: str) -> None:
        """Another process says that the policies changed."""
        self.soon()
        self.look()

    def _forked(self) -> None:
        """In a forked child: whoever held a lock is not there."""
        self._reading = threading.Lock()
        self.snapshot.forked()

    def _look(self) -> None:
        stamp = self._source.stamp()
        lasting = self._hurry or stamp == self._last
        self._last, self._hurry = stamp, False
        if stamp == self._stamp:
            self._confirmed, self._trouble = self._clock(), ""
        elif stamp == self._waiting:
            self._confirmed = self._clock()
            if self._confirmed >= self._ask_again:
                self._load()
        elif lasting and stamp != self._refused:
            self._refused = stamp
            self._load()

    def _load(self) -> None:
        stamp, snapshot = self._read()
        self._wait_with(stamp)
        self._permit(snapshot)
        self._stamp, self.snapshot, self._waiting = stamp, snapshot, None
        self._confirmed, self._refused, self._trouble = self._clock(), None, ""
        self._say("loaded")

    def _wait_with(self, stamp: Any) -> None:
        self._waiting, self._ask_again = stamp, self._clock() + AGAIN

    def _read(self) -> tuple[Any, Snapshot]:
        for _ in range(_ATTEMPTS):
            stamp = self._source.stamp()
            snapshot = Snapshot(bundle_of(self._source.files()))
            if self._source.stamp() == stamp:
                break
        else:
            raise PolicyError(
                "the policies change while they are being read",
                hint="write the new bundle beside the old one, and rename it into its place",
            )
        for found in (*failed_tests(snapshot), *self._check(snapshot)):
            raise PolicyError(f"{found.where}: {found.message}", hint=found.hint)
        return stamp, snapshot

    def _say(self, change: str, error: PolicyError | None = None) -> None:
        if error is not None:
            if str(error) == self._trouble:
                return
            self._trouble = str(error)
            _logger.error("the new policies are refused, the old ones stay: %s", error)
        self._tell(change, self.snapshot, error)
