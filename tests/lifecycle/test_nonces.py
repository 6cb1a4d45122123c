"""Nonces come from the kernel, never twice; where they can't be had nothing is written."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vaultlayer.crypto.envelope import key_id_for, seal
from vaultlayer.write_path import fresh_nonces

SEALED = {
    "person": ("name", "email", "born"),
    "bill": ("address",),
    "line": ("note",),
    "vaultlayer_subject_key": ("wrapped",),
    "vaultlayer_kek": ("wrapped",),
    "vaultlayer_index_root": ("wrapped",),
}
LENGTH = 12


def envelopes(shop):
    """Every envelope that is stored now, keys' own included."""
    found = set()
    for table, columns in SEALED.items():
        for column in columns:
            stored = shop.sql(f"SELECT {column} FROM {table}")
            found |= {bytes(value) for (value,) in stored if value is not None}
    return {value for value in found if value[:2] == b"\xf9\x01"}


def test_every_nonce_was_drawn_from_the_kernel_and_none_twice(shop, monkeypatch):
    """Inserting, changing, resealing after each exchange of keys: values and wrapped keys."""
    drawn, kernel, seen = [], os.urandom, set()

    def urandom(count):
        drawn.append(kernel(count))
        return drawn[-1]

    monkeypatch.setattr(os, "urandom", urandom)
    before = envelopes(shop)
    ids = shop.populate("ada", "bob")
    seen |= envelopes(shop)
    values = len(seen)
    with shop.sessions() as session, shop.service():
        ada = session.get(shop.Person, 1)
        ada.name, ada.email = ada.name, "ada@example.org"  # the same again, and another
        session.add(shop.Bill(person=ada, address="Long Lane 1"))
        session.commit()
    seen |= envelopes(shop)
    with shop.officer():
        for what in ("subject", "kek", "index"):
            assert shop.vault.keys.rotate(what, wait=0).ok
            seen |= envelopes(shop)
    assert len(seen) > 2 * values, "resealing made new ones"
    shop.read(ids["ada"])
    nonces = [value[19:31] for value in seen - before]
    assert len(set(nonces)) == len(nonces)
    source = b"|".join(drawn)
    assert not [nonce for nonce in nonces if nonce not in source]


def test_without_a_random_source_nothing_is_written(shop, monkeypatch):
    """A person whose key is at hand: what is there is read, and nothing is added or changed."""
    ids = shop.populate("ada")
    before, kept = shop.read(ids["ada"]), envelopes(shop)

    def broken(count):
        raise OSError("no random bytes")

    with monkeypatch.context() as patch:
        patch.setattr(os, "urandom", broken)
        for change in ("another", "more"):
            with shop.sessions() as session, shop.service():
                ada = session.get(shop.Person, 1)
                if change == "another":
                    ada.name = "Augusta"
                else:
                    session.add(shop.Bill(person=ada, address="Long Lane 1"))
                with pytest.raises(OSError, match="no random bytes"):
                    session.flush()
        assert shop.read(ids["ada"]) == before
    assert envelopes(shop) == kept


def test_threads_and_forks_draw_no_nonce_twice(tmp_path):
    """The short form: 100,000 draws."""
    _draw_together(tmp_path, 12_500)


@pytest.mark.soak
def test_ten_million_draws_no_nonce_twice(tmp_path, capsys):
    _draw_together(tmp_path, 1_250_000)
    with capsys.disabled():
        sys.stdout.write("\nnonces: 10,000,000 drawn, none twice\n")


def _draw_together(folder, each):
    """Four threads, two forked children and two processes of their own, at once."""
    files = [folder / str(number) for number in range(8)]
    next(fresh_nonces(8))  # something was drawn before the fork
    children = [_forked(file, each) for file in files[4:6]]
    own = [
        subprocess.Popen([sys.executable, "-c", SPAWNED, str(file), str(each)])
        for file in files[6:]
    ]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda file: file.write_bytes(_drawn(each)), files[:4]))
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert [process.wait(600) for process in own] == [0, 0]
    _check_distinct(files, 8 * each)


SPAWNED = """
import sys
from pathlib import Path
from vaultlayer.write_path import fresh_nonces
left = int(sys.argv[2])
Path(sys.argv[1]).write_bytes(b"".join(b"".join(fresh_nonces(50)) for _ in range(left // 50)))
"""


def _forked(file, each):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            file.write_bytes(_drawn(each))
            code = 0
        finally:
            os._exit(code)
    return child


def _drawn(count):
    """As a flush of 50 values draws them, and every tenth as a single value's envelope does."""
    key = os.urandom(32)
    cipher, key_id = AESGCM(key), key_id_for(key)
    drawn = bytearray()
    for _ in range(count // 50):
        drawn += b"".join(fresh_nonces(45))
        for _ in range(5):
            drawn += seal(cipher, key_id, b"place", b"\x01value")[19:31]
    return bytes(drawn)


def _check_distinct(files, count):
    """One first byte after the other, so that ten million need little memory."""
    buckets = [bytearray() for _ in range(256)]
    for file in files:
        drawn = file.read_bytes()
        for start in range(0, len(drawn), LENGTH):
            buckets[drawn[start]] += drawn[start : start + LENGTH]
    assert sum(map(len, buckets)) == LENGTH * count
    different = 0
    for bucket in buckets:
        different += len({bytes(bucket[at : at + LENGTH]) for at in range(0, len(bucket), LENGTH)})
    assert different == count
