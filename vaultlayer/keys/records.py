"""How key records are wrapped and opened: pure functions, no I/O.

A wrapped key is an envelope of version 1 under the KEK whose place is ``record_aad(...)``: the
record's kind and every column that says whose key it is. So a record moved to another tenant,
subject, generation or id doesn't open, and the key inside must hash to the id it goes by.
"""

from __future__ import annotations

import os
from functools import lru_cache
from hmac import compare_digest
from struct import Struct
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vaultlayer.crypto.binding import record_aad, subject_part
from vaultlayer.crypto.envelope import PLAIN_HEADER, PLAIN_ITEM, key_id_for, open_sealed, seal
from vaultlayer.crypto.refusals import damaged as damaged_value
from vaultlayer.errors import ConfigurationError, IntegrityError, PlaintextFound

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

KEY_BYTES = 32
LOG_REF_BYTES = 16
NONCE_BYTES = 12
_KEK_ID = slice(3, 19)  # where an envelope names its key
_MATERIAL = KEY_BYTES + LOG_REF_BYTES

number = Struct(">q").pack  # any integer a database holds


class SubjectKey:
    """One data subject's key, unwrapped; ``expires`` is on the monotonic clock of its Keys."""

    __slots__ = (
        "_own_place",
        "cipher",
        "expires",
        "header",
        "key_id",
        "log_ref",
        "number",
        "place",
        "subject",
        "tenant",
    )

    def __init__(
        self,
        key_id: bytes,
        tenant: str,
        subject: bytes,
        log_ref: bytes,
        cipher: AESGCM,
        expires: float,
    ) -> None:
        self.key_id = key_id
        self.tenant = tenant
        self.subject = subject
        self.number = int.from_bytes(subject)  # UUID.int of the subject
        self.place = subject_part(subject)
        self._own_place = self.place + PLAIN_ITEM
        self.header = PLAIN_HEADER + key_id  # how its unpadded, unbound envelopes begin
        self.log_ref = log_ref
        self.cipher = cipher
        self.expires = expires

    def open_own(self, field: bytes, envelope: bytes) -> bytes:
        """``open_sealed`` for an envelope that begins with ``header``.

        ``field`` is the field part of its place. The hot path: nothing is looked up or built
        that the key can hold ready.
        """
        try:
            return self.cipher.decrypt(envelope[19:31], envelope[31:], field + self._own_place)
        except (InvalidTag, ValueError):
            raise damaged_value() from None

    def __repr__(self) -> str:
        return "<SubjectKey>"

    def __reduce__(self) -> NoReturn:
        raise ConfigurationError(
            "a subject key can't be pickled or copied",
            hint="pass the sealed value on; whoever opens it fetches the key",
        )


class Kek:
    """A key-encryption key, unwrapped: only its cipher is kept."""

    __slots__ = ("cipher", "epoch", "expires", "kek_id", "region", "tenant")

    def __init__(
        self, kek_id: bytes, tenant: str, region: str, epoch: int, cipher: AESGCM, expires: float
    ) -> None:
        self.kek_id = kek_id
        self.tenant = tenant
        self.region = region
        self.epoch = epoch
        self.cipher = cipher
        self.expires = expires

    def __repr__(self) -> str:
        return "<Kek>"


class IndexRoot:
    """The key a tenant's blind-index keys are derived from."""

    __slots__ = ("expires", "key")

    def __init__(self, key: bytes, expires: float) -> None:
        self.key = key
        self.expires = expires

    def __repr__(self) -> str:
        return "<IndexRoot>"


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


def kek_aad(tenant: str, region: str, epoch: int, kek_id: bytes) -> bytes:
    return record_aad(
        "kek", epoch=number(epoch), kek_id=kek_id, region=region.encode(), tenant=tenant.encode()
    )


def subject_key_aad(tenant: str, subject: bytes, key_id: bytes, generation: int) -> bytes:
    return _subject_key_prefix(tenant, len(subject)) + key_id + number(generation) + subject


