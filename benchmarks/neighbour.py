"""An application beside other work: ``python -m benchmarks.neighbour``, a JSON line on either side.

It reads one row after the other by its key, pausing between them as requests do, until its standard
input is closed. What is printed: how long each reading took.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Iterator

PAUSE = 0.002  # seconds


@contextmanager
def beside(url: str, query: str, keys: int) -> Iterator[list[float]]:
    """Latencies of a reader in a process of its own, there when the block has ended."""
    command = [sys.executable, "-m", "benchmarks.neighbour"]
    root, latencies = Path(__file__).parent.parent, []
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
    ) as reader:
        assert reader.stdin is not None and reader.stdout is not None
        reader.stdin.write(json.dumps({"url": url, "query": query, "keys": keys}) + "\n")
        reader.stdin.flush()
        assert reader.stdout.readline() == "ready\n"
        yield latencies
        reader.stdin.close()
        latencies += json.loads(reader.stdout.read())


def main() -> None:
    job = json.loads(sys.stdin.readline())
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    numbers, query, latencies = random.Random(1), sa.text(job["query"]), []
    engine = sa.create_engine(job["url"])
    with engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(query, {"key": 1}).all()
        print("ready", flush=True)
        while not over.wait(PAUSE):
            began = time.perf_counter()
            connection.execute(query, {"key": numbers.randint(1, job["keys"])}).all()
            latencies.append(time.perf_counter() - began)
    print(json.dumps(latencies))


if __name__ == "__main__":
    main()
