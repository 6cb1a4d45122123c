"""What the numbers in a journal's slots stand for, and the lines that say so."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from vaultlayer.audit.event import clip
from vaultlayer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from vaultlayer.audit.segment import Segment

# What came of it, as the journal has it → the decision and the outcome that the event tells.
# "error": it was allowed, and then the value could not be opened.
OUTCOMES = {
    "allow": ("allow", "success"),
    "mask": ("mask", "success"),
    "deny": ("deny", "refused"),
    "error": ("allow", "error"),
}

ACCESS_BITS = 40  # of a slot's number; the rest is the kind's


class Kind(NamedTuple):
    """What is done with which fields, and what came of it: the same for many accesses."""

    entity: str
    fields: tuple[str, ...]
    action: str
    outcome: str
    reason: str

    def clipped(self) -> Kind:
        """With its names bounded, like all texts in the log."""
        if self.outcome not in OUTCOMES:
            raise ConfigurationError("an outcome is allow, mask, deny or error")
        names = tuple([clip(name) for name in self.fields])
        return Kind(clip(self.entity), names, clip(self.action), self.outcome, clip(self.reason))

    def line(self, number: int) -> dict[str, Any]:
        """What defines it in a journal's file."""
        return {"kind": number, **self._asdict()}


class Spec(NamedTuple):
    """Who does what with which fields, and what came of it."""

    access: int
    context: Mapping[str, Any]
    kind: Kind

    def event(self) -> dict[str, Any]:
        """What all events about this spec's slots say alike; the fields come later."""
        kind = self.kind
        decision, outcome = OUTCOMES[kind.outcome]
        told = {"event": kind.action, "decision": decision, "outcome": outcome}
        told["entity"] = kind.entity
        if kind.reason:
            told["reason_code"] = kind.reason
        return {**self.context, **told}


@dataclass(slots=True)
class Access:
    """An access as the journal knows it: from ``open_access`` until its last note is logged."""

    number: int
    context: dict[str, Any]
    segment: Segment | None  # the one it opened in, and the byte from which its slots can be
    start: int
    prefixes: dict[Kind, bytes] = field(default_factory=dict)  # of its kinds of notes so far
    closed_in: int | None = None  # the segment's number

    @classmethod
    def begin(cls, number: int, context: dict[str, Any], segment: Segment | None) -> Access:
        return cls(number, context, segment, segment.position() if segment else 0)

    @property
    def notes(self) -> bool:
        """Whether it is open and something may be noted for it already."""
        return self.closed_in is None and bool(self.prefixes)

    @property
    def mark(self) -> bytes:
        """What its slots' numbers begin with."""
        return self.number.to_bytes(ACCESS_BITS // 8, "little")

    def line(self) -> dict[str, Any]:
        """What defines it in a journal's file."""
        return {"access": self.number, "context": self.context}


class Definitions:
    """The kinds and accesses that a journal's slots name by number."""

    def __init__(self) -> None:
        self.accesses: dict[int, Mapping[str, Any]] = {}  # the contexts
        self.kinds: dict[int, Kind] = {}

    def get(self, number: int) -> Spec | None:
        """The spec that a slot's number stands for; None when it isn't known."""
        access, kind = number & ((1 << ACCESS_BITS) - 1), self.kinds.get(number >> ACCESS_BITS)
        context = self.accesses.get(access)
        return Spec(access, context, kind) if context is not None and kind is not None else None


def read_definitions(path: Path) -> Definitions:
    """What a journal's file defines; a line that is not whole defines nothing."""
    definitions = Definitions()
    for line in path.read_bytes().split(b"\n") if path.exists() else ():
        try:
            told = json.loads(line)
            if "access" in told:
                definitions.accesses[told["access"]] = {**told["context"]}
            else:
                number, fields = told.pop("kind"), tuple(told.pop("fields"))
                definitions.kinds[number] = Kind(fields=fields, **told)
        except (ValueError, TypeError, KeyError, AttributeError):
            continue  # cut off by a full disk or a power cut: nothing was noted under it
    return definitions
