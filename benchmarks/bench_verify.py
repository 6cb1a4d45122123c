"""``audit verify`` beside plain SHA-256 over the same lines: records a second and core."""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path

from vaultlayer.audit.log import Log
from vaultlayer.audit.slots import texts
from vaultlayer.audit.verify import verify


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
            for n in range(start, start + 1000)
        )
    log.close()
    return path


def main(records: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), records)
        began = time.process_time()
        with path.open("rb") as file:
            for line in file:
                sha256(line)
        plain = time.process_time() - began
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.process_time()
        report = verify(Path(folder))
        ours = time.process_time() - began
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
        assert not report.findings
        print(f"plain SHA-256  {records / plain:12,.0f} records/s")
        print(f"audit verify   {records / ours:12,.0f} records/s, {ours / plain:.2f} x plain")
        print(f"memory grew by {grown} MiB for {path.stat().st_size >> 20} MiB of log")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
