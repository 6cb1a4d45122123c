"""The stored bytes of one value: ``seal`` and its inverse ``open_sealed``.

    0xF9 | suite 0x01 | flags | key id 16 | nonce 12 | AES-256-GCM ciphertext | tag 16

Suite 1 is AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce, so at most 2^32
envelopes a key (section 8.3). GCM alone does not commit to its key; the key id does: it is
an HMAC of the key (RFC 2104, FIPS 180-4), recomputed whenever a key is unwrapped, and a
reader takes the key that the id names, never another. 0xF9 never occurs in UTF-8, so text
is never taken for an envelope. Normative text: ``docs/format.md``.
"""

from __future__ import annotations

import os
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag

from vaultlayer.crypto.binding import item
from vaultlayer.crypto.padding import pad, unpad
from vaultlayer.crypto.refusals import damaged, not_sealed
from vaultlayer.errors import ConfigurationError, IntegrityError, PlaintextFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FLAG_PADDED = 1
FLAG_ROW = 2

OVERHEAD = 47
MAX_PLAINTEXT = 2**30

_MAGIC = b"\xf9"
_SUITE = b"\x01"
_KEY_BYTES = 32
_BLOCK_BYTES = 64

# HMAC-SHA-256 (RFC 2104) of a 32-byte key, written out: every cold key needs one, and
# hmac.digest takes more than twice as long. The tests hold it against that one.
_INNER_PAD = bytes(byte ^ 0x36 for byte in range(256))
_OUTER_PAD = bytes(byte ^ 0x5C for byte in range(256))
_INNER_REST = b"\x36" * (_BLOCK_BYTES - _KEY_BYTES) + b"vaultlayer/v1/key-id"
_OUTER_REST = b"\x5c" * (_BLOCK_BYTES - _KEY_BYTES)
NONCE_BYTES = 12
_NOTHING = bytes(OVERHEAD - 3 - 16 + 1)  # nonce, one byte and tag, all zero

_HEADERS = {flags: _MAGIC + _SUITE + bytes([flags]) for flags in range(4)}

# Header -> AAD item 6. Looking a header up here is also the check of magic, suite and flags.
SUITE_ITEM = {header: item(6, header[1:]) for header in _HEADERS.values()}

# The commonest header, neither padded nor bound to a row, for readers that hold its item ready.
PLAIN_HEADER = _HEADERS[0]
PLAIN_ITEM = SUITE_ITEM[PLAIN_HEADER]


def key_id_for(key: bytes) -> bytes:
    """The 16 bytes that name and commit to a 32-byte subject key.

    Any other key length is refused: HMAC pads short keys, so two keys could share an id.
    """
    if len(key) != _KEY_BYTES:
        length, key = len(key), b""
        raise ConfigurationError(
            f"a subject key has 32 bytes, not {length}", hint="Make keys with os.urandom(32)."
        )
    inner = sha256(key.translate(_INNER_PAD) + _INNER_REST).digest()
    return sha256(key.translate(_OUTER_PAD) + _OUTER_REST + inner).digest()[:16]


def seal(
    cipher: AESGCM,
    key_id: bytes,
    place: bytes,
    plaintext: bytes,
    flags: int = 0,
    nonce: bytes | None = None,
) -> bytes:
    """Encrypt ``plaintext`` (type byte ‖ value, at most 2^30 bytes) into an envelope.

    ``cipher`` must hold the key that ``key_id`` names; ``place`` must hold a row part exactly
    when ``FLAG_ROW`` is set. ``nonce`` is 12 bytes never used with this
    key before: fresh ones from os.urandom where many values are sealed at once.
    """
    if nonce is None:
        nonce = os.urandom(NONCE_BYTES)
    fits = len(plaintext) <= MAX_PLAINTEXT
    if not fits or flags not in _HEADERS or len(key_id) != 16 or len(nonce) != NONCE_BYTES:
        plaintext = b""
        raise ConfigurationError(
            "a value can't be sealed: more than 2^30 bytes, or unknown flags, "
            "or a key id or nonce of the wrong length",
            hint="Keep larger content elsewhere, sealed in parts.",
        )
    if flags & FLAG_PADDED:
        plaintext = pad(plaintext)
    header = _HEADERS[flags]
    return header + key_id + nonce + cipher.encrypt(nonce, plaintext, place + SUITE_ITEM[header])


