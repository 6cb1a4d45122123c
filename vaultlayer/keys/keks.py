"""KEKs: one a tenant, region and epoch, made when first needed, unwrapped by the provider.

Before anything is wrapped under a KEK its record is looked up in the caller's own transaction:
a KEK made in one that was rolled back is not used again, however fresh it is in memory.
"""

from __future__ import annotations

import os
import time
from hmac import compare_digest
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, bindparam, func, select

from vaultlayer.crypto.envelope import key_id_for
from vaultlayer.errors import IntegrityError, KeyErased, KeyUnavailable, VaultLayerError
from vaultlayer.keys import states, tables
from vaultlayer.keys.kek_cache import KekCache
from vaultlayer.keys.places import kek_aad
from vaultlayer.keys.records import KEY_BYTES, check_key, damaged
from vaultlayer.keys.uppers import Kek

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaultlayer.keys.provider import KeyProvider, Providers

_C = tables.kek.c
RECORD = select(_C.kek_id, _C.tenant, _C.region, _C.epoch, _C.state, _C.provider, _C.wrapped)
_BY_ID = RECORD.where(_C.kek_id == bindparam("kek_id"))
_NEWEST = (
    RECORD.where(_C.tenant == bindparam("tenant"), _C.region == bindparam("region"))
    .order_by(_C.epoch.desc())
    .limit(2)
)
_LAST_EPOCH = select(func.max(_C.epoch)).where(_C.region == bindparam("region"))


class Keks:
    def __init__(
        self,
        providers: Providers,
        *,
        region: str,
        ttl: float,
        most: int,
        clock: Callable[[], float],
    ) -> None:
        self.region = region
        self.providers = providers
        self.cache = KekCache(ttl=ttl, most=most, clock=clock)

    def provider(self, region: str) -> KeyProvider:
        """What holds the provider key of a region."""
        return self.providers.of_region(region)

    def by_id(self, connection: Connection, kek_id: bytes) -> Kek:
        """The KEK a record was wrapped under."""
        kek = self.cache.at_hand(kek_id)
        if kek is None:
            return self.cache.once(kek_id, lambda: self._opened(_record(connection, kek_id)))
        self.cache.refresh(kek, lambda: _record(connection, kek_id), self._opened)
        return kek

    def current(
        self, connection: Connection, tenant: str, region: str | None = None, keys: int = 1
    ) -> Kek:
        """The KEK to wrap ``keys`` new keys under, in its newest epoch; made when there is none."""
        region = self.region if region is None else region
        place = {"tenant": tenant, "region": region}
        rows = connection.execute(_NEWEST, place).all()
        if not rows:
            self.create(connection, tenant, region, self._epoch(connection, region), states.ACTIVE)
            again = tables.as_of_now(connection.dialect, _NEWEST)
            rows = connection.execute(again, place).all()
        if not rows:
            raise tables.lost_race()
        keks = [self._unwrapped(row) for row in rows[: 2 if rows[0].state == states.ADDED else 1]]
        kek = keks[-1]
        if (kek.tenant, kek.region, kek.added) != (tenant, region, False):
            raise damaged()
        self.cache.wrapped(kek, keys)
        return kek

    def create(
        self, connection: Connection, tenant: str, region: str, epoch: int, state: str
    ) -> None:
        """A new KEK's record, unless another transaction has made it."""
        provider = self.provider(region)
        tables.check_names(tenant, region, provider.name)
        kek, wrapped = self._new_kek(tenant, region, epoch, added=state == states.ADDED)
        row = {
            "kek_id": kek.kek_id,
            "tenant": kek.tenant,
            "region": kek.region,
            "epoch": kek.epoch,
            "state": state,
            "provider": provider.name,
            "wrapped": wrapped,
            "created": int(time.time()),
            "changed": int(time.time()),
        }
        connection.execute(tables.insert_if_absent(connection.dialect, tables.kek), row)
        self.cache.keep(kek)

    def rewrapped(self, row: Any, state: str) -> bytes:
        """A KEK record's wrapping by the provider's newest version, for ``state``."""
        provider, added = self.provider(row.region), state == states.ADDED
        place = (row.tenant, row.region, row.epoch, row.kek_id)
        key = self._key(row)
        wrapped = _wrapped(provider, key, kek_aad(*place, added))
        del key
        if isinstance(wrapped, VaultLayerError):
            raise wrapped
        return wrapped

    def unwrapped(self, row: Any) -> bytes:
        """The 32 bytes of a KEK, for a backup."""
        return self._key(row)

    def wrapped(
        self, key: bytes, tenant: str, region: str, epoch: int, kek_id: bytes, added: bool
    ) -> bytes:
        """The wrapping of a KEK from a backup."""
        aad = kek_aad(tenant, region, epoch, kek_id, added)
        wrapped = _wrapped(self.provider(region), key, aad)
        del key
        if isinstance(wrapped, VaultLayerError):
            raise wrapped
        return wrapped

    def forget(self) -> None:
        """Drop every unwrapped KEK."""
        self.cache.forget()

    def _epoch(self, connection: Connection, region: str) -> int:
        """A new tenant begins in the epoch its region is in."""
        return connection.scalar(_LAST_EPOCH, {"region": region}) or states.FIRST

    def _new_kek(self, tenant: str, region: str, epoch: int, added: bool) -> tuple[Kek, bytes]:
        key, provider = os.urandom(KEY_BYTES), self.provider(region)
        kek_id, cipher = key_id_for(key), AESGCM(key)
        wrapped = _wrapped(provider, key, kek_aad(tenant, region, epoch, kek_id, added))
        del key
        if isinstance(wrapped, VaultLayerError):
            raise wrapped
        return Kek(kek_id, tenant, region, epoch, added, cipher), wrapped

    def _unwrapped(self, row: Any) -> Kek:
        """The KEK of a record that was just read."""
        kek = self.cache.at_hand(row.kek_id)
        if kek is None:
            kek = self.cache.once(row.kek_id, lambda: self._opened(row))
        if kek.added != (row.state == states.ADDED):  # it went on since it was unwrapped
            kek = self.cache.keep(self._opened(row))
        return kek

    def _opened(self, row: Any) -> Kek:
        cipher, added = AESGCM(self._key(row)), row.state == states.ADDED
        return Kek(row.kek_id, row.tenant, row.region, row.epoch, added, cipher)

    def _key(self, row: Any) -> bytes:
        """The 32 bytes of a record, unwrapped by the provider."""
        if row.state not in states.STATES:
            raise damaged()
        if row.state == states.ERASED:
            raise _epoch_over()
        provider = self.providers.that_wrapped(row.provider, row.region)
        place = (row.tenant, row.region, row.epoch, row.kek_id)
        key: bytes | VaultLayerError
        try:
            key = provider.unwrap(row.wrapped, kek_aad(*place, row.state == states.ADDED))
        except Exception as error:
            key = _without_frames(error, provider)
        refused = isinstance(key, IntegrityError | KeyUnavailable)
        if refused and row.provider != provider.name:
            raise KeyUnavailable(
                f"{provider.name} doesn't unwrap this KEK",
                hint=f"it was wrapped by {row.provider}: name that in [keys] former, or restore a "
                "backup with `vaultlayer keys restore`",
            )
        if isinstance(key, IntegrityError):
            raise damaged()
        if isinstance(key, VaultLayerError):
            raise key
        if not check_key(key, row.kek_id):
            del key
            raise damaged()
        return key


