"""KEKs at hand: one call to the provider for many threads, and a next one before it is urgent.

An unwrapped KEK serves for ``ttl`` seconds. From about half of them on, whoever uses it has it
unwrapped anew in the background: nobody waits, and a provider that is away for less than half the
TTL isn't missed. That a refresh failed changes nothing about the KEK's end. After a failure the
provider isn't asked for the same KEK again for a second, however many want it.
"""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any

from vaultlayer.errors import KeyUnavailable, VaultLayerError
from vaultlayer.keys.cache import Flight, Flights, drop_oldest

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaultlayer.keys.uppers import Kek

MOST_WRAPS = 2**20  # keys wrapped by one unwrapped KEK; then the provider is asked again
RETRY = 1.0  # seconds

_PATIENCE = 10.0  # seconds to wait for another thread's call; providers give up sooner
_REFRESH = (0.4, 0.5)  # of the TTL; at random, so that processes don't all ask at once


class KekCache:
    def __init__(self, *, ttl: float, most: int, clock: Callable[[], float]) -> None:
        self._ttl = ttl
        self._most = most
        self._clock = clock
        self.cached: dict[bytes, Kek] = {}
        self.forget()

    def forget(self) -> None:
        """Drop all, and the locks with them: in a forked child another thread may hold those."""
        self.cached.clear()
        self._failed: dict[bytes, tuple[float, str, str]] = {}  # until when, and why
        self._flights = Flights()
        self._lock = threading.Lock()

    def at_hand(self, kek_id: bytes) -> Kek | None:
        kek = self.cached.get(kek_id)
        return kek if kek is not None and kek.expires > self._clock() else None

    def once(self, kek_id: bytes, load: Callable[[], Kek]) -> Kek:
        """``load`` a KEK that isn't at hand, once for all the threads that want it now."""
        flight, mine, others = self._flights.claim([kek_id])
        try:
            for other in others:
                other.landed.wait(_PATIENCE)
            return self.at_hand(kek_id) or self._loaded(kek_id, load)
        finally:
            self._flights.land(flight, mine)

    def refresh(self, kek: Kek, record: Callable[[], Any], load: Callable[[Any], Kek]) -> None:
        """If it is time, read its ``record`` now and ``load`` that in the background."""
        if kek.refresh > self._clock():
            return
        flight, mine, _ = self._flights.claim([kek.kek_id])
        if not mine:
            return
        flight.thread = 0
        kek.refresh = self._clock() + RETRY  # where it fails, somebody tries again
        try:
            row = record()
        except BaseException:
            self._flights.land(flight, mine)
            raise
        arguments = (kek.kek_id, lambda: load(row), flight)
        threading.Thread(target=self._reload, args=arguments, daemon=True).start()

    def keep(self, kek: Kek) -> Kek:
        """A KEK unwrapped or made just now."""
        now = self._clock()
        kek.expires = now + self._ttl
        kek.refresh = now + self._ttl * random.uniform(*_REFRESH)  # noqa: S311 - no secret
        with self._lock:
            self._failed.pop(kek.kek_id, None)
            self.cached.pop(kek.kek_id, None)
            self.cached[kek.kek_id] = kek
            drop_oldest(self.cached, self._most, now)
        return kek

    def wrapped(self, kek: Kek, count: int) -> None:
        """It is to wrap so many keys more; after enough of them it leaves."""
        kek.wraps += count
        if kek.wraps >= MOST_WRAPS:
            with self._lock:
                self.cached.pop(kek.kek_id, None)

    def _reload(self, kek_id: bytes, load: Callable[[], Kek], flight: Flight) -> None:
        try:
            self._loaded(kek_id, load)
        except VaultLayerError:
            pass  # the one at hand serves until its own end
        finally:
            self._flights.land(flight, [kek_id])

    def _loaded(self, kek_id: bytes, load: Callable[[], Kek]) -> Kek:
        until, message, hint = self._failed.get(kek_id, (0.0, "", ""))
        if self._clock() < until:
            raise KeyUnavailable(message, hint)
        try:
            return self.keep(load())
        except KeyUnavailable as error:
            pause = RETRY * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
            self._failed[kek_id] = (self._clock() + pause, error.message, error.hint)
            raise
