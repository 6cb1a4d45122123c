"""Keys: what a session asks for. Unwrapped keys live here, for ``ttl`` seconds, and nowhere else.

A key id commits to its key, so a cached key can be stale but never the wrong one.
"""

from __future__ import annotations

import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Select, bindparam, select

from vaultlayer.crypto.binding import subject_part
from vaultlayer.errors import KeyErased, KeyUnavailable
from vaultlayer.forks import in_child
from vaultlayer.keys import states, tables
from vaultlayer.keys.cache import Flights, SubjectKeys
from vaultlayer.keys.index_roots import IndexRoots
from vaultlayer.keys.keks import Keks
from vaultlayer.keys.many import Among
from vaultlayer.keys.provider import Providers
from vaultlayer.keys.records import (
    SubjectKey,
    check_erased,
    damaged,
    new_subject_keys,
    open_subject_keys,
)
from vaultlayer.watch import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from sqlalchemy import Dialect

    from vaultlayer.keys.provider import KeyProvider

    _Locked = Callable[[Dialect, Select[Any]], Select[Any]]

__all__ = ["Keys", "SubjectKey"]

_PATIENCE = 2.0  # seconds to wait for a key that another thread is fetching
_STATES = frozenset(states.STATES)

_C = tables.subject_key.c
RECORD = select(_C.state, _C.kek_id, _C.wrapped, _C.key_id, _C.tenant, _C.subject, _C.generation)
_BY_ID = Among(RECORD, _C.key_id, width=16)
OF_SUBJECTS = Among(RECORD.where(_C.tenant == bindparam("tenant")), _C.subject)
_IN_USE = Among(
    RECORD.where(
        _C.tenant == bindparam("tenant"), _C.state.in_((states.ACTIVE, states.ERASED))
    ),
    _C.subject,
)


