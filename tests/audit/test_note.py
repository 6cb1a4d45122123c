"""Signed notes, checkpoints and cosignatures against the examples that C2SP publishes."""

from __future__ import annotations

import base64
import contextlib
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultlayer.audit.merkle import EMPTY_ROOT
from vaultlayer.audit.note import (
    COSIGNATURE,
    ED25519,
    Checkpoint,
    Signer,
    VerifierKey,
    cosigned,
    open_checkpoint,
    signature_line,
    signers,
    split,
)
from vaultlayer.errors import ConfigurationError

# c2sp.org/signed-note, "Example"
VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
NOTE = """This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
"""  # noqa: E501
SEED = bytes(range(32))


@pytest.fixture
def signer():
    return Signer("log.example/audit", SEED)


@pytest.fixture
def note(signer):
    return signer.sign(Checkpoint("log.example/audit/1", 3, bytes(32)).text)


def test_the_published_example_verifies():
    """Their key, their note."""
    key = VerifierKey.parse(VKEY)
    assert str(key) == VKEY
    assert signers(NOTE, [key]) == [key]
    assert split(NOTE)[0] == "This is an example message.\n"


@pytest.mark.parametrize("at", range(0, len(NOTE) - 1, 3))
def test_any_changed_character_of_a_note_is_refused(at):
    """Its text, its key's name, its key's id, its signature."""
    key = VerifierKey.parse(VKEY)
    changed = NOTE[:at] + ("y" if NOTE[at] == "x" else "x") + NOTE[at + 1 :]
    with contextlib.suppress(ValueError):
        assert signers(changed, [key]) == []


def test_a_checkpoint_is_three_lines_and_a_signature(signer, note):
    """Origin, size, root in base64; nothing else."""
    text, ((name, key_id, signature),) = split(note)
    assert text == f"log.example/audit/1\n3\n{'A' * 43}=\n"
    assert (name, key_id, len(signature)) == ("log.example/audit", signer.public.id, 64)
    assert open_checkpoint(note, [signer.public]) == Checkpoint("log.example/audit/1", 3, bytes(32))


def test_only_a_known_key_of_the_log_opens_a_checkpoint(signer, note):
    """Another key, a witness's key, no key: refused; an unknown signature beside is ignored."""
    other = Signer("other.example", bytes(32))
    unknown = note + split_line(other.sign("x\n"))
    assert open_checkpoint(unknown, [signer.public]).size == 3
    for keys in ([], [other.public], [VerifierKey("w.example", COSIGNATURE, bytes(32))]):
        with pytest.raises(ValueError, match="no known key"):
            open_checkpoint(note, keys)
    forged = note.replace("\n3\n", "\n4\n")
    with pytest.raises(ValueError, match="not its key's"):
        open_checkpoint(forged, [signer.public])


def split_line(note):
    return note[note.rindex("— ") :]


def test_a_cosignature_is_a_time_and_a_signature(signer, note):
    """The published format: 8 bytes of time, and 64 over a header, the time and the note's text."""
    witness = Signer("witness.example/w1", bytes(32))
    key = VerifierKey(witness.public.name, COSIGNATURE, witness.public.public)
    text = split(note)[0]
    assert cosigned(text, 1679315147) == f"cosignature/v1\ntime 1679315147\n{text}".encode()
    time = (1679315147).to_bytes(8, "big")
    signed = time + witness._key.sign(cosigned(text, 1679315147))
    both = note + signature_line(key, signed)
    assert signers(both, [signer.public, key]) == [signer.public, key]
    assert str(VerifierKey.parse(str(key))) == str(key)
    later = note + signature_line(key, (1679315148).to_bytes(8, "big") + signed[8:])
    with pytest.raises(ValueError, match="not its key's"):
        signers(later, [key])


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "a+b", "a+00000000+AQ==", VKEY.replace("530d903a", "530d903b"), VKEY[:-1],
        VKEY.replace("example.com", "example com"), VKEY.replace("+Aeky", "+Beky"), VKEY + "+",
    ],
)  # fmt: skip
def test_a_text_that_is_no_public_key_is_refused(text):
    """With the remedy."""
    with pytest.raises(ConfigurationError) as caught:
        VerifierKey.parse(text)
    assert "audit key" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    ["", "o\n", "o\n1\n", "o\n-1\nx\n", "o\n01\n" + "A" * 43 + "=\n", "o\n1\nAAAA\n", "\n1\n\n"],
)
def test_a_text_that_is_no_checkpoint_is_refused(text):
    """Sizes without leading zeros, roots of 32 bytes."""
    with pytest.raises(ValueError, match=r".*"):
        Checkpoint.parse(text)


@given(st.text(alphabet="ab \n—+=é\x01", max_size=60))
def test_no_text_makes_the_parser_do_anything_but_refuse(text):
    """What isn't a note is a ValueError."""
    try:
        body, signatures = split(text)
    except ValueError:
        return
    assert body.endswith("\n")
    assert signatures


def test_a_signing_key_shows_and_carries_nothing(signer):
    """repr names the log; pickle refuses."""
    assert repr(signer) == "<Signer log.example/audit>"
    with pytest.raises(TypeError):
        pickle.dumps(signer)
    assert base64.b64encode(SEED).decode() not in str(signer.public)
    assert signer.public.kind == ED25519


def test_the_empty_log_has_a_checkpoint(signer):
    """Its root is the hash of nothing."""
    note = signer.sign(Checkpoint("o", 0, EMPTY_ROOT).text)
    assert open_checkpoint(note, [signer.public]).size == 0
