"""``vault.subjects``: what can be done for one person as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from vaultlayer.access.context import acting, no_access
from vaultlayer.lifecycle.erasure import Receipt, erase

if TYPE_CHECKING:
    from vaultlayer.vault import Vault

__all__ = ["Receipt", "Subjects"]


class Subjects:
    """``vault.subjects``."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def erase(self, subject_id: UUID, *, reason: str, session: Any = None) -> Receipt:
        """Destroy a person's keys, and empty their rows in all models; nothing brings it back.

        Needs an access whose role may ``erase`` every personal field of a person. Erasing
        somebody again is harmless. Rows stay, without what was personal; delete them as you like.

        :param reason: why, in words, for the receipt; the access's own reason is what is logged.
        :param session: erase within this Session's transaction, which you commit; else in a
            transaction of its own. With asyncio:
            ``await s.run_sync(lambda s: vault.subjects.erase(..., session=s))``.
        :raises AccessDenied: a field may not be erased, or the person is another tenant's.
        """
        session = getattr(session, "sync_session", session)
        access = acting(session)
        if access is None:
            raise no_access("a person was to be erased")
        return erase(self._vault, access, subject_id, reason, session)

    def replay(self, *, reason: str) -> list[Receipt]:
        """Erase again whoever a restored backup has brought back, and record it.

        Of all that this audit directory remembers (docs/keys.md). The one thing that works with
        key tables or a log that are older than the newest tombstone; afterwards everything does.
        """
        access = acting(None)
        if access is None:
            raise no_access("erasures were to be done again")
        vault = self._vault
        with vault.databases.keys(None, check=False) as connection:
            missing = vault.tombstones.missing(connection)
            vault.databases.trust(connection)
        again: dict[bytes, list[str]] = {}
        for erasure in missing:
            again.setdefault(erasure.subject, []).append(erasure.tenant)
        receipts = [
            erase(vault, access, UUID(bytes=subject), reason, tenants=tenants)
            for subject, tenants in again.items()
        ]
        with vault.databases.keys(None) as connection:
            vault.tombstones.record_again(connection, access, vault.log)
        return receipts
