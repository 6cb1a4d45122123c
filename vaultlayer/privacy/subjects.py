"""``vault.subjects``: what can be done for one person as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from vaultlayer.access.context import acting, no_access
from vaultlayer.errors import ConfigurationError
from vaultlayer.lifecycle.erasure import Receipt, erase
from vaultlayer.lifecycle.plan import Plan, plan
from vaultlayer.lifecycle.receipt import certify
from vaultlayer.privacy.acting import categories_of
from vaultlayer.privacy.consent import say

if TYPE_CHECKING:
    import os

    from vaultlayer.vault import Vault

__all__ = ["Plan", "Receipt", "Subjects"]


class Subjects:
    """``vault.subjects``."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def erase(self, subject_id: UUID, *, reason: str, session: Any = None) -> Receipt:
        """Destroy a person's keys, and empty their rows in all models; nothing brings it back.

        Needs an access whose role may ``erase`` every personal field of a person. Erasing
        somebody again is harmless. Rows stay, without what was personal; delete them as you like.

        Everything is read back afterwards; what is found gone is signed (``receipt.document``).

        :param reason: why, in words, for the receipt; the access's own reason is what is logged.
        :param session: erase within this Session's transaction, which you commit; else in a
            transaction of its own. With asyncio:
            ``await s.run_sync(lambda s: vault.subjects.erase(..., session=s))``.
            The receipt has no ``document`` then, until ``certify()`` after the commit.
        :raises AccessDenied: a field may not be erased, or the person is another tenant's.
        :raises IntegrityError: it was done, and something could be read back: no receipt.
        """
        session = getattr(session, "sync_session", session)
        access = acting(session)
        if access is None:
            raise no_access("a person was to be erased")
        return erase(self._vault, access, subject_id, reason, session)

    def certify(self, receipt: Receipt) -> Receipt:
        """The signed receipt of an erasure whose transaction you have committed.

        :raises IntegrityError: what was read back contradicts it; there is no receipt then.
        """
        access = acting(None)
        if access is None:
            raise no_access("an erasure was to be certified")
        return certify(self._vault, access, receipt)

    def plan(self, subject_id: UUID) -> Plan:
        """What erasing this person would do, and what would stay; nothing is changed."""
        access = acting(None)
        if access is None:
            raise no_access("an erasure was to be planned")
        return plan(self._vault, access, subject_id)

    def report(self, subject_id: UUID, folder: str | os.PathLike[str]) -> dict[str, Any]:
        """Write what is held of a person, who read it and why, and what is withheld and why.

        The folder, new or empty, receives ``report.json``, CSV files, ``index.html`` and every
        picture: plaintext, for this user alone. Each field is read and journaled for the access
        at hand; what it may not read is listed with the reason. About a person nobody knows the
        report is the same, and empty.

        :returns: ``folder``, ``sha256`` (of report.json), ``rows``, ``reads``, ``withheld``; and
            ``untold``: disclosures the law forbids to tell of, which no file of the folder
            mentions, each with the ``reason`` and the day of its ``review``.
        """
        from vaultlayer.privacy.report import collect
        from vaultlayer.privacy.report_files import write

        access = acting(None)
        if access is None:
            raise no_access("a person's report was to be made")
        if not isinstance(subject_id, UUID):
            raise ConfigurationError("a subject_id is a UUID", hint="give the row's subject_id")
        made = collect(self._vault, access, subject_id)
        sha256 = write(made, Path(folder))
        access.record("report", report="subject", sha256=sha256)
        return {
            "folder": str(folder),
            "sha256": sha256,
            "rows": sum(len(table["rows"]) for table in made["data"]),
            "reads": made["reads"]["total"],
            "withheld": made["withheld"],
            "untold": [
                {
                    "disclosure": str(each.disclosure_id),
                    "reason": each.withheld,
                    "review": each.review.isoformat() if each.review else None,
                }
                for each in self._vault.disclosures.withheld_of(subject_id)
            ],
        }

    def restrict(
        self, subject_id: UUID, *, channel: str = "", proof: str = "", session: Any = None
    ) -> None:
        """Keep the person's data sealed for all but the purposes with ``despite_restriction``
        (GDPR article 18), from the next decision on. Needs an access that may ``administer``
        its purpose's categories."""
        self._restrict("restrict", subject_id, channel, proof, session)

    def lift_restriction(
        self, subject_id: UUID, *, channel: str = "", proof: str = "", session: Any = None
    ) -> None:
        """End a restriction; tell the person before you do (article 18(3))."""
        self._restrict("lift", subject_id, channel, proof, session)

    def _restrict(
        self, said: str, subject_id: UUID, channel: str, proof: str, session: Any
    ) -> None:
        categories = categories_of(self._vault, getattr(session, "sync_session", session))
        how = {"channel": channel, "proof": proof, "session": session}
        say(self._vault, said, subject_id, "", categories, **how)

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
