"""Padding hides lengths in buckets and has one form for each plaintext."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultlayer.crypto.padding import bucket, pad, unpad
from vaultlayer.errors import IntegrityError


@given(st.binary(max_size=600))
def test_padding_comes_off_again(data):
    """Whatever the bytes are, a marker and zeros at their end included."""
    for content in (data, data + b"\x80", data + b"\x80\x00", data + bytes(20)):
        assert unpad(pad(content)) == content


def test_buckets_are_steps_of_16_then_padme():
    """Up to 128 in steps of 16; above, the lengths Padmé gives (PoPETs 2019(4))."""
    assert sorted({bucket(length) for length in range(1, 129)}) == list(range(16, 129, 16))
    padme = {129: 144, 145: 160, 256: 256, 257: 272, 500: 512, 513: 544, 1000: 1024, 1025: 1088}
    padme |= {9: 16, 4097: 4352, 10_000: 10_240, 65_537: 67_584, 5_242_881: 5_373_952}
    assert {length: bucket(length) for length in padme} == padme


@given(st.integers(1, 2**30))
def test_a_bucket_is_never_short_and_never_much_longer(length):
    """A bucket holds its length, wastes at most 12 % above 128 bytes, and is its own bucket."""
    size = bucket(length)
    assert size >= length
    assert size - length < 16 if length <= 128 else size <= length * 1.12
    assert bucket(size) == size
    assert bucket(length + 1) >= size


def test_lengths_up_to_4096_show_81_sizes():
    """What the database sees of 4,097 lengths: 81 sizes, for 2.1 % more bytes."""
    sizes = [len(pad(bytes(length))) for length in range(4097)]
    assert len(set(sizes)) == 81
    assert round(sum(sizes) / sum(range(4097)), 3) == 1.021


@given(st.binary(max_size=300))
def test_only_what_pad_makes_is_accepted(data):
    """Bytes either are some content's padded form, or are refused with the one text."""
    try:
        content = unpad(data)
    except IntegrityError as error:
        assert error.message == "a sealed value is damaged or not in its own place"
    else:
        assert pad(content) == data


@pytest.mark.parametrize("wrong", [b"", bytes(16), b"\x01" * 16, b"a\x80" + bytes(13)])
def test_bad_padding_is_refused(wrong):
    """No marker, or a length that is no bucket's."""
    with pytest.raises(IntegrityError):
        unpad(wrong)
