"""Snapshot: one policy bundle, compiled; it answers, and never changes."""

from __future__ import annotations

from dataclasses import dataclass

from vaultlayer.access.bundle import Bundle, Effect


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policy says. ``needs_consent``: the purpose counts only with recorded consent."""

    effect: Effect
    reason: str
    needs_consent: bool = False


class Snapshot:
    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.digest = bundle.digest

    def decide(
        self, roles: frozenset[str], field: str, category: str, action: str, purpose: str
    ) -> Decision:
        raise NotImplementedError
