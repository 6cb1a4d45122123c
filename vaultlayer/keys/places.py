"""The place of a key record: every column that says whose key it is, and its state, as AAD."""

from __future__ import annotations

from functools import lru_cache
from struct import Struct

from vaultlayer.crypto.binding import record_aad

_number = Struct(">q").pack  # any integer a database holds


def kek_aad(tenant: str, region: str, epoch: int, kek_id: bytes, added: bool) -> bytes:
    """Bound to whether it may wrap yet. Later states aren't: the newest that may wrap does."""
    return record_aad(
        "kek",
        epoch=_number(epoch),
        kek_id=kek_id,
        region=region.encode(),
        state=b"added" if added else b"in use",
        tenant=tenant.encode(),
    )


def subject_key_aad(
    tenant: str, subject: bytes, key_id: bytes, generation: int, state: str
) -> bytes:
    return _subject_key_prefix(tenant, state, len(subject)) + key_id + _number(generation) + subject


@lru_cache(maxsize=1024)
def _subject_key_prefix(tenant: str, state: str, subject_length: int) -> bytes:
    """``record_aad`` up to its last part, which is the only one that differs from key to key."""
    whose = bytes(16 + 8 + subject_length)
    parts = {"state": state.encode(), "tenant": tenant.encode(), "whose": whose}
    return record_aad("subject-key", **parts)[: -len(whose)]


def index_root_aad(tenant: str, epoch: int, root_id: bytes, state: str) -> bytes:
    return record_aad(
        "index-root",
        epoch=_number(epoch),
        root_id=root_id,
        state=state.encode(),
        tenant=tenant.encode(),
    )
