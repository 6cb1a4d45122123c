"""The golden envelopes and the named failures, read by two implementations."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vaultlayer.crypto.binding import field_part, row_part, subject_part
from vaultlayer.crypto.codecs import codec_for
from vaultlayer.crypto.envelope import is_row_bound, key_id_for
from vaultlayer.errors import VaultLayerError

HERE = Path(__file__).parent
VECTORS = HERE.parent / "vectors"


def same(left: object, right: object) -> bool:
    """Equal as JSON text: 1, 1.0 and True differ, and so does the order of members."""
    return json.dumps(left) == json.dumps(right)


def row_value(column: dict[str, str]) -> object:
    [(kind, text)] = column.items()
    readers = {
        "int": int,
        "str": str,
        "bytes": bytes.fromhex,
        "uuid": UUID,
        "date": date.fromisoformat,
        "datetime": datetime.fromisoformat,
        "fraction": lambda text: Decimal(text.split("/")[0]) / Decimal(text.split("/")[1]),
        "microseconds": lambda text: (
            datetime(1970, 1, 1, tzinfo=timezone(timedelta(hours=9)))
            + timedelta(hours=9, microseconds=int(text))
        ),
    }
    return readers[kind](text)


def place_of(vector: dict) -> bytes:
    place = vector["place"]
    bound = field_part(place["tenant"], place["entity"], place["field"])
    bound += subject_part(bytes.fromhex(place["subject"]))
    return bound + (row_part(tuple(map(row_value, place["row"]))) if place["row"] else b"")


def stored_of(vector: dict) -> object:
    stored = vector["stored"]
    return bytes.fromhex(stored["hex"]) if "hex" in stored else stored["text"]


def test_every_golden_envelope_opens_to_its_value(golden, make_shelf, vector_keys, make_vectors):
    """The library opens each golden envelope and gets the type and value it names."""
    shelf = make_shelf(*vector_keys)
    for vector in golden["vectors"]:
        stored = stored_of(vector)
        plaintext = shelf.open(stored, place_of(vector))
        assert plaintext.hex() == vector["plaintext"], vector["name"]
        assert is_row_bound(stored) == bool(vector["place"]["flags"] & 2), vector["name"]
        codec = codec_for(make_vectors.declared(" | ".join(vector["type"])))
        value = codec.decode(plaintext)
        is_json = vector["type"] == ["JSON"]
        described = {"JSON": value} if is_json else make_vectors.describe(value)
        assert same(described, vector["value"]), vector["name"]
        assert codec.encode(value) == plaintext, vector["name"]


def test_the_independent_reader_agrees_on_every_golden_envelope(golden, independent, vector_keys):
    """A reader on another cryptographic library, written from the text, sees the same values."""
    for vector in golden["vectors"]:
        assert same(independent.read(vector_keys, vector), vector["value"]), vector["name"]
    for pair in golden["keys"]:
        assert independent.key_id(bytes.fromhex(pair["key"])).hex() == pair["key_id"]
        assert key_id_for(bytes.fromhex(pair["key"])).hex() == pair["key_id"]


def test_every_named_failure_is_refused_by_both(
    failures, make_shelf, vector_keys, independent, make_vectors
):
    """Each failure raises the error it names, in the library and in the independent reader."""
    shelf = make_shelf(*vector_keys)
    texts: dict[str, set[str]] = {}
    for vector in failures["vectors"]:
        codec = codec_for(make_vectors.declared(" | ".join(vector["type"])))
        with pytest.raises(VaultLayerError) as refused:
            codec.decode(shelf.open(stored_of(vector), place_of(vector)))
        assert type(refused.value).__name__ == vector["error"], vector["name"]
        texts.setdefault(vector["error"], set()).add(str(refused.value))
        with pytest.raises(independent.RefusedError, match=f"^{vector['error']}$"):
            independent.read(vector_keys, vector)
    assert len(texts["IntegrityError"]) == 1, "one text for every cause"
    assert len(texts["PlaintextFound"]) == 1


def test_envelopes_made_elsewhere_open_here(golden, make_shelf, vector_keys, independent):
    """An envelope that the other implementation seals is byte for byte ours, and opens."""
    shelf = make_shelf(*vector_keys)
    for vector in golden["vectors"]:
        stored, plaintext = stored_of(vector), bytes.fromhex(vector["plaintext"])
        key = next(key for key in vector_keys if key_id_for(key) == stored[3:19])
        assert independent.seal(key, vector["place"], plaintext, stored[19:31]) == stored
        fresh = independent.seal(key, vector["place"], plaintext, b"twelve bytes")
        assert shelf.open(fresh, place_of(vector)) == plaintext


def test_the_vector_files_are_what_their_script_makes(tmp_path):
    """The format has not changed: making the vectors again gives the same bytes."""
    subprocess.run([sys.executable, VECTORS / "make.py", tmp_path], check=True)
    for name in ("golden.json", "failures.json"):
        assert (tmp_path / name).read_bytes() == (VECTORS / name).read_bytes(), name


def test_the_vectors_cover_every_type_byte_and_flag(golden):
    """No type byte and no combination of flags is without a golden envelope."""
    vectors = golden["vectors"]
    assert {bytes.fromhex(vector["plaintext"])[0] for vector in vectors} == set(range(1, 0x13))
    assert {vector["place"]["flags"] for vector in vectors} == {0, 1, 2, 3}
    assert len({stored_of(vector)[19:31] for vector in vectors}) == len(vectors)


def test_the_independent_reader_shares_nothing_with_the_library():
    """Its only imports are the standard library's and pycryptodome's."""
    allowed = {"json", "re", "struct", "Crypto", "independent_values"}
    for file in (HERE / "independent").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module]
            assert {name.split(".")[0] for name in names} <= allowed, file.name


def test_public_vectors_hold_for_the_primitives_used(independent):
    """AES-256-GCM: test case 16 of McGrew and Viega, "The Galois/Counter Mode of Operation"."""
    key = bytes.fromhex("feffe9928665731c6d6a8f9467308308" * 2)
    nonce = bytes.fromhex("cafebabefacedbaddecaf888")
    aad = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
    plaintext = bytes.fromhex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
    )
    sealed = bytes.fromhex(
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
        "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
        "76fc6ece0f4e1768cddf8853bb2d551b"
    )
    assert AESGCM(key).encrypt(nonce, plaintext, aad) == sealed
    assert b"".join(independent.gcm(key, nonce, aad).encrypt_and_digest(plaintext)) == sealed
