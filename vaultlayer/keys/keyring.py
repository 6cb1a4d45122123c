"""Keys: what a session asks for. Unwrapped keys live here, for ``ttl`` seconds, and nowhere else.

A key id commits to its key, so a cached key can be stale but never the wrong one.
"""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Select, bindparam, select

from vaultlayer.errors import KeyErased, KeyUnavailable
from vaultlayer.keys import tables
from vaultlayer.keys.index_roots import IndexRoots
from vaultlayer.keys.keks import Keks
from vaultlayer.keys.records import (
    SubjectKey,
    damaged,
    drop_oldest,
    new_subject_keys,
    open_subject_keys,
)
from vaultlayer.watch import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from vaultlayer.keys.provider import KeyProvider

__all__ = ["Keys", "SubjectKey"]

BATCH = 1000
FIRST_GENERATION = 1

_C = tables.subject_key.c
_RECORD = select(_C.state, _C.kek_id, _C.wrapped, _C.key_id, _C.tenant, _C.subject, _C.generation)
_BY_ID = _RECORD.where(_C.key_id.in_(bindparam("ids", expanding=True)))
_BY_SUBJECT = _RECORD.where(
    _C.tenant == bindparam("tenant"),
    _C.subject.in_(bindparam("subjects", expanding=True)),
    _C.state != tables.DECRYPT_ONLY,
)


class Keys:
    """The key hierarchy under one provider key.

    Every method that takes a ``connection`` reads and writes inside the caller's transaction.
    Thread-safe; no lock is held while the database is asked.
    """

    def __init__(
        self,
        provider: KeyProvider,
        *,
        ttl: float = 60.0,
        max_keys: int = 100_000,
        region: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cached: dict[bytes, SubjectKey] = {}
        self._ttl = ttl
        self._max_keys = max_keys
        self._clock = clock
        self._lock = Lock()
        self._keks = Keks(provider, region=region, ttl=ttl, most=max_keys, clock=clock)
        self._roots = IndexRoots(self._keks, ttl=ttl, most=max_keys, clock=clock)

    def fetch(self, connection: Connection, key_ids: Iterable[bytes]) -> dict[bytes, SubjectKey]:
        """Key id → key, from the cache or the database; one SELECT for every 1,000 missing.

        An id nobody has: KeyUnavailable. A changed record: IntegrityError. An erased key:
        KeyErased, after the others of the batch have been put into ``cached``.
        """
        now = self._clock()
        found: dict[bytes, SubjectKey] = {}
        missing = []
        for key_id in dict.fromkeys(key_ids):
            key = self.cached.get(key_id)
            if key is not None and key.expires > now:
                found[key_id] = key
            else:
                missing.append(key_id)
        rows: list[Any] = []
        for start in range(0, len(missing), BATCH):
            rows += connection.execute(_BY_ID, {"ids": missing[start : start + BATCH]}).all()
        found.update(self._open(connection, rows))
        if len(rows) < len(missing):
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
    ) -> dict[bytes, SubjectKey]:
        """Subject → the key to seal with, made where there is none.

        ``fresh`` says that the subjects' ids were just drawn at random, which spares looking.
        Keys made here are not in ``cached``: ``remember`` them once the transaction has
        committed. A subject whose key was erased: KeyErased, never a new key.
        """
        wanted = sorted(set(subjects))  # one order for all, so that two writers can't deadlock
        found = {} if fresh else self._find_active(connection, tenant, wanted, _BY_SUBJECT)
        missing = [subject for subject in wanted if subject not in found]
        if missing:
            found.update(self._create(connection, tenant, missing))
        return found

    def remember(self, keys: Iterable[SubjectKey]) -> None:
        """Put keys into ``cached``; the oldest leave when there are too many or they expired."""
        self._remember({key.key_id: key for key in keys})

    def forget(self, key_ids: str = EVERYTHING) -> None:
        """Drop keys from ``cached``: ids in hexadecimal, separated by spaces; or all of them."""
        with self._lock:
            if key_ids == EVERYTHING:
                self.cached.clear()
            for key_id in key_ids.split():
                self.cached.pop(bytes.fromhex(key_id), None)

    def index_key(
        self, connection: Connection, tenant: str, entity: str, field: str, index: str
    ) -> bytes:
        """The 32-byte key of one blind index, derived from the tenant's index root."""
        return self._roots.index_key(connection, tenant, entity, field, index)

    def _find_active(
        self, connection: Connection, tenant: str, subjects: list[bytes], statement: Select[Any]
    ) -> dict[bytes, SubjectKey]:
        rows: list[Any] = []
        for start in range(0, len(subjects), BATCH):
            batch = {"tenant": tenant, "subjects": subjects[start : start + BATCH]}
            rows += connection.execute(statement, batch).all()
        return {key.subject: key for key in self._open(connection, rows).values()}

    def _create(
        self, connection: Connection, tenant: str, subjects: list[bytes]
    ) -> dict[bytes, SubjectKey]:
        kek = self._keks.current(connection, tenant)
        expires = self._clock() + self._ttl
        keys, wrapped = new_subject_keys(kek, tenant, subjects, FIRST_GENERATION, expires)
        common = {
            "tenant": tenant,
            "generation": FIRST_GENERATION,
            "state": tables.ACTIVE,
            "kek_id": kek.kek_id,
            "created": int(time.time()),
        }
        rows = [
            {"key_id": key.key_id, "subject": key.subject, "wrapped": blob, **common}
            for key, blob in zip(keys, wrapped, strict=True)
        ]
        insert = tables.insert_if_absent(connection.dialect, tables.subject_key)
        done = connection.execute(insert, rows, execution_options={"preserve_rowcount": True})
        if done.rowcount == len(rows):
            return {key.subject: key for key in keys}
        winners = self._find_active(
            connection, tenant, subjects, tables.as_of_now(connection.dialect, _BY_SUBJECT)
        )
        if len(winners) != len(subjects):
            raise tables.lost_race()
        return winners

    def _open(self, connection: Connection, rows: list[Any]) -> dict[bytes, SubjectKey]:
        """The keys of some records, remembered; KeyErased when one is a tombstone."""
        if not {row[0] for row in rows} <= tables.STATES:
            raise damaged()
        usable = [row for row in rows if row[0] != tables.ERASED]
        keks = {
            kek_id: self._keks.by_id(connection, kek_id) for kek_id in {row[1] for row in usable}
        }
        keys = open_subject_keys(usable, keks, self._clock() + self._ttl)
        self._remember(keys)
        if len(usable) < len(rows):
            raise _erased()
        return keys

    def _remember(self, keys: dict[bytes, SubjectKey]) -> None:
        with self._lock:
            drop_oldest(self.cached, self._max_keys, self._clock())
            self.cached.update(keys)
            drop_oldest(self.cached, self._max_keys, self._clock())


def _erased() -> KeyErased:
    return KeyErased(
        "the data subject's key was destroyed",
        hint="the person was erased on request: what was sealed for them can't be read or "
        "written again, and nothing brings it back",
    )