def _record(connection: Connection, kek_id: bytes) -> Any:
    row = connection.execute(_BY_ID, {"kek_id": kek_id}).one_or_none()
    if row is None:
        raise KeyUnavailable(
            "there is no record of the KEK a key was wrapped under",
            hint="restore vaultlayer_kek from the same backup as the other key tables",
        )
    return row


def _wrapped(provider: KeyProvider, key: bytes, aad: bytes) -> bytes | VaultLayerError:
    """A wrapping that was tried: nothing is sealed under what the provider doesn't give back."""
    try:
        wrapped = provider.wrap(key, aad)
        if compare_digest(provider.unwrap(wrapped, aad), key):
            return wrapped
    except Exception as error:
        return _without_frames(error, provider)
    return KeyUnavailable(
        f"the key provider {provider.name} gave back another key than it had wrapped",
        hint="don't use it before it is repaired: what is sealed now could be lost",
    )


def _without_frames(error: Exception, provider: KeyProvider) -> VaultLayerError:
    """The provider's error without its frames, whose variables may hold the key."""
    if isinstance(error, VaultLayerError):
        error.__cause__ = error.__context__ = None
        return error.with_traceback(None)
    return KeyUnavailable(
        f"the key provider {provider.name} failed ({type(error).__name__})",
        hint="check that it is reachable and that its credentials are valid, then try again",
    )


def _epoch_over() -> KeyErased:
    return KeyErased(
        "the key's epoch is over, and its KEK was destroyed",
        hint="the record is from a backup that is older than the horizon of `vaultlayer keys "
        "epochs`: take a newer one",
    )
