"""Index roots: what a tenant's blind-index keys derive from, never a subject key.

A root made in a transaction that is rolled back is gone, and nothing may be indexed with it:
so it is kept in memory only once another transaction than the one that made it has seen it.
"""

from __future__ import annotations

import hmac
import os
import time
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from sqlalchemy import Connection, RootTransaction, bindparam, select

from vaultlayer.crypto.binding import record_aad
from vaultlayer.crypto.envelope import key_id_for
from vaultlayer.keys import tables
from vaultlayer.keys.keks import FIRST_EPOCH, Keks
from vaultlayer.keys.records import (
    KEY_BYTES,
    IndexRoot,
    check_key,
    damaged,
    drop_oldest,
    index_root_aad,
    open_wrapped,
    wrap,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_C = tables.index_root.c
_CURRENT = (
    select(_C.root_id, _C.epoch, _C.kek_id, _C.wrapped)
    .where(_C.tenant == bindparam("tenant"))
    .order_by(_C.epoch.desc())
    .limit(1)
)


class IndexRoots:
    def __init__(self, keks: Keks, *, ttl: float, most: int, clock: Callable[[], float]) -> None:
        self._keks = keks
        self._ttl = ttl
        self._most = most
        self._clock = clock
        self._cached: dict[str, IndexRoot] = {}
        self._made_in: WeakValueDictionary[bytes, RootTransaction] = WeakValueDictionary()

    def index_key(
        self, connection: Connection, tenant: str, entity: str, field: str, index: str
    ) -> bytes:
        """HMAC-SHA-256 of the index's name under the root: a KDF as in NIST SP 800-108r1, one
        block, so that no index key tells anything of another."""
        root = self._cached.get(tenant)
        if root is None or root.expires <= self._clock():
            root = self._load(connection, tenant)
        names = {"entity": entity.encode(), "field": field.encode(), "index": index.encode()}
        return hmac.digest(root.key, record_aad("index-key", **names), "sha256")

    def _load(self, connection: Connection, tenant: str) -> IndexRoot:
        row = connection.execute(_CURRENT, {"tenant": tenant}).one_or_none()
        if row is None:
            self._create(connection, tenant)
            again = tables.as_of_now(connection.dialect, _CURRENT)
            row = connection.execute(again, {"tenant": tenant}).one_or_none()
        if row is None:
            raise tables.lost_race()
        root_id, epoch, kek_id, wrapped = row
        kek = self._keks.by_id(connection, kek_id)
        key = open_wrapped(kek, index_root_aad(tenant, epoch, root_id), wrapped)
        if not check_key(key, root_id):
            del key
            raise damaged()
        root = IndexRoot(key, self._clock() + self._ttl)
        if self._made_in.get(root_id) is not connection.get_transaction():
            self._keep(tenant, root)
        return root

    def _create(self, connection: Connection, tenant: str) -> None:
        kek = self._keks.current(connection, tenant)
        key = os.urandom(KEY_BYTES)
        root_id = key_id_for(key)
        aad = index_root_aad(tenant, FIRST_EPOCH, root_id)
        row = {
            "root_id": root_id,
            "tenant": tenant,
            "epoch": FIRST_EPOCH,
            "kek_id": kek.kek_id,
            "wrapped": wrap(kek, aad, key),
            "created": int(time.time()),
        }
        del key
        connection.execute(tables.insert_if_absent(connection.dialect, tables.index_root), row)
        maker = connection.get_transaction()
        if maker is not None:
            self._made_in[root_id] = maker

    def _keep(self, tenant: str, root: IndexRoot) -> None:
        self._cached.pop(tenant, None)
        self._cached[tenant] = root
        drop_oldest(self._cached, self._most, self._clock())
