"""Reading while an optional sink is slow, beside reading without one."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from benchmarks.contenders import Base
from benchmarks.databases import opened
from benchmarks.ours import Vaulted
from benchmarks.race import Race, Runner
from benchmarks.verdicts import ratio
from vaultlayer.audit.sinks.delivery import Delivery
from vaultlayer.audit.sinks.group import Sinks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pytest

    from benchmarks.sizes import Sizes
    from vaultlayer.audit.sinks.sink import Record

QUICK, SLOW = "an optional sink at once", "an optional sink that takes 0.2 s a record"


class Sink:
    """Takes its time."""

    acknowledges = True
    pause = 0.0  # seconds a record

    def send(self, records: Sequence[Record]) -> None:
        time.sleep(self.pause * len(records))

    def close(self) -> None:
        """Nothing to let go of."""


class SinkSession(Session):
    """The vault with the sink listens on this class alone."""


class Sinking(Vaulted):
    session_class = SinkSession


def test_slow_sink(
    sizes: Sizes, race: Race, report: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many short accesses, each with a record for the sink: none waits for it."""
    sink = Sink()
    sinks = Sinks([Delivery("slow", lambda: sink)])
    monkeypatch.setattr("vaultlayer.vault.open_sinks", lambda _: sinks)
    with opened("SQLite") as connect:
        ours = Sinking(connect)
        Base.metadata.create_all(ours.engine)
        ours.fill(20)
        accesses = max(10, sizes.rows // 20)

        def read() -> None:
            for _ in range(accesses):
                ours.read(20)

        def prepared(pause: float) -> None:
            sink.pause = pause
            ours.warm()

        runners = [
            Runner(QUICK, read, partial(prepared, 0.0)),
            Runner(SLOW, read, partial(prepared, 0.2)),
        ]
        section = f"{accesses:,} accesses, SQLite"
        times = race(runners, rounds=sizes.rounds, group=section)
        report(section, f"{SLOW} : {QUICK}", ratio(times[SLOW], times[QUICK]), at_most=1.1)
        sink.pause = 0.0
        ours.close()
