"""``audit verify`` beside plain SHA-256 over the same lines: records a second and core."""

from __future__ import annotations

import os
import time
from hashlib import sha256
from typing import TYPE_CHECKING

from benchmarks.verdicts import spread
from vaultlayer.audit.log import Log
from vaultlayer.audit.slots import texts
from vaultlayer.audit.verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.sizes import Sizes


def write(directory: Path, records: int) -> Path:
    """A log of ``records`` reads of three fields of one person each, about 700 bytes a line."""
    log = Log(directory)
    actor = {"iss": "https://id.example", "sub": "u-17", "client": "desk", "roles": ["support"]}
    path = log.path
    for start in range(0, records, 1000):
        log.write_all(
            {
                "event": "read",
                "access": f"{path.stem}.{n}",
                "actor": actor,
                "purpose": "customer_service",
                "reason": "ticket 4711",
                "policy": "ab" * 32,
                "request": "r-1",
                "entity": "customer",
                "fields": ["email", "name", "phone"],
                "refs": texts([os.urandom(16)]),
                "count": 3,
                "decision": "allow",
                "journal": {"shard": path.stem, "segment": 0, "first": n, "last": n + 2},
            }
            for n in range(start, min(start + 1000, records))
        )
    log.close()
    return path


def test_verify(sizes: Sizes, tmp_path: Path, report: Callable[..., None]) -> None:
    """Processor time, of one core; plain SHA-256 over the same lines is the floor."""
    records = 40 * sizes.rows
    path = write(tmp_path, records)
    rates, ratios = [], []
    for _ in range(max(3, sizes.rounds // 3)):
        began = time.process_time()
        with path.open("rb") as file:
            for line in file:
                sha256(line)
        plain = time.process_time() - began
        began = time.process_time()
        verified = verify(tmp_path)
        ours = time.process_time() - began
        assert (verified.records, verified.findings) == (records + 2, [])
        rates.append(records / ours)
        ratios.append(ours / plain)
    section = f"audit verify, {records:,} records"
    report(section, "records a second and core", spread(rates), unit="/s", at_least=200_000)
    report(section, "verify : plain SHA-256 of the lines", spread(ratios))
