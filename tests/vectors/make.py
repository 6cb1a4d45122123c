"""Makes golden.json and failures.json beside it: ``python tests/vectors/make.py [FOLDER]``.

Keys and nonces are fixed, so the files never change by themselves; a difference in
``git diff`` after running this means that the format changed, which version 1 never does.
A file holds ``keys`` and ``vectors``; a vector has

    name, type    the field's declared type; alternatives in a list
    place         tenant, entity, field (text), subject (hex), row (list of one-key objects,
                  or null), flags
    stored        {"hex": …} or {"text": …}: what the column holds
    value         golden: {type: description}, as ``describe.py`` puts it
    plaintext     golden: hex, without padding
    error         failures: the name of the error
"""

from __future__ import annotations

import functools
import hashlib
import json
import operator
import sys
from pathlib import Path
from typing import Any

from cases import (
    BAD_PADDING,
    BAD_VALUES,
    GRACE,
    HERE,
    KEYS,
    MOVED_ROWS,
    MOVES,
    NOT_SEALED,
    PADDED,
    PLACES,
    ROW,
    TYPES,
    VALUES,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from describe import describe, describe_row

from vaultlayer.crypto.binding import field_part, item, row_part, subject_part
from vaultlayer.crypto.codecs import codec_for
from vaultlayer.crypto.envelope import FLAG_PADDED, FLAG_ROW, key_id_for, seal


def declared(names: str) -> object:
    """The Python type behind a label such as ``int | str``."""
    return functools.reduce(operator.or_, [TYPES[name] for name in names.split(" | ")])


def place_bytes(place: dict[str, Any]) -> bytes:
    """What the library's caller gives to ``seal`` and ``open_sealed``."""
    names = (place["tenant"], place["entity"], place["field"])
    row = b"" if place["row"] is None else row_part(place["row"])
    return field_part(*names) + subject_part(place["subject"]) + row


class Vectors:
    """Numbers its nonces, so that no vector can share one."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.rows: list[dict[str, object]] = []

    def nonce(self) -> bytes:
        return hashlib.sha256(f"{self.label} {len(self.rows)}".encode()).digest()[:12]

    def add(self, name: str, types: str, place: dict[str, Any], stored: object, **more: object):
        flags = FLAG_PADDED * place.get("padded", False) + FLAG_ROW * (place["row"] is not None)
        row = None if place["row"] is None else [describe_row(column) for column in place["row"]]
        described = {
            **{key: place[key] for key in ("tenant", "entity", "field")},
            "subject": place["subject"].hex(),
            "row": row,
            "flags": flags,
        }
        kept = {"text": stored} if isinstance(stored, str) else {"hex": stored.hex()}
        self.rows.append(
            {"name": name, "type": types.split(" | "), "place": described, "stored": kept} | more
        )

    def seal(self, place: dict[str, Any], plaintext: bytes, key: bytes = KEYS[0]) -> bytes:
        flags = FLAG_PADDED * place.get("padded", False) + FLAG_ROW * (place["row"] is not None)
        bound = place_bytes(place)
        return seal(AESGCM(key), key_id_for(key), bound, plaintext, flags, self.nonce())

    def file(self) -> str:
        keys = [{"key": key.hex(), "key_id": key_id_for(key).hex()} for key in KEYS]
        return json.dumps({"keys": keys, "vectors": self.rows}, indent=1) + "\n"


def golden() -> str:
    vectors = Vectors("golden")

    def add(name: str, types: str, value: object, place: dict[str, Any], key: bytes = KEYS[0]):
        plaintext = codec_for(declared(types)).encode(value)
        came_back = float(value) if types == "float" else value
        kept = {"JSON": value} if types == "JSON" else describe(came_back)
        stored = vectors.seal(place, plaintext, key)
        vectors.add(name, types, place, stored, plaintext=plaintext.hex(), value=kept)

    for name, types, value in VALUES:
        add(name, types, value, HERE)
    add("float_from_int", "float", 2**60, HERE)
    for name, change in PLACES:
        add(f"place_{name}", "str", "ada@example.com", HERE | change)
    for length in PADDED:
        add(f"padded_{length}", "str", "p" * length, HERE | {"padded": True})
    add("padded_bytes_that_look_padded", "bytes", b"\x80\x00\x00", HERE | {"padded": True})
    add("another_key", "str", "grace@example.com", HERE | {"subject": GRACE}, KEYS[1])
    return vectors.file()


class Failures(Vectors):
    def refuse(self, name, stored, place=HERE, types="str", error="IntegrityError"):
        self.add(name, types, place, stored, error=error)

    def sealed(self, place: dict[str, Any] = HERE) -> bytes:
        return self.seal(place, codec_for(str).encode("ada@example.com"))


def failures() -> str:
    vectors = Failures("failures")
    for name, stored in NOT_SEALED:
        vectors.refuse(name, stored, error="PlaintextFound")
    add_moved(vectors)
    add_damaged(vectors)
    for name, plaintext in BAD_PADDING:
        stored = raw(plaintext, FLAG_PADDED, vectors.nonce())
        vectors.refuse(f"padding_{name}", stored, HERE | {"padded": True})
    for name, types, plaintext in BAD_VALUES:
        vectors.refuse(f"value_{name}", vectors.seal(HERE, plaintext), types=types)
    vectors.refuse("value_without_a_type_byte", raw(b"", 0, vectors.nonce()))
    return vectors.file()


def add_moved(vectors: Failures) -> None:
    for name, change in MOVES:
        vectors.refuse(f"moved_{name}", vectors.sealed(), HERE | change)
    for name, there in MOVED_ROWS:
        vectors.refuse(f"moved_to_{name}", vectors.sealed(ROW), HERE | {"row": there})


def add_damaged(vectors: Failures) -> None:
    padded = HERE | {"padded": True}
    vectors.refuse("flag_row_cleared", patched(vectors.sealed(ROW), 2, 0), ROW)
    vectors.refuse("flag_row_set", patched(vectors.sealed(), 2, FLAG_ROW), ROW)
    vectors.refuse("flag_padded_cleared", patched(vectors.sealed(padded), 2, 0))
    vectors.refuse("flag_padded_set", patched(vectors.sealed(), 2, FLAG_PADDED), padded)
    for bit in range(2, 8):
        vectors.refuse(f"flag_unknown_bit_{bit}", patched(vectors.sealed(), 2, 1 << bit))
    for suite in (0, 2, 255):
        vectors.refuse(f"suite_{suite}", patched(vectors.sealed(), 1, suite))
    for length in (1, 2, 3, 18, 19, 30, 31, 46, 47, 48, 62):
        vectors.refuse(f"truncated_to_{length}", vectors.sealed()[:length])
    vectors.refuse("one_byte_appended", vectors.sealed() + b"\0")
    for name, at in (("nonce", 19), ("ciphertext", 31), ("tag", -1)):
        changed = patched(vectors.sealed(), at, vectors.sealed()[at] ^ 1)
        vectors.refuse(f"bit_flipped_in_{name}", changed)
    sealed = vectors.sealed()
    unknown = patched(sealed, 3, sealed[3] ^ 1)
    vectors.refuse("key_id_unknown", unknown, error="KeyUnavailable")
    sealed = vectors.sealed()
    vectors.refuse("key_id_of_another_key", sealed[:3] + key_id_for(KEYS[1]) + sealed[19:])


def patched(stored: bytes, at: int, byte: int) -> bytes:
    changed = bytearray(stored)
    changed[at] = byte
    return bytes(changed)


def raw(plaintext: bytes, flags: int, nonce: bytes) -> bytes:
    """A rightly sealed envelope whose padding the library would not write."""
    aad = place_bytes(HERE) + item(6, bytes([1, flags]))
    header = b"\xf9\x01" + bytes([flags]) + key_id_for(KEYS[0])
    return header + nonce + AESGCM(KEYS[0]).encrypt(nonce, plaintext, aad)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parent
    (folder / "golden.json").write_text(golden(), encoding="utf-8")
    (folder / "failures.json").write_text(failures(), encoding="utf-8")