def open_sealed(cipher: AESGCM | EitherPlace, place: bytes, envelope: bytes) -> bytes:
    """The plaintext (type byte ‖ value) of an envelope, by the key its key id names.

    Not an envelope: ``PlaintextFound``. Every other failure is one ``IntegrityError``.
    """
    try:
        aad = place + SUITE_ITEM[envelope[:3]]
        plaintext = cipher.decrypt(envelope[19:31], envelope[31:], aad)
        return unpad(plaintext) if envelope[2] & FLAG_PADDED else plaintext
    except (KeyError, TypeError, ValueError, OverflowError, InvalidTag, IntegrityError):
        plaintext = b""  # an error report may hold this frame's variables
    raise _refusal(envelope)


class EitherPlace:
    """A cipher that opens what was sealed in a field's place, or in its former one.

    ``head`` and ``former`` are how the two places begin (``field_part``).
    """

    __slots__ = ("_decrypt", "_former", "_head")

    def __init__(
        self, decrypt: Callable[[bytes, bytes, bytes], bytes], head: bytes, former: bytes
    ) -> None:
        self._decrypt, self._head, self._former = decrypt, len(head), former

    def decrypt(self, nonce: bytes, data: bytes, aad: bytes) -> bytes:
        try:
            return self._decrypt(nonce, data, aad)
        except InvalidTag:
            return self._decrypt(nonce, data, self._former + aad[self._head :])


def either_place(cipher: AESGCM, head: bytes, former: bytes) -> AESGCM | EitherPlace:
    """The cipher itself where there is no ``former`` place."""
    return EitherPlace(cipher.decrypt, head, former) if former else cipher


def resealed(
    old: AESGCM, new: AESGCM, key_id: bytes, place: bytes, envelope: bytes, nonce: bytes
) -> bytes:
    """The same value in the same place, with the same flags, under the key ``key_id`` names.

    Padding goes from one to the other as it is. Fails as ``open_sealed`` does.
    """
    try:
        header = envelope[:3]
        aad = place + SUITE_ITEM[header]
        padded = old.decrypt(envelope[19:31], envelope[31:], aad)
        return header + key_id + nonce + new.encrypt(nonce, padded, aad)
    except (KeyError, TypeError, ValueError, OverflowError, InvalidTag):
        padded = b""
    raise _refusal(envelope)


def key_id_of(envelope: bytes) -> bytes:
    """The id of the key an envelope was sealed with; refuses what is no whole envelope."""
    if is_envelope(envelope):
        return envelope[3:19]
    raise _refusal(envelope)


def is_envelope(stored: bytes) -> bool:
    """Whether these bytes begin like an envelope this version reads, and are long enough."""
    try:
        return stored[:3] in SUITE_ITEM and len(stored) > OVERHEAD
    except (TypeError, KeyError):
        return False


def is_row_bound(envelope: bytes) -> bool:
    """Whether opening needs the row part; refuses what ``key_id_of`` refuses."""
    key_id_of(envelope)
    return bool(envelope[2] & FLAG_ROW)


def of_nothing(key_id: bytes) -> bytes:
    """What stands in a NOT NULL column after an erasure: an envelope that no key opens."""
    return PLAIN_HEADER + key_id + _NOTHING


def is_of_nothing(envelope: bytes) -> bool:
    return envelope[19:] == _NOTHING


def _refusal(stored: object) -> IntegrityError | PlaintextFound:
    """Names the failure from the first byte alone; everything past it looks the same."""
    return damaged() if isinstance(stored, bytes) and stored[:1] == _MAGIC else not_sealed()
