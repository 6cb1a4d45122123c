"""All sinks of one log, as the log sees them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from vaultlayer.audit.files import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from vaultlayer.audit.sinks.delivery import Delivery, SinkState


class Sinks:
    """All sinks of one process's log."""

    def __init__(self, deliveries: Sequence[Delivery] = ()) -> None:
        self._all = tuple(deliveries)
        self.required: bool = any(delivery.required for delivery in deliveries)

    def report_to(self, write: Callable[[str, dict[str, Any]], None]) -> None:
        """Let the sinks tell their own failures through ``write(event, fields)``."""
        for delivery in self._all:
            delivery.report = write

    def on_required_failure(self, react: Callable[[], None]) -> None:
        """Call ``react()`` as soon as a required sink begins to fail."""
        for delivery in self._all:
            if delivery.required:
                delivery.on_failure = react

    def begin(self, directory: Path, shard: str, *, power: bool) -> None:
        """A shard is about to get its first record."""
        for delivery in self._all:
            delivery.begin(directory, shard, power=power)

    def catch_up(self, directory: Path) -> None:
        """Send what processes that are gone had not sent, and what was recovered of them."""
        for delivery in self._all:
            delivery.catch_up(directory)

    def put(self, lines: Sequence[bytes]) -> None:
        for delivery in self._all:
            delivery.put(lines)

    def check(self) -> None:
        for delivery in self._all:
            delivery.check()

    def settle(self) -> None:
        """Wait for the required ones, all together no longer than the deadline."""
        if self.required:
            deadline = time.monotonic() + DEADLINE
            for delivery in self._all:
                delivery.settle(deadline)

    def close(self) -> None:
        deadline = time.monotonic() + DEADLINE
        for delivery in self._all:
            delivery.close(deadline)

    def release(self) -> None:
        for delivery in self._all:
            delivery.release()

    def states(self) -> list[SinkState]:
        return [delivery.state() for delivery in self._all]
