"""Large logs made quickly: chained records as the log writes them, of invented readers."""

from __future__ import annotations

import random
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import TYPE_CHECKING

from vaultlayer.audit.event import canonical, timestamp

if TYPE_CHECKING:
    from pathlib import Path

START = 1_750_000_000.0
SPAN = 30 * 86_400
_LINE = canonical(
    {
        "access": "%(shard)s.1", "basis": "contract", "count": 2, "decision": "allow",
        "entity": "customer", "event": "read", "fields": ["email", "name"],
        "journal": {"first": 0, "last": 9, "segment": 0, "shard": "%(shard)s"},
        "actor": {"iss": "https://id.example", "roles": ["support"], "sub": "u-%(who)d"},
        "opened": "%(ts)s", "outcome": "success", "policy": "4e44e20dcd7b1081" * 4,
        "prev": "%(prev)s", "purpose": "customer_service", "reason": "ticket 4711",
        "reason_code": "rule", "refs": ["%(ref)s"], "seq": 0, "shard": "%(shard)s",
        "ts": "%(ts)s", "v": 1,
    }
).decode().replace('"seq":0', '"seq":%(seq)d')  # fmt: skip


def write_log(
    directory: Path, records: int, *, people: int = 1000, readers: int = 50, shards: int = 4
) -> list[bytes]:
    """Reads spread over 30 days, evenly over the people; returns the people's log_refs.

    Two per cent are refused. Each shard begins with ``open`` and ends with ``close``.
    """
    chance = random.Random(4711)
    refs = [chance.randbytes(16) for _ in range(people)]
    texts = [urlsafe_b64encode(ref)[:22].decode() for ref in refs]
    logs = directory / "log"
    logs.mkdir(parents=True)
    for number in range(shards):
        name = f"20260131T{number:06d}.000000Z-{chance.randbytes(4).hex()}"
        count = records // shards
        with (logs / f"{name}.jsonl").open("wb", 1 << 20) as file:
            prev = "0" * 64
            for seq in range(count + 2):
                moment = START + (number + seq / (count + 2)) * SPAN / shards
                told = {"shard": name, "seq": seq, "prev": prev, "ts": timestamp(moment)}
                if 0 < seq <= count:
                    told["who"] = int(chance.random() * readers)
                    told["ref"] = texts[int(chance.random() * people)]
                    line = _LINE % told
                    if chance.random() < 0.02:
                        line = line.replace('"allow"', '"deny"').replace("success", "refused")
                    data = line.encode()
                else:
                    told["event"] = "close" if seq else "open"
                    data = canonical({**told, "v": 1, **({} if seq else {"library": "test"})})
                file.write(data + b"\n")
                prev = sha256(data).hexdigest()
    return refs
