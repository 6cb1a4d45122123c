"""The single steps: journaling, deciding; and the bytes a value grows by."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import text

from benchmarks.databases import opened
from benchmarks.ours import POLICIES, Vaulted
from benchmarks.race import Race, Runner
from benchmarks.verdicts import Measured, ratio
from vaultlayer.access.bundle import read_bundle
from vaultlayer.access.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.sizes import Sizes

FEW, MANY = 10, 10_000
NOTES = 2_000  # a round; far from a full journal segment, whose logging is measured with the reads
PLACE = bytes(60)  # about as long as the place of a field
VALUE = b"\x01ada.lovelace.4711@example.com"


def test_decision(sizes: Sizes, race: Race, report: Callable[..., None], tmp_path: Path) -> None:
    """A repeated decision costs the same however many rules there are; loading them is quick."""
    folders = {count: _bundle(tmp_path / str(count), count) for count in (FEW, MANY)}
    snapshots = {count: Snapshot(read_bundle(folder)) for count, folder in folders.items()}
    runners = [
        Runner(f"decide, {count:,} rules", _deciding(snapshot, sizes.calls))
        for count, snapshot in snapshots.items()
    ]
    few, many = race(runners, rounds=sizes.rounds, group="decision").values()
    report("repeated decision", f"{MANY:,} rules : {FEW} rules", ratio(many, few), at_most=1.1)
    fastest = Measured(1e6 * min(many) / sizes.calls)
    report("repeated decision", f"{MANY:,} rules, fastest round", fastest, "µs", at_most=0.5)


def test_loading_rules(benchmark: Any, report: Callable[..., None], tmp_path: Path) -> None:
    """From the folder's files to a snapshot that decides."""
    folder = _bundle(tmp_path / "rules", MANY)
    benchmark.pedantic(lambda: Snapshot(read_bundle(folder)), rounds=3, warmup_rounds=1)
    fastest = Measured(benchmark.stats.stats.min)
    report("loading rules", f"{MANY:,} rules, fastest round", fastest, "s", at_most=1.0)


def test_journal(sizes: Sizes, race: Race, report: Callable[..., None]) -> None:
    """One note in the journal, against one decryption of a short value."""
    key, nonce = AESGCM(os.urandom(32)), os.urandom(12)
    raw = key.encrypt(nonce, VALUE, PLACE)
    with opened("SQLite") as connect:
        vaulted = Vaulted(connect)
        with vaulted.acting() as access:
            prefix = access.spec("vaultlayer_person", ("name",), "read", "allow", "rule")
            journal, ref = access.journal, bytes(15) + b"\x01"
            runners = [
                Runner("journal note", _repeat(lambda: journal.append(prefix, ref), NOTES)),
                Runner("AES-GCM decrypt", _repeat(lambda: key.decrypt(nonce, raw, PLACE), NOTES)),
            ]
            noting, decrypting = race(runners, rounds=sizes.rounds, group="journal").values()
        vaulted.close()
    report("journal", "one note : AES-GCM decrypt", ratio(noting, decrypting))


def test_bytes_added(report: Callable[..., None]) -> None:
    """How much longer a stored str is than its UTF-8: the most, over lengths and alphabets."""
    texts = ["x" * length for length in (0, 1, 15, 16, 17, 255, 256, 4_096, 65_536, 1_000_000)]
    texts += ["é" * 17, "道" * 100, "🔐" * 1_000]
    with opened("SQLite") as connect:
        vaulted = Vaulted(connect)
        with vaulted.sessions() as session, vaulted.acting():
            for each in texts:
                session.add(vaulted.model(name=each, email="", phone="", address=""))
            session.commit()
        with vaulted.engine.connect() as connection:
            stored = "SELECT length(name) FROM vaultlayer_person ORDER BY id"
            lengths = connection.scalars(text(stored)).all()
        vaulted.close()
    added = max(kept - len(each.encode()) for kept, each in zip(lengths, texts, strict=True))
    report("stored size", "bytes added to a str", Measured(added), "bytes", at_most=48)


def _bundle(folder: Path, rules: int) -> Path:
    """The starter bundle with ``rules`` rules in place of its own."""
    folder.mkdir()
    for name in ("model.conf", "categories.toml", "purposes.toml"):
        shutil.copy(POLICIES / name, folder / name)
    lines = [f"p, role_{n}, contact.email, read, customer_service, allow" for n in range(rules)]
    (folder / "roles.csv").write_text("\n".join(lines) + "\n")
    return folder


def _deciding(snapshot: Snapshot, calls: int) -> Callable[[], None]:
    roles = frozenset({f"role_{FEW - 1}"})
    question = (roles, "customer.email", "contact.email", "read", "customer_service")
    assert snapshot.decide(*question).effect == "allow"

    def run() -> None:
        decide = snapshot.decide
        for _ in range(calls):
            decide(*question)

    return run


def _repeat(step: Callable[[], object], calls: int) -> Callable[[], None]:
    def run() -> None:
        for _ in range(calls):
            step()

    return run
