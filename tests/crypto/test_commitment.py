"""An envelope names its key, and opens under no other."""

from __future__ import annotations

import os

import pytest
from Crypto.Cipher import AES
from Crypto.Hash import HMAC, SHA256
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from vaultlayer.crypto.envelope import key_id_for
from vaultlayer.errors import ConfigurationError, KeyUnavailable


@pytest.mark.parametrize("length", [0, 16, 24, 31, 33, 64])
def test_a_key_has_32_bytes(length):
    """HMAC would give a short key and its zero-padded form one id, so lengths are fixed."""
    with pytest.raises(ConfigurationError, match=f"32 bytes, not {length}"):
        key_id_for(bytes(length))


@given(st.binary(min_size=32, max_size=32))
def test_the_key_id_is_an_hmac_of_the_key(key):
    """Its definition, spelled with another implementation of HMAC (RFC 2104)."""
    assert key_id_for(key) == HMAC.new(key, b"vaultlayer/v1/key-id", SHA256).digest()[:16]


def times(left: int, right: int) -> int:
    """Multiplication in GCM's field (SP 800-38D, algorithm 1)."""
    product = 0
    for bit in range(127, -1, -1):
        if left >> bit & 1:
            product ^= right
        right = right >> 1 ^ (0xE1 << 120 if right & 1 else 0)
    return product


def inverse(element: int) -> int:
    result, power = 1 << 127, element
    for _ in range(127):
        power = times(power, power)
        result = times(result, power)
    return result


def two_key_ciphertext(keys: tuple[bytes, bytes], nonce: bytes, aad: bytes) -> bytes:
    """One ciphertext and tag that AES-GCM opens under both keys (eprint 2019/016, section 3)."""

    def block(key: bytes, data: bytes) -> int:
        return int.from_bytes(AES.new(key, AES.MODE_ECB).encrypt(data), "big")

    hashes = [block(key, bytes(16)) for key in keys]
    masks = [block(key, nonce + b"\0\0\0\1") for key in keys]
    blocks = [aad[at : at + 16].ljust(16, b"\0") for at in range(0, len(aad), 16)]
    lengths = (8 * len(aad)).to_bytes(8, "big") + (8 * 16).to_bytes(8, "big")

    def tag(index: int, body: int) -> int:
        state = 0
        for part in [*(int.from_bytes(part, "big") for part in blocks), body]:
            state = times(state ^ part, hashes[index])
        return times(state ^ int.from_bytes(lengths, "big"), hashes[index]) ^ masks[index]

    squares = times(hashes[0], hashes[0]) ^ times(hashes[1], hashes[1])
    body = times(tag(0, 0) ^ tag(1, 0), inverse(squares))
    assert tag(0, body) == tag(1, body)
    return body.to_bytes(16, "big") + tag(0, body).to_bytes(16, "big")


def test_an_envelope_opens_under_the_key_it_names_only(make_shelf):
    """A real two-key ciphertext opens under both keys in bare GCM; as an envelope under one."""
    shelf, nonce = make_shelf(), os.urandom(12)
    aad = shelf.place + b"\x06\0\0\0\x02\x01\0"
    body = two_key_ciphertext(shelf.keys, nonce, aad)
    bare = [AESGCM(key).decrypt(nonce, body, aad) for key in shelf.keys]
    assert bare[0] != bare[1], "GCM alone opens it under both keys, to different plaintexts"

    stored = b"\xf9\x01\0" + shelf.ids[0] + nonce + body
    assert shelf.open(stored) == bare[0]
    alone = make_shelf(shelf.keys[1])
    with pytest.raises(KeyUnavailable):
        alone.open(stored)
    assert key_id_for(shelf.keys[1]) != shelf.ids[0], "a swapped key record is found on unwrap"
