"""``stdout:`` — a line of JSON a record, for containers whose output is collected."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultlayer.audit.sinks.sink import Record

STDOUT = 1


class StdoutSink:
    """Writes to the descriptor itself: whoever replaces or closes ``sys.stdout`` changes nothing.

    No lock of Python's own is held, so a reader that stops reading holds up this sink alone.
    """

    def __init__(self, descriptor: int = STDOUT) -> None:
        self._descriptor = os.dup(descriptor)

    @classmethod
    def open(cls, _: str) -> Self:
        return cls()

    def send(self, records: Sequence[Record]) -> None:
        rest = memoryview(b"".join(record.body + b"\n" for record in records))
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def close(self) -> None:
        os.close(self._descriptor)
