"""Index roots: what a tenant's blind-index keys derive from, never a subject key.

While one root takes over from another both are live: what is written is indexed with the active
one, what is searched is looked for under both. No process writes with a root that another might
not know yet, since a root is ``added`` for longer than any cache lives before it is ``active``.

A root made in a transaction that is rolled back is gone, and nothing may be indexed with it:
so it is kept in memory only once another transaction than the one that made it has seen it.
"""

from __future__ import annotations

import hmac
import os
import time
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from sqlalchemy import Connection, RootTransaction, bindparam, select

from vaultlayer.crypto.binding import record_aad
from vaultlayer.crypto.envelope import key_id_for
from vaultlayer.keys import states, tables
from vaultlayer.keys.cache import drop_oldest
from vaultlayer.keys.places import index_root_aad
from vaultlayer.keys.records import (
    KEY_BYTES,
    check_key,
    damaged,
    open_wrapped,
    wrap,
)
from vaultlayer.keys.uppers import IndexRoot, LiveRoots

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaultlayer.keys.keks import Keks
    from vaultlayer.keys.uppers import Kek

_C = tables.index_root.c
RECORD = select(_C.root_id, _C.tenant, _C.epoch, _C.state, _C.kek_id, _C.wrapped)
_LIVE = RECORD.where(_C.tenant == bindparam("tenant"), _C.state != states.ERASED).order_by(
    _C.epoch
)


class IndexRoots:
    def __init__(self, keks: Keks, *, ttl: float, most: int, clock: Callable[[], float]) -> None:
        self._keks = keks
        self._ttl = ttl
        self._most = most
        self._clock = clock
        self._cached: dict[str, LiveRoots] = {}
        self._made_in: WeakValueDictionary[bytes, RootTransaction] = WeakValueDictionary()

    def index_keys(
        self, connection: Connection, tenant: str, entity: str, field: str, index: str
    ) -> list[bytes]:
        """The index's key under each live root, the active one's first.

        HMAC-SHA-256 of the index's name under the root: a KDF as in NIST SP 800-108r1, one
        block, so that no index key tells anything of another.
        """
        ready = self.ready(tenant, entity, field, index)
        if ready is not None:
            return ready
        live = self._cached.get(tenant)
        if live is None or live.expires <= self._clock():
            live = self._load(connection, tenant)
        names = {"entity": entity.encode(), "field": field.encode(), "index": index.encode()}
        place = record_aad("index-key", **names)
        keys = [hmac.digest(root.key, place, "sha256") for root in live.roots]
        live.derived[entity, field, index] = keys
        return keys

    def ready(self, tenant: str, entity: str, field: str, index: str) -> list[bytes] | None:
        """The same where nothing has to be asked for: the keys are at hand."""
        live = self._cached.get(tenant)
        if live is None or live.expires <= self._clock():
            return None
        return live.derived.get((entity, field, index))

    def create(self, connection: Connection, tenant: str, epoch: int, state: str) -> None:
        """A new root's record, unless another transaction has made it."""
        kek = self._keks.current(connection, tenant)
        key = os.urandom(KEY_BYTES)
        root_id = key_id_for(key)
        row = {
            "root_id": root_id,
            "tenant": tenant,
            "epoch": epoch,
            "state": state,
            "kek_id": kek.kek_id,
            "wrapped": wrap(kek, index_root_aad(tenant, epoch, root_id, state), key),
            "created": int(time.time()),
            "changed": int(time.time()),
        }
        del key
        connection.execute(tables.insert_if_absent(connection.dialect, tables.index_root), row)
        maker = connection.get_transaction()
        if maker is not None:
            self._made_in[root_id] = maker

    def rewrapped(self, row: Any, old: Kek, new: Kek, state: str) -> bytes:
        """A root record's wrapping under another KEK, or for another state."""
        place = (row.tenant, row.epoch, row.root_id)
        key = open_wrapped(old, index_root_aad(*place, row.state), row.wrapped)
        return wrap(new, index_root_aad(*place, state), key)

    def forget(self) -> None:
        """Drop every unwrapped root."""
        self._cached.clear()

    def _load(self, connection: Connection, tenant: str) -> LiveRoots:
        rows = connection.execute(_LIVE, {"tenant": tenant}).all()
        if not rows:
            self.create(connection, tenant, states.FIRST, states.ACTIVE)
            again = tables.as_of_now(connection.dialect, _LIVE)
            rows = connection.execute(again, {"tenant": tenant}).all()
        if not rows:
            raise tables.lost_race()
        roots = [self._opened(connection, row) for row in rows]
        if states.active(roots) is None:
            raise damaged()
        roots.sort(key=lambda root: root.state != states.ACTIVE)
        live = LiveRoots(roots, self._clock() + self._ttl)
        maker = connection.get_transaction()
        if all(self._made_in.get(root.root_id) is not maker for root in roots):
            self._keep(tenant, live)
        return live

    def _opened(self, connection: Connection, row: Any) -> IndexRoot:
        if row.state not in states.STATES:
            raise damaged()
        kek = self._keks.by_id(connection, row.kek_id)
        aad = index_root_aad(row.tenant, row.epoch, row.root_id, row.state)
        key = open_wrapped(kek, aad, row.wrapped)
        if not check_key(key, row.root_id):
            del key
            raise damaged()
        return IndexRoot(row.root_id, row.epoch, row.state, key)

    def _keep(self, tenant: str, live: LiveRoots) -> None:
        self._cached.pop(tenant, None)
        self._cached[tenant] = live
        drop_oldest(self._cached, self._most, self._clock())