class Keys:
    """The key hierarchy under the providers' keys.

    Every method that takes a ``connection`` reads and writes inside the caller's transaction.
    Thread-safe; no lock is held while the database is asked.
    """

    def __init__(
        self,
        provider: KeyProvider | Providers,
        *,
        ttl: float = 60.0,
        kek_ttl: float = 7200.0,
        max_keys: int = 100_000,
        region: str = "",
        regions: Mapping[str, KeyProvider] = MappingProxyType({}),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        providers = provider
        if not isinstance(providers, Providers):
            providers = Providers(providers, regions=regions)
        self._at_hand = SubjectKeys(max_keys, clock)
        self.opened = 0  # records unwrapped, for the metrics
        self.cached: dict[bytes, SubjectKey] = self._at_hand.cached
        self._ttl = ttl
        self._clock = clock
        self._flights = Flights()
        self.keks = Keks(providers, region=region, ttl=kek_ttl, most=max_keys, clock=clock)
        self.roots = IndexRoots(self.keks, ttl=ttl, most=max_keys, clock=clock)
        in_child(self._forked)

    def fetch(self, connection: Connection, key_ids: Iterable[bytes]) -> dict[bytes, SubjectKey]:
        """Key id → key, from the cache or the database; one SELECT for every 1,000 missing.

        An id nobody has: KeyUnavailable. A changed record: IntegrityError. An erased key:
        KeyErased, after the others of the batch have been put into ``cached``.
        """
        found, missing = self._at_hand.look(dict.fromkeys(key_ids))
        if not missing:
            return found
        flight, mine, others = self._flights.claim(missing)
        try:
            if mine:
                found.update(self.fetch_anew(connection, mine))
        finally:
            self._flights.land(flight, mine)
        for other in others:
            other.landed.wait(_PATIENCE)
        if others:  # what they couldn't bring has reasons of its own: look for oneself
            there, missing = self._at_hand.look(key_id for key_id in missing if key_id not in found)
            found.update(there)
            found.update(self.fetch_anew(connection, missing))
        return found

    def fetch_anew(self, connection: Connection, key_ids: list[bytes]) -> dict[bytes, SubjectKey]:
        """As ``fetch``, and always from the database, whoever is at hand."""
        forgotten = self._at_hand.forgotten
        rows = _BY_ID.rows(connection, key_ids)
        found = self._open(connection, rows, forgotten)
        if len(rows) < len(key_ids):
            raise KeyUnavailable(
                "there is no key record for a sealed value",
                hint="the key tables are older than the data, or of another database: "
                "restore both from one backup",
            )
        return found

    def active(
        self,
        connection: Connection,
        tenant: str,
        subjects: Collection[bytes],
        fresh: bool = False,
        region: str | None = None,
    ) -> dict[bytes, SubjectKey]:
        """Subject → the key to seal with, made where there is none.

        ``region`` is where new keys belong, by default the vault's own. ``fresh`` says that the
        subjects' ids were just drawn at random, which spares looking.
        Keys made here are not in ``cached``: ``remember`` them once the transaction has
        committed. A subject whose key was erased: KeyErased, never a new key.
        """
        wanted = sorted(set(subjects))  # one order for all, so that two writers can't deadlock
        for length in set(map(len, wanted)):
            subject_part(bytes(length))  # refuses what is no subject's id
        found: dict[bytes, SubjectKey] = {}
        if not fresh:
            tables.become_writer(connection)
            found = self._find_active(connection, tenant, wanted, tables.held)
        missing = [subject for subject in wanted if subject not in found]
        if missing:
            found.update(self._create(connection, tenant, missing, region))
        return found

    def remember(self, keys: Iterable[SubjectKey]) -> None:
        """Put keys into ``cached``; the oldest leave when there are too many or they expired."""
        at_hand = self._at_hand
        at_hand.keep({key.key_id: key for key in keys}, at_hand.forgotten)

    def forget(self, key_ids: str = EVERYTHING) -> None:
        """Let go of destroyed keys: ids in hexadecimal, separated by spaces; or of all."""
        self._at_hand.forget([bytes.fromhex(key_id) for key_id in key_ids.split()])

    def index_keys(
        self, connection: Connection, tenant: str, entity: str, field: str, index: str
    ) -> list[bytes]:
        """The 32-byte keys of one blind index, derived from the tenant's live index roots.

        The first is the one to write with; there are others only while roots are exchanged.
        """
        return self.roots.index_keys(connection, tenant, entity, field, index)

    def _find_active(
        self, connection: Connection, tenant: str, subjects: list[bytes], locked: _Locked
    ) -> dict[bytes, SubjectKey]:
        forgotten = self._at_hand.forgotten
        rows = _IN_USE.rows(connection, subjects, locked, tenant=tenant)
        if connection.dialect.name in tables.MYSQL:
            rows = self._hold(connection, [row.key_id for row in rows])
        replaced = {row.subject for row in rows if row.state == states.ACTIVE}
        rows = [row for row in rows if row.state != states.ERASED or row.subject not in replaced]
        return {key.subject: key for key in self._open(connection, rows, forgotten).values()}

    def _hold(self, connection: Connection, key_ids: list[bytes]) -> list[Any]:
        """MySQL's way to what ``held`` does: a record at a time, since a SELECT that finds
        nothing would lock the gap, in which others make their keys."""
        rows = _BY_ID.rows(connection, key_ids, tables.as_of_now)
        return [row for row in rows if row.state in (states.ACTIVE, states.ERASED)]

    def _create(
        self, connection: Connection, tenant: str, subjects: list[bytes], region: str | None
    ) -> dict[bytes, SubjectKey]:
        kek = self.keks.current(connection, tenant, region, len(subjects))
        expires = self._clock() + self._ttl
        keys, wrapped = new_subject_keys(kek, tenant, subjects, states.FIRST, expires)
        common = {
            "tenant": tenant,
            "generation": states.FIRST,
            "state": states.ACTIVE,
            "kek_id": kek.kek_id,
            "created": int(time.time()),
            "changed": int(time.time()),
        }
        columns = {
            "key_id": [key.key_id for key in keys],
            "subject": [key.subject for key in keys],
            "wrapped": wrapped,
        }
        if tables.insert_subject_keys(connection, common, columns) == len(keys):
            return {key.subject: key for key in keys}
        winners = self._find_active(connection, tenant, subjects, tables.as_of_now)
        if len(winners) != len(subjects):
            raise tables.lost_race()
        return winners

    def _open(
        self, connection: Connection, rows: list[Any], forgotten: int
    ) -> dict[bytes, SubjectKey]:
        """The keys of some records, remembered; KeyErased when one is a tombstone."""
        if not {row[0] for row in rows} <= _STATES:
            raise damaged()
        usable = [row for row in rows if row[0] != states.ERASED]
        keks = {
            kek_id: self.keks.by_id(connection, kek_id) for kek_id in {row[1] for row in rows}
        }
        keys = open_subject_keys(usable, keks, self._clock() + self._ttl)
        self._at_hand.keep(keys, forgotten)
        self.opened += len(keys)
        if len(usable) < len(rows):
            for state, kek_id, *record in rows:
                if state == states.ERASED:
                    check_erased(keks[kek_id], *record)
            raise erased()
        return keys

    def _forked(self) -> None:
        """In a forked child: nothing unwrapped is taken along, and no thread is waited for."""
        self._flights = Flights()
        self._at_hand.forked()
        self.keks.forget()
        self.roots.forget()


def erased() -> KeyErased:
    return KeyErased(
        "the data subject's key was destroyed",
        hint="the person was erased on request: what was sealed for them can't be read or "
        "written again, and nothing brings it back",
    )
