"""An envelope opens unchanged, in its place, with its key; and in no other case."""

from __future__ import annotations

import os
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultlayer.crypto import envelope as envelopes
from vaultlayer.crypto.binding import field_part, row_part, subject_part
from vaultlayer.crypto.codecs import codec_for
from vaultlayer.crypto.envelope import (
    FLAG_PADDED,
    FLAG_ROW,
    OVERHEAD,
    is_row_bound,
    key_id_of,
    open_sealed,
    seal,
)
from vaultlayer.errors import (
    ConfigurationError,
    IntegrityError,
    KeyUnavailable,
    PlaintextFound,
    VaultLayerError,
)

TEXT = b"\x01ada@example.com"
ANY_FLAGS = st.sampled_from([0, FLAG_PADDED, FLAG_ROW, FLAG_PADDED | FLAG_ROW])
DAMAGED = (
    "a sealed value is damaged or not in its own place. "
    "Restore its row from a backup, and find out what changed or moved it."
)


def refusal(shelf, stored, place=b"") -> VaultLayerError:
    with pytest.raises(VaultLayerError) as refused:
        shelf.open(stored, place)
    return refused.value


@given(st.binary(min_size=1, max_size=400), ANY_FLAGS)
def test_what_was_sealed_opens(shelf, plaintext, flags):
    """Opening gives back the plaintext, for every combination of flags."""
    stored = shelf.seal(plaintext, flags=flags)
    assert shelf.open(stored) == plaintext
    assert key_id_of(stored) == shelf.ids[0]
    assert is_row_bound(stored) is bool(flags & FLAG_ROW)


@given(st.text())
def test_a_str_costs_48_bytes(shelf, text):
    """47 bytes of envelope and the type byte, whatever the text."""
    encoded = codec_for(str).encode(text)
    assert len(shelf.seal(encoded)) == len(text.encode("utf-8", "surrogatepass")) + 48


