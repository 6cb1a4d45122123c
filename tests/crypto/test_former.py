"""What was sealed in a former place, or in a former type, opens where that is declared."""

from __future__ import annotations

from datetime import date

import pytest

from vaultlayer.crypto.binding import field_part, subject_part
from vaultlayer.crypto.codecs import codec_for, renewing
from vaultlayer.crypto.envelope import either_place, key_id_for, open_sealed, seal
from vaultlayer.errors import ConfigurationError, IntegrityError

NOW, FORMER, OTHER = (field_part("", "customer", name) for name in ("email", "mail", "phone"))


@pytest.fixture
def cipher():
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(bytes(32))


@pytest.mark.parametrize("flags", [0, 1])
def test_either_place_opens_both_and_no_third(cipher, flags):
    key_id, person = key_id_for(bytes(32)), subject_part(bytes(16))
    either = either_place(cipher, NOW, FORMER)
    for head in (NOW, FORMER):
        envelope = seal(cipher, key_id, head + person, b"\x01ada", flags)
        assert open_sealed(either, NOW + person, envelope) == b"\x01ada"
        with pytest.raises(IntegrityError):
            open_sealed(either, NOW + subject_part(bytes(15) + b"\x01"), envelope)
    with pytest.raises(IntegrityError):
        open_sealed(either, NOW + person, seal(cipher, key_id, OTHER + person, b"\x01ada", flags))
    assert either_place(cipher, NOW, b"") is cipher


def test_a_former_type_is_read_as_the_present_one():
    codec, renew = renewing(date, str, date.fromisoformat)
    former, present = codec_for(str).encode("1815-12-10"), codec.encode(date(1815, 12, 10))
    assert codec.decode(former) == codec.decode(present) == date(1815, 12, 10)
    assert renew(former) == renew(present) == present
    with pytest.raises(ConfigurationError):
        codec.encode("1815-12-10")
    with pytest.raises(IntegrityError):
        codec.decode(b"")


@pytest.mark.parametrize("into", [date.fromisoformat, len, lambda _: None])
def test_what_cant_be_made_the_present_type_is_refused(into):
    codec, renew = renewing(date, str, into)
    for each in (codec.decode, renew):
        with pytest.raises(ConfigurationError, match="a stored str can't be made date") as told:
            each(codec_for(str).encode("secret"))
        assert "secret" not in str(told.value)


def test_types_that_share_a_type_byte_are_refused():
    with pytest.raises(ConfigurationError, match="can't be told apart"):
        renewing(int | str, str, int)
