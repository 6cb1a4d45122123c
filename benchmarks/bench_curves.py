"""What must stay flat: cost per row however many rows, memory however long the stream."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import pytest

from benchmarks.race import Race, Runner
from benchmarks.verdicts import Measured, ratio

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.contenders import Contender
    from benchmarks.sizes import Sizes
    from benchmarks.stores import Store

FLAT = 1.15  # what still counts as flat


@pytest.fixture(scope="module")
def filled(store: Store, sizes: Sizes) -> Store:
    if store.database != "SQLite":
        pytest.skip("the curves are of vaultlayer, not of a database: SQLite shows them")
    for each in (store.bare, store.ours):
        each.fill(max(*sizes.curve, *sizes.streamed))
    return store


def test_cost_per_row(filled: Store, sizes: Sizes, race: Race, report: Callable[..., None]) -> None:
    """Every contender reads the same rows, in one load or in many; so only the batch differs.

    The bare TypeDecorator's own growth is divided out: loading more at once also costs
    SQLAlchemy and the memory allocator more.
    """
    total, smallest = max(sizes.curve), min(sizes.curve)
    section = f"cost per row, SQLite, {total:,} rows"
    runners = [
        Runner(f"{each.name}, {batch:,} a load", _batches(each, total, batch), prepare)
        for batch in sizes.curve
        for each, prepare in ((filled.bare, _nothing), (filled.ours, filled.ours.warm))
    ]
    times = race(runners, rounds=sizes.curve_rounds, group=section)

    def against_bare(batch: int) -> list[float]:
        ours = times[f"{filled.ours.name}, {batch:,} a load"]
        bare = times[f"{filled.bare.name}, {batch:,} a load"]
        return [one / other for one, other in zip(ours, bare, strict=True)]

    for batch in sizes.curve:
        if batch != smallest:
            growth = ratio(against_bare(batch), against_bare(smallest))
            report(section, f"{batch:,} a load : {smallest:,} a load", growth, at_most=FLAT)


def test_memory_of_a_stream(filled: Store, sizes: Sizes, report: Callable[..., None]) -> None:
    """Peak memory of reading with yield_per(1000), warm keys: no more for more rows."""
    peaks = []
    for rows in sizes.streamed:
        filled.ours.warm()
        filled.ours.stream(min(rows, 1000))
        tracemalloc.start()
        filled.ours.stream(rows)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    few, many = sizes.streamed
    what = f"peak at {many:,} rows : at {few:,} (yield_per 1,000)"
    report("memory, SQLite", what, Measured(peaks[1] / peaks[0]), at_most=FLAT)


def _batches(contender: Contender, total: int, batch: int) -> Callable[[], None]:
    def run() -> None:
        for first in range(0, total, batch):
            contender.read(min(batch, total - first), first)

    return run


def _nothing() -> None:
    """The bare TypeDecorator has no keys to warm."""
