"""Where the log's heads are kept, away from the log: compared and swapped, never shrinking.

By default the database of ``[vault] database``. Who can write the audit directory alone can't
take the log back to an older state: its heads say how far it had come.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sqlalchemy.engine import make_url

from vaultlayer.audit.note import Signer, VerifierKey
from vaultlayer.errors import AuditUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Head:
    """The last checkpoint of a log, signed as ``note``.

    ``log`` is the origin of the registry it belongs to, ``place`` the directory it lies in.
    """

    origin: str
    log: str
    place: str
    size: int
    root: bytes
    note: str


class Conflict(AuditUnavailable):
    """A log and its head disagree: it was taken back, or two processes write one log."""


class MissingTables(AuditUnavailable):
    """The database has no tables for the heads yet."""


class Provider(Protocol):
    """What the signing key is wrapped with: the vault's key provider."""

    @property
    def name(self) -> str: ...
    def wrap(self, plaintext: bytes, aad: bytes) -> bytes: ...
    def unwrap(self, blob: bytes, aad: bytes) -> bytes: ...
    def version_of(self, blob: bytes) -> str: ...
    def versions(self) -> list[str]: ...


class Heads(Protocol):
    """A store of heads, and of the log's keys. ``AuditUnavailable`` when it can't be reached."""

    def at(self, place: str, log: str) -> list[Head]:
        """The heads of the log of this name, and of any log that was at this place."""

    def swap(self, old: Head | None, new: Head, drop: Sequence[str] = ()) -> None:
        """Put ``new`` where ``old`` is, and drop the heads of those origins, or ``Conflict``."""

    def signer(self, provider: Provider) -> Signer:
        """The log's signing key; made at first use."""

    def keys(self) -> list[VerifierKey]:
        """The public keys the log was ever signed with."""


class MemoryHeads:
    """Heads that last as long as the process: those of an ephemeral vault."""

    def __init__(self) -> None:
        self._heads: dict[str, Head] = {}
        self._signer = new_signer(os.urandom(32))

    def at(self, place: str, log: str) -> list[Head]:
        return [head for head in self._heads.values() if log == head.log or place == head.place]

    def swap(self, old: Head | None, new: Head, drop: Sequence[str] = ()) -> None:
        if self._heads.get(new.origin) != old:
            raise conflict(new.origin)
        self._heads[new.origin] = new
        for origin in drop:
            self._heads.pop(origin, None)

    def signer(self, provider: Provider) -> Signer:
        return self._signer

    def keys(self) -> list[VerifierKey]:
        return [self._signer.public]


def heads_at(url: str | None) -> Heads:
    """The store in the database at ``url``; in memory where there is none that lasts."""
    if url is None:
        return MemoryHeads()
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        return MemoryHeads()
    from vaultlayer.audit.heads_database import DatabaseHeads

    return DatabaseHeads(parsed)


def new_signer(seed: bytes, name: str = "") -> Signer:
    """A key, by default under a name nobody else has; the name and the key are what one pins."""
    return Signer(name or f"vaultlayer/{os.urandom(8).hex()}", seed)


def place_of(directory: Path) -> str:
    """The name of a directory of this machine."""
    return f"{socket.gethostname()[:60]}:{directory.resolve()}"[:255]


def conflict(origin: str) -> Conflict:
    """What is said when a log isn't what its head says."""
    return Conflict(
        f"the audit log {origin} is not the one its stored head belongs to",
        hint="it was taken back, removed or copied: put the newest copy back, or see"
        " `vaultlayer audit accept-loss --help`",
    )
