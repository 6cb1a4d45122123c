"""A second reader and writer of envelopes, from docs/format.md alone.

Shares nothing with the library: no import of it, and another cryptographic library
(pycryptodome). The section numbers are those of the text.
"""

import struct

from Crypto.Cipher import AES
from Crypto.Hash import HMAC, SHA256
from independent_values import RefusedError, damaged, integer, utf8, value_of


def read(keys, vector):
    """The described value of a vector: {type name: description}."""
    stored = vector["stored"]
    stored = bytes.fromhex(stored["hex"]) if "hex" in stored else stored["text"]
    return value_of(open_envelope(keys, vector["place"], stored), vector["type"])


# Sections 1 to 3


def key_id(key):
    assert len(key) == 32
    return HMAC.new(key, b"vaultlayer/v1/key-id", SHA256).digest()[:16]


def gcm(key, nonce, aad):
    cipher = AES.new(key, AES.MODE_GCM, nonce=nonce, mac_len=16)
    cipher.update(aad)
    return cipher


def seal(key, place, plaintext, nonce):
    """``place`` is one dict of a vector file; ``plaintext`` is not yet padded."""
    flags = place["flags"]
    if flags & 1:
        plaintext = plaintext + b"\x80"
        plaintext += bytes(bucket(len(plaintext)) - len(plaintext))
    ciphertext, tag = gcm(key, nonce, aad_of(place, flags)).encrypt_and_digest(plaintext)
    return b"\xf9\x01" + bytes([flags]) + key_id(key) + nonce + ciphertext + tag


def open_envelope(keys, place, stored):
    """The plaintext without padding; ``keys`` is a list of 32-byte keys."""
    if not isinstance(stored, bytes) or stored[:1] != b"\xf9":
        raise RefusedError("PlaintextFound")
    if len(stored) < 48 or stored[1] != 1 or stored[2] > 3:
        raise damaged()
    named = [key for key in keys if key_id(key) == stored[3:19]]
    if not named:
        raise RefusedError("KeyUnavailable")
    flags = stored[2]
    cipher = gcm(named[0], stored[19:31], aad_of(place, flags))
    try:
        plaintext = cipher.decrypt_and_verify(stored[31:-16], stored[-16:])
    except ValueError:
        raise damaged() from None
    return unpadded(plaintext) if flags & 1 else plaintext


# Section 4


def item(tag, content):
    return struct.pack(">BI", tag, len(content)) + content


def aad_of(place, flags):
    """A row-bound envelope needs the row id; an unbound one must not have it in its AAD."""
    aad = b"VL1" + item(1, utf8(place["tenant"])) + item(2, utf8(place["entity"]))
    aad += item(3, utf8(place["field"])) + item(4, bytes.fromhex(place["subject"]))
    if flags & 2:
        aad += item(5, b"".join(row_item(column) for column in place["row"] or []))
    return aad + item(6, bytes([1, flags]))


def row_item(column):
    [(kind, value)] = column.items()
    if kind == "fraction":
        numerator, denominator = value.split("/")
        return item(6, item(3, integer(int(numerator))) + item(3, integer(int(denominator))))
    if kind in ("bytes", "uuid"):
        return item({"bytes": 0x02, "uuid": 0x0A}[kind], bytes.fromhex(value))
    if kind in ("int", "microseconds"):
        return item({"int": 0x03, "microseconds": 0x13}[kind], integer(int(value)))
    return item({"str": 0x01, "date": 0x07, "datetime": 0x08}[kind], utf8(value))


# Section 5


def bucket(length):
    if length <= 128:
        return (length + 15) // 16 * 16
    exponent = floor_log2(length)
    step = 2 ** (exponent - floor_log2(exponent) - 1)
    return (length + step - 1) // step * step


def floor_log2(number):
    return len(bin(number)) - 3


def unpadded(plaintext):
    end = len(plaintext)
    while end and plaintext[end - 1] == 0:
        end -= 1
    if not end or plaintext[end - 1] != 0x80 or bucket(end) != len(plaintext):
        raise damaged()
    return plaintext[: end - 1]
