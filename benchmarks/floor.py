"""The floor: what the primitives alone cost, with nothing decided, checked or shown.

The least that any Python code has to do which keeps a key for each person, binds a value to its
place and notes each reading before it: load the row, find its key, decrypt with the place as
associated data, write 24 bytes into a mapped file. What vaultlayer costs above it is its own.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import LargeBinary, select

from benchmarks.contenders import Contender, check, model
from benchmarks.people import FIELDS, people

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

FLOOR = "the primitives alone"
_MODEL = model("floor", LargeBinary)
_PLACES = {name: f"vaultlayer-bench {name}".ljust(60).encode() for name in FIELDS}
_NOTE = bytes(24)


class Floor(Contender):
    """A key a person, known by 16 bytes at the head of each value."""

    def __init__(self, connect: Callable[[], Engine]) -> None:
        super().__init__(FLOOR, _MODEL, connect)
        self._ciphers: dict[bytes, AESGCM] = {}

    def insert(self, count: int) -> None:
        self._ciphers.clear()
        with self.sessions() as session:
            session.add_all([self.model(**self._sealed(fields)) for fields in people(count)])
            session.commit()

    def read(self, count: int, first: int = 0) -> None:
        statement = select(self.model).where(*self._window(count, first))
        name, email, phone, address = FIELDS
        with tempfile.TemporaryFile() as file, self.sessions() as session:
            os.posix_fallocate(file.fileno(), 0, len(_NOTE) * len(FIELDS) * count)
            with mmap.mmap(file.fileno(), 0) as notes:
                opened = self._opening(notes.write)
                rows = [
                    (
                        opened(name, row.name),
                        opened(email, row.email),
                        opened(phone, row.phone),
                        opened(address, row.address),
                    )
                    for row in session.scalars(statement)
                ]
        check(rows, count, first)

    def _opening(self, note: Callable[[bytes], object]) -> Callable[[str, bytes], str]:
        ciphers, places = self._ciphers, _PLACES

        def opened(name: str, value: bytes) -> str:
            note(_NOTE)
            cipher = ciphers[value[:16]]
            return cipher.decrypt(value[16:28], value[28:], places[name]).decode()

        return opened

    def _sealed(self, fields: dict[str, str]) -> dict[str, Any]:
        key_id = os.urandom(16)
        cipher = self._ciphers[key_id] = AESGCM(os.urandom(32))
        sealed = {}
        for name, value in fields.items():
            nonce = os.urandom(12)
            sealed[name] = key_id + nonce + cipher.encrypt(nonce, value.encode(), _PLACES[name])
        return sealed