@lru_cache(maxsize=1024)
def _subject_key_prefix(tenant: str, subject_length: int) -> bytes:
    """``record_aad`` up to its last part, which is the only one that differs from key to key."""
    whose = bytes(16 + 8 + subject_length)
    return record_aad("subject-key", tenant=tenant.encode(), whose=whose)[: -len(whose)]


def index_root_aad(tenant: str, epoch: int, root_id: bytes) -> bytes:
    return record_aad("index-root", epoch=number(epoch), root_id=root_id, tenant=tenant.encode())


def new_subject_keys(
    kek: Kek, tenant: str, subjects: Collection[bytes], generation: int, expires: float
) -> tuple[list[SubjectKey], list[bytes]]:
    """A new key a subject, and each one's wrapped form; in the order of ``subjects``."""
    step = _MATERIAL + NONCE_BYTES
    pool = os.urandom(step * len(subjects))
    keys, wrapped = [], []
    for start, subject in zip(range(0, len(pool), step), subjects, strict=True):
        material = pool[start : start + _MATERIAL]
        key = material[:KEY_BYTES]
        key_id = key_id_for(key)
        keys.append(SubjectKey(key_id, tenant, subject, material[KEY_BYTES:], AESGCM(key), expires))
        aad = subject_key_aad(tenant, subject, key_id, generation)
        nonce = pool[start + _MATERIAL : start + step]
        wrapped.append(wrap(kek, aad, material, nonce))
    return keys, wrapped


def open_subject_keys(
    rows: Iterable[Any], keks: Mapping[bytes, Kek], expires: float
) -> dict[bytes, SubjectKey]:
    """Key id → key for records (state, kek_id, wrapped, key_id, tenant, subject, generation).

    ``keks`` has the KEK of each. IntegrityError when any part of a record was changed.
    """
    return {
        key_id: _open_subject_key(
            keks[kek_id], wrapped, key_id, tenant, subject, generation, expires
        )
        for _, kek_id, wrapped, key_id, tenant, subject, generation in rows
    }


def _open_subject_key(
    kek: Kek,
    wrapped: bytes,
    key_id: bytes,
    tenant: str,
    subject: bytes,
    generation: int,
    expires: float,
) -> SubjectKey:
    # open_wrapped() written out: a batch of cold keys spends its time here
    material = b""
    try:
        if wrapped[:3] == PLAIN_HEADER and wrapped[_KEK_ID] == kek.kek_id:
            place = subject_key_aad(tenant, subject, key_id, generation)
            material = kek.cipher.decrypt(wrapped[19:31], wrapped[31:], place + PLAIN_ITEM)
    except (TypeError, ValueError, InvalidTag):
        pass
    key = material[:KEY_BYTES]
    if len(material) == _MATERIAL and compare_digest(key_id_for(key), key_id):
        return SubjectKey(key_id, tenant, subject, material[KEY_BYTES:], AESGCM(key), expires)
    del material, key
    raise damaged()


def wrap(kek: Kek, aad: bytes, material: bytes, nonce: bytes | None = None) -> bytes:
    return seal(kek.cipher, kek.kek_id, aad, material, nonce=nonce)


def open_wrapped(kek: Kek, aad: bytes, wrapped: bytes) -> bytes:
    """The inverse of ``wrap``; IntegrityError when anything differs."""
    try:
        if wrapped[_KEK_ID] == kek.kek_id:  # the one part of an envelope that GCM doesn't cover
            return open_sealed(kek.cipher, aad, wrapped)
    except (TypeError, IntegrityError, PlaintextFound):
        pass
    raise damaged()


def check_key(key: bytes, key_id: bytes) -> bool:
    """Whether an unwrapped 32-byte key is the one its id commits to."""
    return len(key) == KEY_BYTES and compare_digest(key_id_for(key), key_id)


def damaged() -> IntegrityError:
    return IntegrityError(
        "a key record is damaged or not in its own place",
        hint="restore the vaultlayer_* key tables from a backup; `vaultlayer audit verify` tells "
        "whether the log is whole",
    )
