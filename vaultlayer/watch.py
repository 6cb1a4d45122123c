"""Watching: one process tells the others that something changed, e.g. that a key was erased.

A message is a topic and a payload of names or ids, nothing personal and nothing secret. Whoever
can send one can make processes look again, no more. What carries the messages is found by the
scheme of ``[watch] url``; without it only this process hears itself, and the others find out
when their own time to look again comes (for keys: their TTL).
"""

from __future__ import annotations

import threading
from collections import defaultdict
from contextlib import suppress
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol
from weakref import WeakMethod, ref

from vaultlayer.errors import ConfigurationError
from vaultlayer.forks import in_child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENTRY_POINT_GROUP = "vaultlayer.watchers"
EVERYTHING = ""  # the payload for "anything of this topic may have changed"
MOST = 4000  # characters; PostgreSQL carries fewer than 8,000 bytes

KEY = "key"  # key ids in hexadecimal, separated by spaces: destroyed
POLICY = "policy"  # the digest of the bundle to load
CONSENT = "consent"  # ids of subjects whose consents changed

_RETRY = 0.5  # seconds between two attempts to connect


class Watcher(Protocol):
    """What carries messages between processes. It raises whatever it likes when it can't."""

    def publish(self, topic: str, payload: str) -> None: ...

    def messages(self) -> Iterator[tuple[str, str] | None]:
        """Every message from now on; None as soon as it listens, and whenever a second is idle.

        It ends, or raises, when the connection is lost or isn't answering.
        """


class Watch:
    """``vault.watch``: say that something changed, and hear of it."""

    def __init__(self, watcher: Watcher | None = None) -> None:
        self.listening: threading.Event = threading.Event()
        self._watcher = watcher
        self._hearing: dict[str, list[WeakMethod[Callable[[str], None]]]] = defaultdict(list)
        self._stopped = threading.Event()
        if watcher is not None:
            self._start()
            in_child(self._forked)

    @classmethod
    def open(cls, url: str | None) -> Watch:
        """The watch of ``[watch] url``; its scheme is looked up among ``vaultlayer.watchers``."""
        return cls(_watcher(url) if url else None)

    def on(self, topic: str, hear: Callable[[str], None]) -> None:
        """Call the bound method ``hear`` with the payload of each message.

        It is called from another thread, in this process for its own messages too, and with
        EVERYTHING whenever messages may have been missed. It doesn't keep its object alive.
        """
        self._hearing[topic].append(WeakMethod(hear))

    def publish(self, topic: str, payload: str = EVERYTHING) -> bool:
        """Tell all processes, this one at once. False: the others will find out by themselves.

        Say it after the transaction has committed: whoever hears it looks at the database.
        """
        payload = payload if len(payload) <= MOST else EVERYTHING
        self._hear(topic, payload)
        if self._watcher is None:
            return False
        try:
            self._watcher.publish(topic, payload)
        except Exception:
            return False  # what was done is done; a broken messenger doesn't undo it
        return True

    def close(self) -> None:
        """Stop listening."""
        self._stopped.set()
        self.listening.clear()

    def _start(self) -> None:
        name = "vaultlayer-watch"
        arguments = (ref(self), self._watcher, self._stopped)
        threading.Thread(target=_listen, args=arguments, name=name, daemon=True).start()

    def _forked(self) -> None:
        """In a forked child: the thread is gone, and messages may have been missed."""
        stopped, self._stopped = self._stopped.is_set(), threading.Event()
        self.listening = threading.Event()
        if stopped:
            self._stopped.set()
        else:
            self._start()

    def _hear(self, topic: str, payload: str) -> None:
        for reference in self._hearing.get(topic, ()):
            hear = reference()
            if hear is not None:
                hear(payload)

    def _heard(self, message: tuple[str, str] | None) -> None:
        """A message from the listening thread, which no callback's trouble may end."""
        if message is not None:
            with suppress(Exception):
                self._hear(*message)
        elif not self.listening.is_set():
            self.listening.set()
            for topic in list(self._hearing):
                with suppress(Exception):
                    self._hear(topic, EVERYTHING)


def _listen(reference: ref[Watch], watcher: Watcher, stopped: threading.Event) -> None:
    """Until the watch is closed or gone: connect, hear, and connect again."""
    while not stopped.is_set():
        with suppress(Exception):  # whatever it was, the remedy is to connect again
            for message in watcher.messages():
                watch = reference()
                if watch is None or stopped.is_set():
                    return
                watch._heard(message)
                del watch
        watch = reference()
        if watch is None:
            return
        watch.listening.clear()
        del watch
        stopped.wait(_RETRY)


def _watcher(url: str) -> Watcher:
    scheme = url.partition(":")[0].partition("+")[0]
    found = {point.value: point for point in entry_points(group=ENTRY_POINT_GROUP, name=scheme)}
    if len(found) != 1:
        known = sorted({point.name for point in entry_points(group=ENTRY_POINT_GROUP)})
        raise ConfigurationError(
            f"[watch] url has the scheme {scheme!r}, which nothing serves",
            hint=f"known: {', '.join(known) or 'none'}",
        )
    (point,) = found.values()
    try:
        factory = point.load()
    except ImportError as error:
        raise ConfigurationError(
            f"[watch] url needs a library that isn't installed ({error.name})",
            hint=f'pip install "sqlalchemy-vaultlayer[{point.module.rpartition(".")[2]}]"',
        ) from None
    watcher: Watcher = factory.open(url)
    return watcher
