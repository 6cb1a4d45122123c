"""Delivery: a bounded queue and a thread for each sink, so that none waits for another.

The local log is written first, always. What it has is then put into every queue. A sink that is
required is waited for; one that is not loses its oldest records when it can't keep up, and that
is counted, told in the log, and seen in ``states``.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from vaultlayer.audit.files import DEADLINE
from vaultlayer.audit.sinks.position import Orphan, Positions, orphans
from vaultlayer.audit.sinks.sink import Record
from vaultlayer.errors import AuditUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from vaultlayer.audit.sinks.sink import Sink

QUEUE = 20_000  # records; about 20 MB
BATCH = 500
FIRST_WAIT, LONGEST_WAIT = 0.1, 2.0  # seconds between two attempts, doubled each time


@dataclass(frozen=True, slots=True)
class SinkState:
    """One sink as it is now. ``lag``: seconds its oldest undelivered record has waited."""

    name: str
    required: bool
    failing: str  # the kind of its last error; "" when the last attempt worked
    queued: int
    delivered: int
    lost: int
    failures: int
    lag: float


class Delivery:
    """One sink, its queue and its thread, which starts with the first record.

    ``report(event, fields)`` is called from that thread when the sink begins to fail and when it
    works again.
    """

    def __init__(
        self,
        name: str,
        open_sink: Callable[[], Sink],
        *,
        form: str = "native",
        required: bool = False,
        most: int = QUEUE,
    ) -> None:
        self.name, self.required = name, required
        self.report: Callable[[str, dict[str, Any]], None] = lambda *_: None
        self.on_failure: Callable[[], None] = lambda: None
        self._open, self._form, self._most = open_sink, form, most
        self.delivered = self.lost = self.failures = 0
        self._sink: Sink | None = None
        self._positions = Positions(name)
        self.release()

    def begin(self, directory: Path, shard: str, *, power: bool) -> None:
        """Records of this shard will come; those that are not sent in the end are sent later."""
        self._positions.begin(directory, shard, power=power)

    def catch_up(self, directory: Path) -> None:
        """Send what processes that are gone left, whenever nothing else waits."""
        with self._changed:
            self._orphans.extend(orphans(directory, self.name, self._form))
            if self._orphans:
                self._start()
                self._changed.notify_all()

    def release(self) -> None:
        """Forget queue and connection. In a forked child: they are the parent's."""
        self._changed = threading.Condition()
        self._queue: deque[tuple[float, bytes]] = deque()
        self._orphans: deque[Orphan] = deque()
        self._positions.release()
        self._sending = 0  # of the queue's first ones, how many are on their way
        self._taken = self.delivered  # records ever queued
        self._thread: threading.Thread | None = None
        # Kept, or the child's garbage collector would say goodbye over the parent's connection.
        self._parents, self._sink = self._sink, None
        self._failing = ""
        self._closing = False

    def put(self, lines: Sequence[bytes]) -> None:
        """Queue lines of the log; never waits for the sink."""
        now = time.monotonic()
        with self._changed:
            self._queue.extend((now, line) for line in lines)
            self._taken += len(lines)
            excess = len(self._queue) - self._most
            if excess > 0 and not self.required:
                self._drop(excess)
            self._start()
            self._changed.notify_all()

    def check(self) -> None:
        """Raise ``AuditUnavailable`` where the sink is required and known not to work."""
        if self.required and (self._failing or self._lag() > DEADLINE):
            raise self._unavailable()

    def settle(self, deadline: float) -> None:
        """Wait until a required sink has everything; ``AuditUnavailable`` if it fails or is late.

        ``deadline`` is on the monotonic clock.
        """
        if not self.required:
            return
        with self._changed:
            target = self._taken
            done = self._changed.wait_for(
                lambda: self.delivered >= target or bool(self._failing), deadline - time.monotonic()
            )
        if not done:
            self._failed(f"no answer for {DEADLINE:g} s")
        if self._failing:
            raise self._unavailable()

    def close(self, deadline: float) -> None:
        """Give the queue until ``deadline`` to empty itself, then end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._positions.close()

    def state(self) -> SinkState:
        counts = len(self._queue), self.delivered, self.lost, self.failures
        return SinkState(self.name, self.required, self._failing, *counts, round(self._lag(), 3))

    def _lag(self) -> float:
        try:
            return time.monotonic() - self._queue[0][0]
        except IndexError:
            return 0.0

    def _drop(self, excess: int) -> None:
        """Lose the oldest records that are not on their way just now."""
        on_their_way = [self._queue.popleft() for _ in range(self._sending)]
        for _ in range(min(excess, len(self._queue))):
            self._queue.popleft()
            self.lost += 1
        self._queue.extendleft(reversed(on_their_way))

    def _start(self) -> None:
        if self._thread is None:
            name = f"vaultlayer sink {self.name}"
            self._thread = threading.Thread(target=self._run, name=name, daemon=True)
            self._thread.start()

    def _run(self) -> None:
        wait = FIRST_WAIT
        while (due := self._next())[0]:
            batch, orphan = due
            is_new = self._sink is None
            try:
                self._sink = self._sink or self._open()
                self._sink.send(batch)
            except Exception as error:
                self._let_go()
                if not is_new:
                    continue  # its connection may have grown old: once more, with a new one
                self._failed(type(error).__name__)
                with self._changed:
                    if self._changed.wait_for(lambda: self._closing, wait):
                        break
                wait = min(2 * wait, LONGEST_WAIT)
            else:
                self._sent(batch, orphan)
                wait = FIRST_WAIT
        self._let_go()

    def _next(self) -> tuple[list[Record], Orphan | None]:
        """The next records, once there are some, and whose; none when the delivery ends."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closing or self._orphans)
                lines = [line for _, line in islice(self._queue, BATCH)]
                self._sending = len(lines)
            if lines or self._closing:
                return [Record.of(line, self._form) for line in lines], None
            orphan = self._orphans[0]
            if records := orphan.records(BATCH):
                return records, orphan
            self._orphans.popleft()

    def _sent(self, batch: Sequence[Record], orphan: Orphan | None) -> None:
        if orphan is None:
            self._positions.advance([record.event for record in batch])
        else:
            orphan.sent()
        with self._changed:
            for _ in range(self._sending):
                self._queue.popleft()
            self.delivered += self._sending
            self._sending = 0
            recovered, self._failing = self._failing, ""
            self._changed.notify_all()
        if recovered:
            self._tell("sink_recovered", lost=self.lost, failures=self.failures)

    def _failed(self, kind: str) -> None:
        with self._changed:
            self.failures += 1
            first, self._failing = not self._failing, kind
            self._changed.notify_all()
        if first:
            with suppress(AuditUnavailable):
                self.on_failure()
            self._tell("sink_failed", error=kind)

    def _let_go(self) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            with suppress(Exception):  # it is broken already
                sink.close()

    def _tell(self, event: str, **fields: object) -> None:
        with suppress(AuditUnavailable):  # the log itself has trouble, and says so to readers
            self.report(event, {"sink": self.name, "required": self.required, **fields})

    def _unavailable(self) -> AuditUnavailable:
        why = f" ({self._failing})" if self._failing else ""
        return AuditUnavailable(
            f"the required audit sink {self.name} doesn't take records{why}",
            hint="bring it back: reads go on by themselves once it has what it missed",
        )
