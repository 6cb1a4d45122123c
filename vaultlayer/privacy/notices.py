"""``vault.notices``: which version of the privacy notice is told, and who has acknowledged it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import func, select

from vaultlayer.errors import ConfigurationError
from vaultlayer.ledgers import notice_seen as table
from vaultlayer.privacy import ledger
from vaultlayer.privacy.acting import acting_for_some, check_texts, key_of, ref_of

if TYPE_CHECKING:
    from vaultlayer.access.amendments import Amendment
    from vaultlayer.access.snapshot import Snapshot
    from vaultlayer.vault import Vault

_C = table.c


class Notices:
    """``vault.notices``."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def publish(self, wanted: Snapshot, *, by: str, dry_run: bool = False) -> Amendment | None:
        """Note that people are told of this version of the rules from now on: its period runs,
        and the engine won't enforce what reduces their rights before (``policy amend``).

        :returns: what it changes and when it is due; None if it is in force already.
        """
        return self._vault.governing.publish(wanted, by, dry_run=dry_run)

    def acknowledge(
        self,
        subject_id: UUID,
        *,
        version: int | None = None,
        channel: str = "",
        session: Any = None,
    ) -> None:
        """Note that a person has acknowledged a version of the notice (the one in force).

        Needs an access that may ``administer`` something of its purpose.

        :raises ConfigurationError: no such version was published, or there is no such person.
        """
        if not isinstance(subject_id, UUID):
            raise ConfigurationError("a subject_id is a UUID", hint="give the row's subject_id")
        check_texts({"channel": channel}, {"channel": 64})
        vault, session = self._vault, getattr(session, "sync_session", session)
        known = vault.governing.versions() or {vault.snapshot.bundle.version.number}
        current = vault.snapshot.bundle.version.number
        chosen = current if version is None else version
        if chosen not in known:
            raise ConfigurationError(
                f"version {chosen} of the notice was never published",
                hint="publish it with `vaultlayer policy amend`",
            )
        access = acting_for_some(session, "notice", str(chosen), vault)
        with vault.key_connection(session) as connection:
            key = key_of(access, connection, subject_id.bytes)
            said = {"tenant": key.tenant, "version": chosen, "channel": channel}
            of = {"subject": subject_id.bytes}
            row = ledger.append(access, connection, table, of, lambda _: said)
            ledger.tell(access, session, "notice", row, version=chosen, refs=[ref_of(key)])

    def version_of(self, subject_id: UUID) -> int | None:
        """The newest version that a person has acknowledged; None for none."""
        newest = select(func.max(_C.version)).where(_C.subject == subject_id.bytes)
        with self._vault.key_connection(None) as connection:
            found = connection.scalar(newest)
        return None if found is None else int(found)

    def history(self, subject_id: UUID) -> list[dict[str, Any]]:
        """A person's acknowledgements: ``version``, ``channel``, ``recorded`` (Unix seconds)."""
        columns = (_C.version, _C.channel, _C.recorded, _C.recorded_by)
        mine = select(*columns).where(_C.subject == subject_id.bytes).order_by(_C.number)
        with self._vault.key_connection(None) as connection:
            return [dict(row) for row in connection.execute(mine).mappings()]

    def count(self) -> dict[int, int]:
        """How many people's newest acknowledged version is which."""
        newest = select(func.max(_C.version).label("version")).group_by(_C.subject).subquery()
        counts = select(newest.c.version, func.count().label("people")).group_by(newest.c.version)
        with self._vault.key_connection(None) as connection:
            return {row.version: row.people for row in connection.execute(counts)}
