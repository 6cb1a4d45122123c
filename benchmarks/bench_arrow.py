"""An Arrow column sealed and opened, beside a bare AESGCM loop over the same bytes."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.ours import Person, Vaulted
from benchmarks.race import Race, Runner
from benchmarks.verdicts import ratio
from vaultlayer_adapters import arrow

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.sizes import Sizes
    from benchmarks.stores import Store

# How many people the values are of, in turns; each with a key of their own, at hand on both sides.
PEOPLE, CROWD = 1_000, 10_000
_PLACE = bytes(80)  # the bare loop's associated data: as long as ours


@pytest.mark.parametrize("people", [PEOPLE, CROWD])
def test_arrow(
    store: Store, sizes: Sizes, race: Race, report: Callable[..., None], people: int
) -> None:
    """One field of many people: decided, journaled, sealed or opened, with their own keys."""
    if store.database != "SQLite":
        pytest.skip("nothing but a few keys comes from the database")
    ours, rows = store.ours, sizes.column
    column = _Column(ours, rows, people)
    bare = _Bare(rows, people, column.texts)
    section = f"Arrow, {store.database}, a column of {rows:,} texts of {people:,} people"
    for what in ("seal", "open"):
        runners = [
            Runner(f"bare AESGCM, {what}", getattr(bare, what)),
            Runner(f"arrow.{what}", getattr(column, what), column.bring_keys),
        ]
        times = race(runners, rounds=sizes.column_rounds, group=f"{section}, {what}")
        bare_times, own = (times[runner.name] for runner in runners)
        report(section, f"rate of {what} : bare AESGCM", ratio(bare_times, own), at_least=0.6)


class _Column:
    """What is measured, from an Arrow column to an Arrow column, journal and log included."""

    def __init__(self, ours: Vaulted, rows: int, people: int) -> None:
        self.ours = ours
        ours.fill(0)
        ours.vault.databases.attached(ours.engine)
        self.texts = [f"ada.lovelace.{number}@example.com" for number in range(rows)]
        subjects = [str(uuid.uuid4()) for _ in range(people)]
        self.values = pa.array(self.texts)
        self.subjects = pa.array([subjects[number % people] for number in range(rows)])
        self.sealed: Any = None

    def bring_keys(self) -> None:
        """Have everybody's key at hand, as the bare loop has: they are kept for a minute."""
        if self.sealed is not None:
            self.ours.vault.keys.forget()
            self.open()

    def seal(self) -> None:
        with self.ours.acting() as access:
            self.sealed = arrow.seal(access, Person.email, self.values, subjects=self.subjects)

    def open(self) -> None:
        with self.ours.acting() as access:
            opened = arrow.open_sealed(access, Person.email, self.sealed, subjects=self.subjects)
        assert len(opened) == len(self.texts)


class _Bare:
    """Nonce, encrypt, keep; slice, decrypt, keep: what no one who uses AESGCM can leave out."""

    def __init__(self, rows: int, people: int, texts: list[str]) -> None:
        ciphers = [AESGCM(os.urandom(32)) for _ in range(people)]
        self.ciphers = [ciphers[number % people] for number in range(rows)]
        self.data = [text.encode() for text in texts]
        self.sealed: list[bytes] = []

    def seal(self) -> None:
        sealed = []
        for cipher, data in zip(self.ciphers, self.data, strict=True):
            nonce = os.urandom(12)
            sealed.append(nonce + cipher.encrypt(nonce, data, _PLACE))
        self.sealed = sealed

    def open(self) -> None:
        opened = [
            cipher.decrypt(each[:12], each[12:], _PLACE)
            for cipher, each in zip(self.ciphers, self.sealed, strict=True)
        ]
        assert len(opened) == len(self.data)
