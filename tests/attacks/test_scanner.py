"""The search for plaintext finds it in every encoding and place, and does not repeat it."""

from __future__ import annotations

import base64
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultlayer.errors import ConfigurationError
from vaultlayer.testing import assert_no_plaintext

ENCODINGS = {
    "utf-8": lambda text, noise: noise + text.encode() + noise,
    "utf-16-le": lambda text, noise: noise + text.encode("utf-16-le") + noise,
    "utf-16-be": lambda text, noise: noise + text.encode("utf-16-be") + noise,
    "hex": lambda text, noise: (noise + text.encode() + noise).hex().encode(),
    "HEX": lambda text, noise: (noise + text.encode() + noise).hex().upper().encode(),
    "base64": lambda text, noise: base64.b64encode(noise + text.encode() + noise),
    "base64url": lambda text, noise: base64.urlsafe_b64encode(noise + text.encode() + noise),
    "json": lambda text, noise: json.dumps([noise.hex(), f"x{text}y"]).encode(),
}


@pytest.mark.smoke
@settings(max_examples=200, deadline=None)
@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), min_size=6, max_size=40),
    encoding=st.sampled_from(sorted(ENCODINGS)),
    noise=st.binary(max_size=9),
)
def test_a_planted_value_is_found(text, encoding, noise):
    """Whatever it is, however it is encoded and aligned; and it is not repeated in the error."""
    with pytest.raises(AssertionError) as caught:
        assert_no_plaintext(ENCODINGS[encoding](text, noise), ["another value", text])
    assert "value 1 as" in str(caught.value)
    assert "value 0 as" not in str(caught.value)
    assert text.isascii() or text not in str(caught.value)


@pytest.mark.parametrize("place", range((1 << 20) - 30, (1 << 20) + 30, 7))
def test_a_value_across_the_pieces_of_a_big_file_is_found(tmp_path, place):
    """Files are read in pieces of 1 MiB that overlap; the error names the file and the byte."""
    data = bytearray(os.urandom(2 << 20))
    data[place : place + 20] = b"Zenobia Quillfeather"
    tmp_path.joinpath("deep").mkdir()
    tmp_path.joinpath("deep", "big.db").write_bytes(data)
    with pytest.raises(AssertionError, match=rf"big\.db, byte {place}$"):
        assert_no_plaintext(tmp_path, ["Zenobia Quillfeather"])


def test_clean_bytes_pass_and_are_counted(tmp_path):
    """Random megabytes hold no value of six bytes by chance; the number of bytes is returned."""
    tmp_path.joinpath("a").write_bytes(os.urandom(3_000_001))
    values = [f"value {number}" for number in range(200)]
    assert assert_no_plaintext(tmp_path, values) == 3_000_001
    assert assert_no_plaintext([b"12", tmp_path / "a", str(tmp_path)], values) == 6_000_004


@pytest.mark.parametrize(
    ("where", "values"), [(b"bytes", []), (b"", ["a value"]), ([], ["a value"]), (b"x", ["short"])]
)
def test_a_search_that_proves_nothing_is_refused(where, values):
    """No values, no bytes, or a value so short that ciphertext has it by chance."""
    with pytest.raises(ConfigurationError):
        assert_no_plaintext(where, values)


def test_a_missing_file_is_an_error(tmp_path):
    """A file that isn't there was not searched."""
    with pytest.raises(FileNotFoundError):
        assert_no_plaintext(tmp_path / "gone.db", ["a value"])
