"""``vault.audit``: the trail as this vault's own process sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultlayer.audit.verify import Report, keys_and_heads, verify

if TYPE_CHECKING:
    from vaultlayer.audit.sinks.delivery import SinkState
    from vaultlayer.vault import Vault


class Audit:
    """What can be asked of the audit trail."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def verify(self) -> Report:
        """Check every shard of the log; ``.findings`` is empty when it is whole.

        With the log's public keys and its heads, where their store can be reached.
        """
        directory, heads = self._vault.settings.audit_directory, self._vault._trail.notary.heads
        return verify(directory, *keys_and_heads(heads, directory))

    def sinks(self) -> list[SinkState]:
        """How each sink beside the local log is doing, in the order of the settings."""
        return self._vault.log.sinks.states()
