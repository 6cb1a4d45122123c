"""A value moved from one key to another stays the value it was, or isn't moved."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vaultlayer.crypto import envelope
from vaultlayer.errors import IntegrityError, PlaintextFound


@pytest.mark.parametrize("flags", range(4))
def test_resealed_is_the_same_value_under_another_key(flags):
    """Same place and flags, padding included; only key id and nonce differ, and it opens."""
    old, new = AESGCM(bytes(32)), AESGCM(b"n" * 32)
    place = b"VL1 a place"
    sealed = envelope.seal(old, b"o" * 16, place, b"\x01Ada", flags)
    moved = envelope.resealed(old, new, b"k" * 16, place, sealed, b"m" * 12)
    assert moved[:31] == sealed[:3] + b"k" * 16 + b"m" * 12
    assert len(moved) == len(sealed)
    assert envelope.open_sealed(new, place, moved) == b"\x01Ada"


@pytest.mark.parametrize("flaw", ["place", "byte", "flags", "text"])
def test_what_doesnt_open_isnt_resealed(flaw):
    """The same refusals as opening it: a value that is damaged isn't made to look whole."""
    old, place = AESGCM(bytes(32)), b"VL1 a place"
    sealed = envelope.seal(old, b"o" * 16, place, b"\x01Ada")
    flawed = {
        "place": sealed,
        "byte": sealed[:-1] + bytes([sealed[-1] ^ 1]),
        "flags": sealed[:2] + b"\x09" + sealed[3:],
        "text": b"Ada",
    }[flaw]
    where = b"VL1 another" if flaw == "place" else place
    expected = PlaintextFound if flaw == "text" else IntegrityError
    with pytest.raises(expected):
        envelope.resealed(old, old, b"k" * 16, where, flawed, b"m" * 12)
