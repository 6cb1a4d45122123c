"""A subject request as it stands, and what may become of it."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from vaultlayer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

KINDS = ("access", "rectification", "erasure", "restriction", "objection", "portability")
RECEIVED, IDENTIFIED, REFUSED, COMPLETED = "received", "identified", "refused", "completed"
OPEN = (RECEIVED, IDENTIFIED)
# Why a request, or an item of it, is refused; the text beside it says it in the person's words.
CODES = (
    "identity_unproven",
    "law_forbids",  # a law forbids telling, or doing it
    "law_requires",  # a law asks for keeping it
    "legal_claims",
    "others_rights",
    "trade_secret",
    "unfounded",
    "excessive",
    "not_held",
)


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it stands. ``withheld``: what of it was refused, item → (code, text);
    ``code`` and ``text``: why it was refused as a whole. ``changed``: when the latest step was
    filed; ``policy_version``: that of the rules in force then."""

    request_id: UUID
    subject_id: UUID
    kind: str
    state: str
    received: datetime
    due: datetime
    changed: datetime
    code: str
    text: str
    withheld: Mapping[str, tuple[str, str]]
    policy_version: int
    policy: str

    def is_overdue(self, at: datetime | None = None) -> bool:
        """Whether it is still open after its deadline."""
        return self.state in OPEN and (at or datetime.now(UTC)) > self.due


def months_later(at: datetime, months: int) -> datetime:
    """The same day so many months later; the last of the month where it has no such day."""
    year, month = divmod(at.month - 1 + months, 12)
    last = calendar.monthrange(at.year + year, month + 1)[1]
    return at.replace(year=at.year + year, month=month + 1, day=min(at.day, last))


def check_step(step: str, state: str) -> None:
    if state not in OPEN or (step == "complete" and state != IDENTIFIED):
        raise ConfigurationError(
            f"a request that is {state} can't be {step}d".replace("yd", "ied"),
            hint="whoever asked is identified before it is carried out; what is done stays so",
        )


def request_of(rows: list[Any]) -> Request:
    last, withheld = rows[-1], {}
    for row in rows:
        withheld.update(dict.fromkeys(row.items.split(), (row.code, row.words)))
    return Request(
        UUID(bytes=bytes(last.request_id)),
        UUID(bytes=bytes(last.subject)),
        last.kind,
        last.state,
        _time(last.received),
        _time(last.due),
        _time(last.recorded),
        last.code if last.state == REFUSED else "",
        last.words if last.state == REFUSED else "",
        withheld,
        last.version,
        last.policy,
    )


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
