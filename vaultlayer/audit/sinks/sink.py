"""What a sink is, and what it is given."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from vaultlayer.audit.sinks.formats import FORMATS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Record:
    """One record on its way: parsed, and as one line of JSON in the sink's format, no newline."""

    event: Mapping[str, Any]
    body: bytes

    @classmethod
    def of(cls, line: bytes, form: str) -> Record:
        """A line of the log in one of ``FORMATS``; natively it is the very bytes of the log."""
        event = json.loads(line)
        mapped = FORMATS[form]
        if mapped is None:
            return cls(event, line)
        body = json.dumps(mapped(event), ensure_ascii=False, separators=(",", ":"))
        return cls(event, body.encode())


class Sink(Protocol):
    """Takes records in order. One thread at a time calls it, never the application's."""

    def send(self, records: Sequence[Record]) -> None:
        """Deliver all of them, or raise: then all are sent again, so some may arrive twice.

        ``shard`` and ``seq`` tell such twins. Returning means that the receiver has them, as
        far as the protocol can say.
        """

    def close(self) -> None: ...
