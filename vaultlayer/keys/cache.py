"""What keeps unwrapped keys few and their fetching rare: bounds, and one fetch for many threads."""

from __future__ import annotations

import threading
from collections import defaultdict
from math import inf
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vaultlayer.keys.records import SubjectKey

_SLACK = 64  # a full cache makes room for a 64th at once, so that looking for it stays cheap


class _Expiring(Protocol):
    @property
    def expires(self) -> float: ...


_Key = TypeVar("_Key")
_Value = TypeVar("_Value", bound=_Expiring)


def drop_oldest(cache: dict[_Key, _Value], most: int, now: float) -> None:
    """Forget what expired and what is too many, oldest first (a dict keeps its order)."""
    while cache:
        oldest = next(iter(cache))
        if len(cache) <= most and cache[oldest].expires > now:
            return
        del cache[oldest]


class SubjectKeys:
    """Subject keys at hand: ``cached`` is what the paths look into, and nothing else adds to it."""

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self.cached: dict[bytes, SubjectKey] = {}
        self.forgotten = 0  # how often keys were let go of
        self._shunned: dict[bytes, None] = {}  # which: an old snapshot may still show their records
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()

    def look(self, key_ids: Iterable[bytes]) -> tuple[dict[bytes, SubjectKey], list[bytes]]:
        """The keys at hand, and the ids of those that aren't."""
        now = self._clock()
        found: dict[bytes, SubjectKey] = {}
        missing = []
        for key_id in key_ids:
            key = self.cached.get(key_id)
            if key is not None and key.expires > now:
                found[key_id] = key
            else:
                missing.append(key_id)
        return found, missing

    def keep(self, keys: dict[bytes, SubjectKey], forgotten: int) -> None:
        """``forgotten``: as it was before the records were read. What was let go of meanwhile
        may have been read as it was before, so it serves this once and no more."""
        with self._lock:
            all_stale = forgotten != self.forgotten
            for key_id in list(keys if all_stale else self._shunned.keys() & keys.keys()):
                keys[key_id].expires = -inf
            self._make_room()
            self.cached.update(keys)
            self._make_room()

    def forget(self, key_ids: Iterable[bytes]) -> None:
        """Let go of these keys, or of all of them where none is named."""
        with self._lock:
            self.forgotten += 1
            ids = list(key_ids)
            self._shunned.update(dict.fromkeys(ids))
            while len(self._shunned) > self._most:
                del self._shunned[next(iter(self._shunned))]
            for key_id in ids or list(self.cached):
                key = self.cached.pop(key_id, None)
                if key is not None:
                    key.expires = -inf  # whoever holds it still

    def forked(self) -> None:
        """In a forked child: another thread may have held the lock, and won't let go of it."""
        self._lock = threading.Lock()
        self.forget(())

    def _make_room(self) -> None:
        """Forget what expired; and where there is too much, the oldest of the largest tenants.

        So a tenant that reads a million people pushes out its own keys, not its neighbours'.
        """
        cached, now = self.cached, self._clock()
        drop_oldest(cached, len(cached), now)
        if len(cached) <= self._most:
            return
        partitions: dict[str, list[bytes]] = defaultdict(list)
        for key_id, key in cached.items():
            partitions[key.tenant].append(key_id)
        most = self._most - self._most // _SLACK
        share = _largest_share([len(ids) for ids in partitions.values()], most)
        for ids in partitions.values():
            for key_id in ids[: max(0, len(ids) - share)]:
                del cached[key_id]


def _largest_share(sizes: list[int], most: int) -> int:
    """The most that each partition may keep so that all together keep at most ``most``."""
    left = most
    for number, size in enumerate(sorted(sizes)):
        share = left // (len(sizes) - number)
        if size > share:
            return share
        left -= size
    return most


class Flight:
    """A fetch that is under way, in one thread; ``thread`` 0: in the background."""

    __slots__ = ("landed", "thread")

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.landed = threading.Event()


class Flights:
    """One thread fetches what many miss; the others wait for it, and then look again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flying: dict[bytes, Flight] = {}

    def claim(self, key_ids: Iterable[bytes]) -> tuple[Flight, list[bytes], set[Flight]]:
        """A flight to ``land``, what it is to bring, and whom to wait for before looking again.

        Never for its own thread's: there another asyncio task has it, which can't go on while
        this one waits.
        """
        flight, mine, others = Flight(), [], set()
        with self._lock:
            for key_id in key_ids:
                other = self._flying.setdefault(key_id, flight)
                if other.thread == flight.thread:
                    mine.append(key_id)
                else:
                    others.add(other)
        return flight, mine, others

    def land(self, flight: Flight, key_ids: Iterable[bytes]) -> None:
        """What was claimed is there, or couldn't be had."""
        with self._lock:
            for key_id in key_ids:
                if self._flying.get(key_id) is flight:
                    del self._flying[key_id]
        flight.landed.set()
