"""What must not be shared with a forked child: keys, locks, connections.

``in_child(self._forked)`` calls that method in every child the process forks, for as long as
its object lives.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from weakref import WeakMethod

if TYPE_CHECKING:
    from collections.abc import Callable

_methods: set[WeakMethod[Callable[[], None]]] = set()


def in_child(method: Callable[[], None]) -> None:
    """Call a bound method in every forked child; it doesn't keep its object alive."""
    if not _methods and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_forked)
    _methods.add(WeakMethod(method, _methods.discard))


def _forked() -> None:
    for reference in list(_methods):
        method = reference()
        if method is not None:
            method()