@pytest.mark.parametrize("flags", range(4))
def test_every_flipped_bit_is_refused(shelf, flags):
    """No single changed bit of an envelope, of any kind, leaves it opening."""
    stored = shelf.seal(TEXT, flags=flags)
    for bit in range(8 * len(stored)):
        changed = bytearray(stored)
        changed[bit // 8] ^= 1 << bit % 8
        error = refusal(shelf, bytes(changed))
        if bit < 8:
            assert type(error) is PlaintextFound
        elif 3 * 8 <= bit < 19 * 8:
            assert type(error) is KeyUnavailable  # it names a key that nobody has
        else:
            assert (type(error), str(error)) == (IntegrityError, DAMAGED), bit


@pytest.mark.parametrize("flags", range(4))
def test_every_truncation_is_refused(shelf, flags):
    """An envelope cut at any length is refused, in open_sealed itself too."""
    stored = shelf.seal(TEXT, flags=flags)
    for length in range(1, len(stored)):
        assert str(refusal(shelf, stored[:length])) == DAMAGED
        with pytest.raises(IntegrityError) as refused:
            open_sealed(shelf.ciphers[shelf.ids[0]], shelf.place, stored[:length])
        assert str(refused.value) == DAMAGED
    with pytest.raises(IntegrityError):
        key_id_of(stored[:OVERHEAD])  # with nothing sealed in it


@given(st.binary(min_size=1, max_size=64), ANY_FLAGS)
def test_appended_bytes_are_refused(shelf, tail, flags):
    """Nothing can be added to an envelope."""
    assert str(refusal(shelf, shelf.seal(TEXT, flags=flags) + tail)) == DAMAGED


@given(st.binary(min_size=3, max_size=3))
def test_no_header_but_the_four_is_known(shelf, header):
    """There is no downgrade: only F9 01 with flags 0 to 3 is opened."""
    known = {b"\xf9\x01" + bytes([flags]) for flags in range(4)}
    stored = header + shelf.seal(TEXT)[3:]
    if header not in known:
        error = refusal(shelf, stored)
        assert type(error) is (IntegrityError if header[0] == 0xF9 else PlaintextFound)


def test_every_suite_and_flag_byte_is_refused_but_four(shelf):
    """All 65,536 suites and flags: an unbound envelope opens under its own header only."""
    stored = shelf.seal(TEXT)
    cipher = shelf.ciphers[shelf.ids[0]]
    opened = []
    for suite in range(256):
        for flags in range(256):
            try:
                open_sealed(cipher, shelf.place, bytes([0xF9, suite, flags]) + stored[3:])
                opened.append((suite, flags))
            except IntegrityError:
                pass
    assert opened == [(1, 0)]


def test_an_envelope_opens_in_its_own_place_only(shelf):
    """Every pair of different tenant, entity, field, subject and row refuses, with one text."""
    subjects = [uuid4().bytes, uuid4().bytes, b""]
    places = [
        field_part(tenant, entity, field) + subject_part(subject) + row
        for tenant in ("", "a", "ab")
        for entity in ("b", "bc")
        for field in ("c", "")
        for subject in subjects
        for row in (b"", row_part((1,)), row_part((1, 1)), row_part(("1",)))
    ]
    sealed = [shelf.seal(TEXT, place) for place in places]
    for at, place in enumerate(places):
        for home, stored in enumerate(sealed):
            if at == home:
                assert shelf.open(stored, place) == TEXT
            else:
                assert str(refusal(shelf, stored, place)) == DAMAGED


def test_another_key_does_not_open_it(shelf):
    """An envelope whose key id is exchanged for another person's key is refused."""
    stored = shelf.seal(TEXT)
    assert str(refusal(shelf, stored[:3] + shelf.ids[1] + stored[19:])) == DAMAGED


@pytest.mark.parametrize(
    "stored",
    [None, "", "ada", "\u00f9\x01\x00", b"", b"ada", b"\xf8\x01\x00" + bytes(60), 7, 1.5,
     bytearray(b"\xf9\x01\x00" + bytes(60)), [0xF9, 1, 0], {"a": 1}, object()],
    ids=lambda stored: repr(stored)[:20],
)  # fmt: skip
def test_what_is_no_envelope_is_plaintext(shelf, stored):
    """Not bytes, empty, or another first byte: PlaintextFound, from every function."""
    cipher = shelf.ciphers[shelf.ids[0]]
    for read in (key_id_of, is_row_bound, lambda it: open_sealed(cipher, shelf.place, it)):
        with pytest.raises(PlaintextFound):
            read(stored)


@given(st.text())
def test_text_is_never_taken_for_an_envelope(shelf, text):
    """UTF-8 never holds 0xF9, so stored text is always found out."""
    stored = text.encode("utf-8", "surrogatepass")
    assert type(refusal(shelf, stored)) is PlaintextFound


def test_two_envelopes_of_one_value_differ(shelf):
    """Each has a nonce of its own: 20,000 draws, no repeat."""
    nonces = {shelf.seal(TEXT)[19:31] for _ in range(20_000)}
    assert len(nonces) == 20_000


def test_a_failing_random_source_stops_writing(shelf, monkeypatch):
    """Without random bytes nothing is sealed."""

    def broken(length):
        raise OSError("no entropy")

    monkeypatch.setattr(envelopes.os, "urandom", broken)
    with pytest.raises(OSError, match="no entropy"):
        shelf.seal(TEXT)


def test_five_megabytes_round_trip(shelf):
    """Pictures fit, padded or not."""
    picture = b"\x02" + os.urandom(5 * 2**20)
    for flags in (0, FLAG_PADDED):
        assert shelf.open(shelf.seal(picture, flags=flags)) == picture


def test_seal_refuses_what_could_not_be_opened(shelf, monkeypatch):
    """Unknown flags, a wrong key id or nonce, too long a value: refused before sealing."""
    cipher, key_id = shelf.ciphers[shelf.ids[0]], shelf.ids[0]
    monkeypatch.setattr(envelopes, "MAX_PLAINTEXT", len(TEXT))
    seal(cipher, key_id, shelf.place, TEXT)
    for changes in (
        {"flags": 4},
        {"flags": -1},
        {"key_id": key_id[:15]},
        {"nonce": bytes(8)},
        {"nonce": bytes(13)},
        {"plaintext": TEXT + b"!"},
    ):
        arguments = {"key_id": key_id, "plaintext": TEXT, "flags": 0, "nonce": None} | changes
        with pytest.raises(ConfigurationError) as refused:
            seal(cipher, place=shelf.place, **arguments)
        assert "ada" not in str(refused.value)


def test_the_limit_of_the_library_is_a_refusal(shelf):
    """A stored value longer than the cipher takes is refused like every damaged one."""

    class Overflowing:
        def decrypt(self, *arguments):
            raise OverflowError("Data or associated data too long.")

    with pytest.raises(IntegrityError, match="damaged"):
        open_sealed(Overflowing(), shelf.place, shelf.seal(TEXT))


def test_an_opening_error_carries_no_plaintext(shelf, assert_no_frame_holds):
    """Rightly sealed but wrongly padded: the refusal's frames hold nothing of the value."""
    cipher, key_id = shelf.ciphers[shelf.ids[0]], shelf.ids[0]
    aad = shelf.place + b"\x06\0\0\0\x02\x01\x01"
    body = cipher.encrypt(bytes(12), b"\x01topsecret without a marker", aad)
    with pytest.raises(IntegrityError) as refused:
        open_sealed(cipher, shelf.place, b"\xf9\x01\x01" + key_id + bytes(12) + body)
    assert str(refused.value) == DAMAGED
    assert_no_frame_holds(refused, None)


def test_a_sealing_error_carries_no_plaintext(shelf, assert_no_frame_holds):
    """Nor do those of a value that could not be sealed."""
    with pytest.raises(ConfigurationError) as refused:
        seal(shelf.ciphers[shelf.ids[0]], b"short", shelf.place, b"\x01topsecret")
    assert_no_frame_holds(refused, None)
