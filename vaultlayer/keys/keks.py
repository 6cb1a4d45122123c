"""KEKs: one a tenant, region and epoch, made when first needed, unwrapped by the provider.

Before anything is wrapped under a KEK its record is looked up in the caller's own transaction:
a KEK made in one that was rolled back is not used again, however fresh it is in memory.
"""

from __future__ import annotations

import os
import time
from threading import Lock
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, bindparam, select

from vaultlayer.crypto.envelope import key_id_for
from vaultlayer.errors import IntegrityError, KeyUnavailable, VaultLayerError
from vaultlayer.keys import tables
from vaultlayer.keys.records import KEY_BYTES, Kek, check_key, damaged, drop_oldest, kek_aad

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaultlayer.keys.provider import KeyProvider

FIRST_EPOCH = 1

_C = tables.kek.c
_RECORD = select(_C.kek_id, _C.tenant, _C.region, _C.epoch, _C.provider, _C.wrapped)
_BY_ID = _RECORD.where(_C.kek_id == bindparam("kek_id"))
_CURRENT = (
    _RECORD.where(_C.tenant == bindparam("tenant"), _C.region == bindparam("region"))
    .order_by(_C.epoch.desc())
    .limit(1)
)


class Keks:
    def __init__(
        self,
        provider: KeyProvider,
        *,
        region: str,
        ttl: float,
        most: int,
        clock: Callable[[], float],
    ) -> None:
        self._provider = provider
        self._region = region
        self._ttl = ttl
        self._most = most
        self._clock = clock
        self._cached: dict[bytes, Kek] = {}
        self._lock = Lock()

    def by_id(self, connection: Connection, kek_id: bytes) -> Kek:
        """The KEK a record was wrapped under."""
        kek = self._cached.get(kek_id)
        if kek is not None and kek.expires > self._clock():
            return kek
        row = connection.execute(_BY_ID, {"kek_id": kek_id}).one_or_none()
        if row is None:
            raise KeyUnavailable(
                "there is no record of the KEK a key was wrapped under",
                hint="restore vaultlayer_kek from the same backup as the other key tables",
            )
        return self._unwrapped(row)

    def current(self, connection: Connection, tenant: str) -> Kek:
        """The KEK to wrap new keys under, in its newest epoch; made when there is none."""
        place = {"tenant": tenant, "region": self._region}
        row = connection.execute(_CURRENT, place).one_or_none()
        if row is None:
            self._create(connection, tenant)
            again = tables.as_of_now(connection.dialect, _CURRENT)
            row = connection.execute(again, place).one_or_none()
        if row is None:
            raise tables.lost_race()
        kek = self._unwrapped(row)
        if (kek.tenant, kek.region, kek.epoch) != (tenant, self._region, row.epoch):
            raise damaged()
        return kek

    def _create(self, connection: Connection, tenant: str) -> None:
        tables.check_names(tenant, self._region, self._provider.name)
        kek, wrapped = self._new_kek(tenant, FIRST_EPOCH)
        row = {
            "kek_id": kek.kek_id,
            "tenant": kek.tenant,
            "region": kek.region,
            "epoch": kek.epoch,
            "provider": self._provider.name,
            "wrapped": wrapped,
            "created": int(time.time()),
        }
        connection.execute(tables.insert_if_absent(connection.dialect, tables.kek), row)
        with self._lock:
            self._keep(kek)

    def _new_kek(self, tenant: str, epoch: int) -> tuple[Kek, bytes]:
        key = os.urandom(KEY_BYTES)
        kek_id, cipher = key_id_for(key), AESGCM(key)
        wrapped: bytes | VaultLayerError
        try:
            wrapped = self._provider.wrap(key, kek_aad(tenant, self._region, epoch, kek_id))
        except Exception as error:
            wrapped = self._without_frames(error)
        del key
        if isinstance(wrapped, VaultLayerError):
            raise wrapped
        expires = self._clock() + self._ttl
        return Kek(kek_id, tenant, self._region, epoch, cipher, expires), wrapped

    def _unwrapped(self, row: Any) -> Kek:
        """The KEK of a record; one call to the provider, however many threads want it."""
        with self._lock:
            kek = self._cached.get(row.kek_id)
            if kek is None or kek.expires <= self._clock():
                kek = self._unwrap(*row)
                self._keep(kek)
            return kek

    def _unwrap(
        self, kek_id: bytes, tenant: str, region: str, epoch: int, written_by: str, wrapped: bytes
    ) -> Kek:
        key: bytes | VaultLayerError
        try:
            key = self._provider.unwrap(wrapped, kek_aad(tenant, region, epoch, kek_id))
        except Exception as error:
            key = self._without_frames(error)
        if isinstance(key, IntegrityError):
            raise damaged()
        if isinstance(key, KeyUnavailable) and written_by != self._provider.name:
            raise KeyUnavailable(key.message, hint=f"{key.hint}; it was wrapped by {written_by}")
        if isinstance(key, VaultLayerError):
            raise key
        if not check_key(key, kek_id):
            del key
            raise damaged()
        return Kek(kek_id, tenant, region, epoch, AESGCM(key), self._clock() + self._ttl)

    def _keep(self, kek: Kek) -> None:
        self._cached.pop(kek.kek_id, None)
        self._cached[kek.kek_id] = kek
        drop_oldest(self._cached, self._most, self._clock())

    def _without_frames(self, error: Exception) -> VaultLayerError:
        """The provider's error without its frames, whose variables may hold the key."""
        if isinstance(error, VaultLayerError):
            error.__cause__ = error.__context__ = None
            return error.with_traceback(None)
        return KeyUnavailable(
            f"the key provider {self._provider.name} failed ({type(error).__name__})",
            hint="check that it is reachable and that its credentials are valid, then try again",
        )
