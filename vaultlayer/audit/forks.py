"""A process that signs its log forks between two rounds of it, never within one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from vaultlayer.audit.files import DEADLINE

if TYPE_CHECKING:
    import threading
    import weakref


class _Worker(Protocol):
    @property
    def working(self) -> threading.Lock: ...


def fork_between_rounds(reference: weakref.ref[_Worker]) -> None:
    """A child is no copy of a process that is just using its database or holds the registry."""
    held: list[threading.Lock] = []

    def before() -> None:
        worker = reference()
        if worker is not None and worker.working.acquire(timeout=DEADLINE):
            held.append(worker.working)

    def after() -> None:
        while held:
            held.pop().release()

    os.register_at_fork(before=before, after_in_parent=after, after_in_child=held.clear)
