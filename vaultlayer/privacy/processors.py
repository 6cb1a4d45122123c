"""``vault.processors``: the third parties under agreement, and whether something may be sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from vaultlayer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vaultlayer.access.processors import Processor
    from vaultlayer.vault import Vault

SOON_DAYS = 30


class Processors:
    """The processors of ``processors.toml``, as the policies in force have them. Days are UTC's."""

    def __init__(
        self, vault: Vault, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._vault, self._clock = vault, clock

    def all(self) -> list[Processor]:
        """Every processor, by name."""
        return sorted(self._vault.snapshot.bundle.processors.values(), key=lambda one: one.name)

    def get(self, name: str) -> Processor:
        """One processor; ConfigurationError where there is none of this name."""
        known = self._vault.snapshot.bundle.processors
        if name not in known:
            raise ConfigurationError(
                "no processor of this name is declared",
                hint=f"processors.toml has {', '.join(sorted(known)) or 'none yet'}",
            )
        return known[name]

    def expired(self) -> list[Processor]:
        """Those whose agreement has run out."""
        today = self._clock().date()
        return [each for each in self.all() if each.expires < today]

    def expiring(self, days: int = SOON_DAYS) -> list[Processor]:
        """Those whose agreement still counts, and runs out within so many days."""
        today = self._clock().date()
        return [one for one in self.all() if today <= one.expires <= today + timedelta(days)]

    def why_not(self, name: str, purpose: str, categories: Iterable[str]) -> dict[str, str]:
        """Why data may not be sent there now: reason code by category, ``""`` for all of it.

        An empty dict: it may. Codes: ``recipient_unknown``, ``agreement_not_valid``,
        ``agreement_purpose``, ``agreement_category``.
        """
        bundle = self._vault.snapshot.bundle
        processor = bundle.processors.get(name)
        if processor is None:
            return {"": "recipient_unknown"}
        if not processor.is_valid_on(self._clock().date()):
            return {"": "agreement_not_valid"}
        if purpose not in processor.purposes:
            return {"": "agreement_purpose"}
        covered = {*processor.categories}
        return {
            category: "agreement_category"
            for category in categories
            if category not in bundle.categories or not covered & {*bundle.lineage(category)}
        }
