"""What the numbers in a journal's slots stand for, and the lines that say so."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vaultlayer.audit.event import clip
from vaultlayer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
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

Kind = tuple[str, tuple[str, ...], str, str, str]  # entity, fields, action, outcome, reason


@dataclass(frozen=True, slots=True)
class Spec:
    """Who does what with which fields, and what came of it."""

    number: int
    access: int
    context: Mapping[str, Any]
    entity: str
    fields: tuple[str, ...]
    action: str
    outcome: str
    reason: str

    @classmethod
    def of(cls, number: int, access: Access, kind: Kind) -> Spec:
        """A new spec of an access; its names are bounded like all texts in the log."""
        entity, fields, action, outcome, reason = kind
        if outcome not in OUTCOMES:
            raise ConfigurationError("an outcome is allow, mask, deny or error")
        names = tuple(clip(name) for name in fields)
        told = clip(entity), names, clip(action), outcome, clip(reason)
        return cls(number, access.number, access.context, *told)

    def event(self) -> dict[str, Any]:
        """What all events about this spec's slots say alike; the fields come later."""
        decision, outcome = OUTCOMES[self.outcome]
        told = {"event": self.action, "decision": decision, "outcome": outcome}
        told["entity"] = self.entity
        if self.reason:
            told["reason_code"] = self.reason
        return {**self.context, **told}


@dataclass(slots=True)
class Access:
    """An access as the journal knows it: from ``open_access`` until its last note is logged."""

    number: int
    context: dict[str, Any]
    segment: Segment | None  # the one it opened in, and the byte from which its slots can be
    start: int
    specs: dict[Kind, Spec] = field(default_factory=dict)
    closed_in: int | None = None  # the segment's number

    @classmethod
    def begin(cls, number: int, context: dict[str, Any], segment: Segment | None) -> Access:
        return cls(number, context, segment, segment.position() if segment else 0)

    def definitions(self) -> Iterator[dict[str, Any]]:
        """The lines that define all its specs so far."""
        for place, spec in enumerate(self.specs.values()):
            yield definition(spec, first=place == 0)


def definitions_of(accesses: Iterable[Access]) -> Iterator[dict[str, Any]]:
    """What a new segment's file begins with: the specs of those accesses that are open."""
    for access in accesses:
        if access.closed_in is None:
            yield from access.definitions()


def definition(spec: Spec, *, first: bool) -> dict[str, Any]:
    """The line that defines a spec; the first of an access carries the context for all."""
    line = {
        "spec": spec.number,
        "access": spec.access,
        "entity": spec.entity,
        "fields": list(spec.fields),
        "action": spec.action,
        "outcome": spec.outcome,
        "reason": spec.reason,
    }
    return {**line, "context": spec.context} if first else line


def read_definitions(path: Path) -> dict[int, Spec]:
    """The specs a journal's file defines, by number; a line that is not whole defines none."""
    contexts: dict[int, Mapping[str, Any]] = {}
    specs: dict[int, Spec] = {}
    for line in path.read_bytes().split(b"\n") if path.exists() else ():
        try:
            told = json.loads(line)
            context = contexts.setdefault(told["access"], told.pop("context", None))
            number, fields = told.pop("spec"), tuple(told.pop("fields"))
            specs[number] = Spec(number=number, fields=fields, context={**context}, **told)
        except (ValueError, TypeError, KeyError, AttributeError):
            continue  # cut off by a full disk or a power cut: nothing was noted under it
    return specs
