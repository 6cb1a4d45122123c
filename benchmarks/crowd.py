"""A crowd of readers in one process: ``python -m benchmarks.crowd JOB``, a JSON on either side.

Each reader again and again loads some rows by their keys and reads every field. What is printed:
how many loads were done, their latencies, and how long threads waited for vaultlayer's own locks.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import threading
import time
from contextlib import nullcontext
from typing import Any

from sqlalchemy import create_engine, select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import sessionmaker

from benchmarks.contenders import BARE, BARE_MODEL, PLAIN, PLAIN_MODEL

ROWS = 20  # a load
_MODELS = {PLAIN: PLAIN_MODEL, BARE: BARE_MODEL}


class Waits:
    """Makes vaultlayer's locks, and knows how long they kept threads waiting."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._make = threading.Lock

    def __call__(self) -> Any:
        caller = sys._getframe(1).f_globals["__name__"]
        lock = self._make()
        return _TimedLock(lock, self) if caller.startswith("vaultlayer.") else lock


class _TimedLock:
    def __init__(self, lock: Any, waits: Waits) -> None:
        self._lock, self._waits = lock, waits

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if self._lock.acquire(blocking=False):
            return True
        started = time.perf_counter()
        taken: bool = blocking and self._lock.acquire(timeout=timeout)
        self._waits.seconds += time.perf_counter() - started
        return taken

    def release(self) -> None:
        self._lock.release()

    def locked(self) -> bool:
        held: bool = self._lock.locked()
        return held

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def main() -> None:
    job = json.load(sys.stdin)
    waits = Waits()
    if job["name"] in _MODELS:
        model, acting, attach = _MODELS[job["name"]], nullcontext, lambda factory: None
    else:
        threading.Lock = waits  # type: ignore[assignment,misc]  # before vaultlayer is imported
        model, acting, attach = _vaulted(job)
    run = _tasks if job["kind"] == "tasks" else _threads
    latencies = run(job, model, acting, attach)
    print(json.dumps({"latencies": latencies, "waited": waits.seconds}))


def _vaulted(job: dict[str, Any]) -> tuple[Any, Any, Any]:
    from benchmarks.ours import SERVICE, Person
    from vaultlayer import Vault

    vault = Vault.open(job["config"])
    return (
        Person,
        lambda: vault.access(SERVICE, purpose="provide_service"),
        vault.attach,
    )


def _statement(model: Any, numbers: random.Random, people: int) -> Any:
    return select(model).where(model.id.in_(numbers.sample(range(1, people + 1), ROWS)))


def _read(rows: Any) -> None:
    for row in rows:
        assert row.name and row.email and row.phone and row.address


def _threads(job: dict[str, Any], model: Any, acting: Any, attach: Any) -> list[float]:
    crowd, people = job["crowd"], job["people"]
    sessions = sessionmaker(create_engine(job["url"], pool_size=crowd))
    attach(sessions)
    latencies: list[float] = []
    ready = threading.Barrier(crowd)
    until = [0.0]

    def work(seed: int) -> None:
        numbers = random.Random(seed)
        for warm in (True, False):
            ready.wait()
            if warm is False and seed == 0:
                until[0] = time.perf_counter() + job["seconds"]
            ready.wait()
            while True:
                started = time.perf_counter()
                with sessions() as session, acting():
                    _read(session.scalars(_statement(model, numbers, people)))
                ended = time.perf_counter()
                if warm or ended > until[0]:
                    break
                latencies.append(ended - started)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(crowd)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return latencies


def _tasks(job: dict[str, Any], model: Any, acting: Any, attach: Any) -> list[float]:
    return asyncio.run(_gathered(job, model, acting, attach))


async def _gathered(job: dict[str, Any], model: Any, acting: Any, attach: Any) -> list[float]:
    engine = create_async_engine(job["url"], pool_size=20, max_overflow=0, pool_timeout=60)
    sessions = async_sessionmaker(engine)
    attach(sessions)
    latencies: list[float] = []

    async def once(numbers: random.Random) -> None:
        async with sessions() as session:
            with acting():
                _read(await session.scalars(_statement(model, numbers, job["people"])))

    async def work(seed: int, until: float) -> None:
        numbers = random.Random(seed)
        while (started := time.perf_counter()) < until:
            await once(numbers)
            latencies.append(time.perf_counter() - started)

    await asyncio.gather(*[once(random.Random(seed)) for seed in range(20)])
    until = time.perf_counter() + job["seconds"]
    await asyncio.gather(*[work(seed, until) for seed in range(job["crowd"])])
    await engine.dispose()
    return latencies


if __name__ == "__main__":
    main()
