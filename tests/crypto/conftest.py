"""What the tests of this room share: keys, a reader by key id, the vector files."""

from __future__ import annotations

import importlib
import json
import os
import struct
import sys
from datetime import datetime, time, tzinfo
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import settings

from vaultlayer.crypto.binding import field_part, subject_part
from vaultlayer.crypto.envelope import key_id_for, key_id_of, open_sealed, seal
from vaultlayer.errors import KeyUnavailable, VaultLayerError

TESTS = Path(__file__).parents[1]

# A busy machine is no failure: what an example takes says nothing about what it shows.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


class Shelf:
    """A few keys, and the smallest honest reader: it takes the key that the key id names."""

    def __init__(self, *keys: bytes) -> None:
        self.keys = keys or (os.urandom(32), os.urandom(32))
        self.ids = [key_id_for(key) for key in self.keys]
        self.ciphers = dict(zip(self.ids, map(AESGCM, self.keys), strict=True))
        self.place = field_part("", "customer", "email") + subject_part(bytes(16))

    def seal(self, plaintext: bytes, place: bytes = b"", flags: int = 0, key: int = 0) -> bytes:
        key_id = self.ids[key]
        return seal(self.ciphers[key_id], key_id, place or self.place, plaintext, flags)

    def open(self, envelope: bytes, place: bytes = b"") -> bytes:
        cipher = self.ciphers.get(key_id_of(envelope))
        if cipher is None:
            raise KeyUnavailable("no key record")
        return open_sealed(cipher, place or self.place, envelope)


@pytest.fixture(scope="session")
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture(scope="session")
def make_shelf() -> type[Shelf]:
    return Shelf


@pytest.fixture(scope="session")
def fingerprint():
    """Everything that tells two values apart, also where ``==`` does not."""
    return _fingerprint


def _fingerprint(value: object) -> object:
    kind = type(value)
    if kind is float:
        return kind, struct.pack(">d", value)
    if kind is Decimal:
        return kind, value.as_tuple()
    if kind in (datetime, time):
        return kind, value.replace(tzinfo=None), value.fold, _zone_fingerprint(value.tzinfo)
    if kind is dict:
        return kind, [(key, _fingerprint(member)) for key, member in value.items()]
    if kind is list:
        return kind, [_fingerprint(member) for member in value]
    if kind in (int, bytes):
        return kind, value
    return kind, value, str(value)


def _zone_fingerprint(zone: tzinfo | None) -> object:
    if isinstance(zone, ZoneInfo):
        return ZoneInfo, zone.key
    return type(zone), zone.__getinitargs__() if zone else None


def _vector_file(name: str) -> dict:
    return json.loads((TESTS / "vectors" / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def golden() -> dict:
    return _vector_file("golden.json")


@pytest.fixture(scope="session")
def failures() -> dict:
    return _vector_file("failures.json")


@pytest.fixture(scope="session")
def vector_keys(golden: dict) -> list[bytes]:
    return [bytes.fromhex(pair["key"]) for pair in golden["keys"]]


def _module(folder: Path, name: str):
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))


@pytest.fixture(scope="session")
def independent():
    return _module(TESTS / "crypto" / "independent", "independent_envelope")


@pytest.fixture(scope="session")
def make_vectors():
    return _module(TESTS / "vectors", "make")


@pytest.fixture(scope="session")
def assert_no_frame_holds():
    """Fails if an error reporter that prints local variables would send ``value`` away."""

    def check(refused: pytest.ExceptionInfo[VaultLayerError], value: object) -> None:
        assert refused.value.__context__ is None
        assert refused.value.__cause__ is None
        for entry in refused.traceback:
            if entry.path.parent.name == "crypto" and "tests" not in entry.path.parts:
                held = list(entry.frame.f_locals.values())
                assert value is None or not any(local is value for local in held), entry.name
                assert "topsecret" not in repr(held), entry.name

    return check
