"""Unwrapped keys above the subject keys: what a KEK and an index root are in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM


class Kek:
    """A key-encryption key, unwrapped: only its cipher is kept.

    From ``refresh`` on it is time to unwrap it anew, at ``expires`` it serves no more.
    """

    __slots__ = (
        "added", "cipher", "epoch", "expires", "kek_id", "refresh", "region", "tenant", "wraps",
    )  # fmt: skip

    def __init__(
        self,
        kek_id: bytes,
        tenant: str,
        region: str,
        epoch: int,
        added: bool,
        cipher: AESGCM,
    ) -> None:
        self.kek_id = kek_id
        self.tenant = tenant
        self.region = region
        self.epoch = epoch
        self.added = added  # not to be used for wrapping yet
        self.cipher = cipher
        self.expires = self.refresh = 0.0  # the cache says
        self.wraps = 0  # how many keys were wrapped with it here

    def __repr__(self) -> str:
        return "<Kek>"


class IndexRoot:
    """A key that a tenant's blind-index keys are derived from."""

    __slots__ = ("epoch", "key", "root_id", "state")

    def __init__(self, root_id: bytes, epoch: int, state: str, key: bytes) -> None:
        self.root_id = root_id
        self.epoch = epoch
        self.state = state
        self.key = key

    def __repr__(self) -> str:
        return "<IndexRoot>"


class LiveRoots:
    """A tenant's index roots that aren't erased, the active one first."""

    __slots__ = ("derived", "expires", "roots")

    def __init__(self, roots: list[IndexRoot], expires: float) -> None:
        self.roots = roots
        self.expires = expires
        self.derived: dict[tuple[str, str, str], list[bytes]] = {}  # indexes' keys
