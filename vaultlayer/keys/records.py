"""How key records are wrapped and opened: pure functions, no I/O.

A wrapped key is an envelope of version 1 under the KEK, in the place that ``places`` says. So a
record moved to another tenant, subject, generation, id or state doesn't open, and the key inside
must hash to the id it goes by. The record of an erased key wraps no key but that it was erased.
"""

from __future__ import annotations

import os
from hmac import compare_digest
from typing import TYPE_CHECKING, Any, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vaultlayer.crypto.binding import subject_part
from vaultlayer.crypto.envelope import PLAIN_HEADER, PLAIN_ITEM, key_id_for, open_sealed, seal
from vaultlayer.errors import ConfigurationError, IntegrityError, PlaintextFound
from vaultlayer.keys import states
from vaultlayer.keys.places import subject_key_aad

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from vaultlayer.keys.uppers import Kek

KEY_BYTES = 32
LOG_REF_BYTES = 16
NONCE_BYTES = 12
_KEK_ID = slice(3, 19)  # where an envelope names its key
_MATERIAL = KEY_BYTES + LOG_REF_BYTES
ERASED_MATERIAL = b"erased"  # what a destroyed key's record wraps instead of one


# The subject's number (-1: no person), how the envelopes begin, decrypt, the place after the field.
Plain = tuple[int, bytes, "Callable[[bytes, bytes, bytes], bytes]", bytes]


class SubjectKey:
    """One data subject's key, unwrapped; ``expires`` is on the monotonic clock of its Keys.

    ``plain`` is what opening a plain value of this person takes: made once, read for each row.
    """

    __slots__ = ("cipher", "expires", "key_id", "log_ref", "plain", "region", "subject", "tenant")

    plain: Plain

    def __init__(
        self,
        key_id: bytes,
        tenant: str,
        subject: bytes,
        log_ref: bytes,
        cipher: AESGCM,
        expires: float,
        region: str = "",
    ) -> None:
        self.key_id = key_id
        self.tenant = tenant
        self.region = region  # of its KEK: where the key may be unwrapped
        self.subject = subject
        self.log_ref = log_ref
        self.cipher = cipher
        self.expires = expires

    def __getattr__(self, name: str) -> Plain:
        """Python asks this for a slot that was not filled yet: of them, only ``plain`` is late."""
        if name != "plain":
            raise AttributeError(name)
        number = int.from_bytes(self.subject) if self.subject else -1
        place = subject_part(self.subject) + PLAIN_ITEM
        self.plain = number, PLAIN_HEADER + self.key_id, self.cipher.decrypt, place
        return self.plain

    def __repr__(self) -> str:
        return "<SubjectKey>"

    def __reduce__(self) -> NoReturn:
        raise ConfigurationError(
            "a subject key can't be pickled or copied",
            hint="pass the sealed value on; whoever opens it fetches the key",
        )


def new_subject_keys(
    kek: Kek, tenant: str, subjects: Collection[bytes], generation: int, expires: float
) -> tuple[list[SubjectKey], list[bytes]]:
    """A new active key a subject, and each one's wrapped form; in the order of ``subjects``."""
    step = _MATERIAL + NONCE_BYTES
    pool = os.urandom(step * len(subjects))
    keys, wrapped = [], []
    for start, subject in zip(range(0, len(pool), step), subjects, strict=True):
        material = pool[start : start + _MATERIAL]
        key, log_ref = material[:KEY_BYTES], material[KEY_BYTES:]
        key_id = key_id_for(key)
        keys.append(
            SubjectKey(key_id, tenant, subject, log_ref, AESGCM(key), expires, kek.region)
        )
        aad = subject_key_aad(tenant, subject, key_id, generation, states.ACTIVE)
        nonce = pool[start + _MATERIAL : start + step]
        wrapped.append(wrap(kek, aad, material, nonce))
    return keys, wrapped


def next_generation(kek: Kek, former: SubjectKey, generation: int) -> tuple[bytes, bytes]:
    """A new key for the same person, who keeps the log_ref: its id and its wrapped form."""
    key = os.urandom(KEY_BYTES)
    key_id = key_id_for(key)
    aad = subject_key_aad(former.tenant, former.subject, key_id, generation, states.ACTIVE)
    return key_id, wrap(kek, aad, key + former.log_ref)


def open_subject_keys(
    rows: Iterable[Any], keks: Mapping[bytes, Kek], expires: float
) -> dict[bytes, SubjectKey]:
    """Key id → key for records (state, kek_id, wrapped, key_id, tenant, subject, generation).

    ``keks`` has the KEK of each. IntegrityError when any part of a record was changed.
    """
    opened: dict[bytes, SubjectKey] = {}
    material = key = b""
    try:  # open_wrapped() written out: a batch of cold keys spends its time here
        for state, kek_id, wrapped, key_id, tenant, subject, generation in rows:
            kek = keks[kek_id]
            if wrapped[:19] != PLAIN_HEADER + kek_id:
                raise damaged()
            place = subject_key_aad(tenant, subject, key_id, generation, state) + PLAIN_ITEM
            material = kek.cipher.decrypt(wrapped[19:31], wrapped[31:], place)
            key = material[:KEY_BYTES]
            if len(material) != _MATERIAL or not compare_digest(key_id_for(key), key_id):
                raise damaged()
            log_ref = material[KEY_BYTES:]
            opened[key_id] = SubjectKey(
                key_id, tenant, subject, log_ref, AESGCM(key), expires, kek.region
            )
    except (TypeError, ValueError, InvalidTag, IntegrityError):
        del material, key  # a traceback that shows locals must not show them
        raise damaged() from None
    return opened


def check_erased(
    kek: Kek, wrapped: bytes, key_id: bytes, tenant: str, subject: bytes, generation: int
) -> None:
    """IntegrityError unless the record says under the KEK that its key was erased."""
    aad = subject_key_aad(tenant, subject, key_id, generation, states.ERASED)
    if open_wrapped(kek, aad, wrapped) != ERASED_MATERIAL:
        raise damaged()


def rewrapped(row: Any, old: Kek | None, new: Kek, state: str) -> bytes:
    """A subject key record's wrapping under another KEK or for another state; no key leaves.

    ``row`` is (state, kek_id, wrapped, key_id, tenant, subject, generation). Erased: the key is
    gone from the result, and ``old``, the record's own KEK, isn't needed.
    """
    was, _, wrapped, key_id, tenant, subject, generation = row
    material = ERASED_MATERIAL
    if old is not None and state != states.ERASED:
        aad = subject_key_aad(tenant, subject, key_id, generation, was)
        material = open_wrapped(old, aad, wrapped)
    return wrap(new, subject_key_aad(tenant, subject, key_id, generation, state), material)


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
