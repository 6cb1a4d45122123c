"""The audit log of one process: the shard it writes, and the next when that is large or old."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaultlayer.audit.event import check_plain
from vaultlayer.audit.files import (
    Durability,
    File,
    Guard,
    at_exit_and_fork,
    folder,
    unavailable,
)
from vaultlayer.audit.shard import Shard
from vaultlayer.audit.sinks.group import Sinks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

SHARD_BYTES = 64 << 20  # a shard of this size, or age, is ended and the next one begun
SHARD_SECONDS = 24 * 3600.0

_CLOSED = "the audit log is closed"


@dataclass(frozen=True, slots=True)
class Written:
    """How far a shard had come at a moment: its file, bytes, records, and the next ``prev``."""

    path: Path
    bytes: int
    records: int
    prev: str


class Log:
    """The shard ``<directory>/log/<shard>.jsonl``, from its ``open`` record to its ``close``.

    While it is open it holds the file's lock (``flock``): that is how ``recover`` and
    ``verify`` tell a living process from a dead one. Any thread may write. A forked child
    goes on in a shard of its own, started by its first write.
    """

    _guard: Guard
    _shard: Shard | None = None
    _coming: Shard | None = None  # begun already, not told of yet
    _next: Shard | None = None  # noted for already, written to after ``turn``
    torn = b""

    def __init__(
        self, directory: Path, *, durability: Durability = "process", sinks: Sinks | None = None
    ) -> None:
        self.directory = Path(directory)
        self.sinks = sinks or Sinks()
        self.told: Counter[tuple[str, str, str]] = Counter()  # values by event, decision, code
        self.people = 0  # log_refs in those events: whose keys were needed, once an event
        self.sinks.report_to(self._report)
        self.before_use: Callable[[], None] = _nothing  # asked by ``check``; may refuse
        self._power = durability == "power"
        self._closed = self._failed = ""
        self.release()
        self.ready()
        self.sinks.settle()
        at_exit_and_fork(self)

    @classmethod
    def resume(cls, directory: Path, shard: str) -> Log | None:
        """The log of a dead process, to be gone on with; None when the process is alive.

        What follows the last newline, a record the crash cut off, is taken off into
        ``.torn``. Nothing is written yet.
        """
        resumed = Shard.resume(Path(directory) / "log" / f"{shard}.jsonl")
        if resumed is None:
            return None
        log = cls.__new__(cls)
        log.directory, log._power, log.before_use = Path(directory), True, _nothing
        log._closed = log._failed = ""
        log.sinks, log.told, log.people = Sinks(), Counter(), 0
        log.release()
        log._shard, log.torn = resumed
        return log

    @property
    def shard(self) -> str:
        """The name of the shard that is written to; empty where there is none yet."""
        return self._shard.name if self._shard else ""

    @property
    def path(self) -> Path:
        return self.directory / "log" / f"{self.shard}.jsonl"

    @property
    def _file(self) -> File | None:
        return self._shard.file if self._shard else None

    def ready(self) -> str:
        """The name of the newest shard; starts one where there is none (in a forked child).

        Refused while a required sink is known to fail: nothing can be noted for the shard then.
        A shard that is started is vouched for (``before_use``) before anything is noted for it.
        """
        self.sinks.check()
        with self._guard:
            is_new = self._shard is None
            self._start().begin()
            name = self._next.name if self._next else self.shard
        if is_new:
            self.before_use()
        return name

    def check(self) -> None:
        """Raise ``AuditUnavailable`` when the log, or a required sink, is known not to work."""
        self._refuse_if_failed()
        if self._shard and self._shard.file.broken:
            raise unavailable(self._shard.file.broken)
        self.sinks.check()
        self.before_use()

    def fail(self, why: str) -> None:
        """Refuse everything from now on: something is wrong that writing can't mend."""
        self._failed = why

    def write(self, event: str, **fields: object) -> None:
        """Record one event; ``AuditUnavailable`` when it can't be kept, or a required sink's fails.

        In the latter case it is in the log.
        """
        check_plain(fields)
        self.write_all([{"event": event, **fields}])
        self.sinks.settle()

    def write_all(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Record several events in one write: all of them, or none and ``AuditUnavailable``."""
        events = list(events)
        with self._guard:
            self._start().append(events)
            for event in events:
                if "decision" in event:
                    kind = event["event"], event["decision"], event.get("reason_code", "")
                    self.told[kind] += event.get("count", 0)
                    self.people += len(event.get("refs", ()))

    def announce(self, context: Mapping[str, Any]) -> None:
        """Where a sink is required: have it know of an access before that opens anything."""
        if self.sinks.required:
            self.write_all([{"event": "access", **context}])
            self.sinks.settle()

    def written(self) -> Written | None:
        """How far the shard has come; ``AuditUnavailable`` when someone changed its file."""
        with self._guard:
            shard = self._shard
            if shard is None:
                return None
            shard.begin()
            return Written(shard.path, shard.file.size, shard.seq, shard.prev)

    def sync(self) -> None:
        """Put the shard's records on the disk."""
        with self._guard:
            if self._shard is not None:
                self._shard.file.sync()

    @property
    def due(self) -> bool:
        """Whether the shard is so large or old that the next one should begin."""
        shard = self._shard
        return shard is not None and (
            shard.file.size > SHARD_BYTES or time.monotonic() - shard.began > SHARD_SECONDS
        )

    def prepare_next(self) -> Path:
        """Begin the next shard, and return its file; nobody notes anything for it yet."""
        with self._guard:
            self._start()
            if self._next is None and self._coming is None:
                self._coming = self._create()
            return (self._next or self._coming or self._start()).path

    def begin_next(self) -> str:
        """Have notes go to the next shard, and return its name; records do after ``turn``."""
        with self._guard:
            self._start()
            if self._next is None:
                self._next, self._coming = self._coming or self._create(), None
            return self._next.name

    def turn(self) -> None:
        """End the shard and go on in the next."""
        with self._guard:
            if self._next is not None and self._shard is not None:
                self._shard.append([{"event": "close"}])
                self._shard.file.close()
                self._shard, self._next = self._next, None

    def close(self) -> None:
        """End the shard with its ``close`` record; further writes are refused."""
        with self._guard:
            self._closed = _CLOSED
            shards = [shard for shard in (self._shard, self._next, self._coming) if shard]
            self._shard = self._next = self._coming = None
            for shard in shards:
                shard.end()
        self.sinks.close()

    def release(self) -> None:
        """Let go of the files as they are. In a forked child: they are the parent's alone."""
        for shard in (self._shard, self._next, self._coming):
            if shard is not None:
                shard.file.close()
        self._shard = self._next = self._coming = None
        self.sinks.release()
        self._guard = Guard()

    def _start(self) -> Shard:
        self._refuse_if_failed()
        if self._shard is None:
            self._shard = self._create()
        return self._shard

    def _create(self) -> Shard:
        shard = Shard.create(folder(self.directory, "log"), power=self._power)
        self.sinks.begin(self.directory, shard.name, power=self._power)
        shard.written = self.sinks.put
        shard.begin()
        return shard

    def _report(self, event: str, fields: Mapping[str, Any]) -> None:
        """Tell a sink's trouble, from the sink's own thread: no sink is waited for."""
        self.write_all([{"event": event, **fields}])

    def _refuse_if_failed(self) -> None:
        if self._failed or self._closed:
            raise unavailable(self._failed or self._closed)


def _nothing() -> None:
    pass
