"""Contenders taking turns: A B C, B C A, C A B, ... so that a slow second hits all of them."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from pytest_benchmark.stats import Metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Times = dict[str, list[float]]


def _nothing() -> None:
    """Most contenders need no preparation."""


@dataclass(frozen=True)
class Runner:
    """One contender: what is timed, and what must be done before each round, untimed.

    ``own_clock``: ``run`` returns the seconds itself, because they pass in another process.
    """

    name: str
    run: Callable[[], Any]
    prepare: Callable[[], object] = _nothing
    own_clock: bool = False


class Race:
    """Runs contenders in turns and hands the times to pytest-benchmark, an entry a contender."""

    def __init__(self, session: Any, node: Any) -> None:
        self._session = session
        self._node = node
        self._timer = session.options["timer"].target

    def __call__(self, runners: Sequence[Runner], *, rounds: int, group: str) -> Times:
        """Seconds by contender, in the order of the rounds; one round before them isn't counted."""
        for runner in runners:
            runner.prepare()
            runner.run()
        times: Times = {runner.name: [] for runner in runners}
        gc.freeze()  # what is there already is no round's garbage, and looking through it is slow
        try:
            for number in range(rounds):
                first = number % len(runners)
                for runner in [*runners[first:], *runners[:first]]:
                    runner.prepare()
                    times[runner.name].append(self._time(runner))
        finally:
            gc.unfreeze()
        for runner in runners:
            self._record(runner.name, group, times[runner.name])
        return times

    def _time(self, runner: Runner) -> float:
        gc.collect()  # what the last contender left behind is not this one's
        gc.disable()
        try:
            start = self._timer()
            result = runner.run()
            seconds: float = self._timer() - start
            return float(result) if runner.own_clock else seconds
        finally:
            gc.enable()

    def _record(self, name: str, group: str, seconds: list[float]) -> None:
        """What pytest-benchmark's own fixture would record after this contender's rounds."""
        measured = SimpleNamespace(
            name=name,
            fullname=f"{self._node.nodeid}::{group}::{name}",
            group=group,
            param=None,
            params=None,
            extra_info={},
            cprofile_stats=None,
            has_error=False,
        )
        entry = Metadata(measured, 1, {"timer": self._timer, "disable_gc": True})  # type: ignore[no-untyped-call]
        for each in seconds:
            entry.update(each)  # type: ignore[no-untyped-call]
        self._session.benchmarks.append(entry)
