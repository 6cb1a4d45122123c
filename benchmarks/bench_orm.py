"""Reading and inserting through the ORM, on each database: the budgets that matter most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.contenders import BARE, UTILS, Contender
from benchmarks.floor import FLOOR
from benchmarks.race import Race, Runner, Times
from benchmarks.verdicts import ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.sizes import Sizes
    from benchmarks.stores import Store

COLD = "vaultlayer, cold keys"
WARM = "vaultlayer, warm keys"
REVEAL = "vaultlayer, access.reveal()"
COLD_REVEAL = "vaultlayer, access.reveal(), cold keys"
COLUMNS = "vaultlayer, columns selected"
BARE_COLUMNS = "bare AES-GCM TypeDecorator, columns selected"


def test_insert(store: Store, sizes: Sizes, race: Race, report: Callable[..., None]) -> None:
    """New people: for vaultlayer each one's key is made, wrapped and stored too."""
    section = f"insert, {store.database}, {sizes.rows:,} rows"
    main = [_inserting(each, sizes.rows) for each in (store.plain, store.bare, store.ours)]
    times = race(main, rounds=sizes.rounds, group=section)
    ours = ratio(times[store.ours.name], times[BARE])
    report(section, "vaultlayer : bare TypeDecorator", ours, at_most=2.0)
    report(section, "plain String columns : bare", ratio(times[store.plain.name], times[BARE]))
    if store.peers:
        rivals = [_inserting(each, sizes.rows) for each in (store.bare, *store.peers, store.ours)]
        times = race(rivals, rounds=sizes.peer_rounds, group=f"{section}, peers")
        _report_peers(report, section, times, store.peers)


def test_read(store: Store, sizes: Sizes, race: Race, report: Callable[..., None]) -> None:
    """Load every row and read every field of it."""
    rows, ours = sizes.rows, store.ours
    for each in (store.plain, store.bare, store.floor, ours, *store.peers):
        each.fill(rows)
    section = f"load and read, {store.database}, {rows:,} rows"
    warm = Runner(WARM, lambda: ours.read(rows), ours.warm)
    main = [
        _reading(store.plain, rows),
        warm,
        _reading(store.bare, rows),
        _reading(store.floor, rows),
        Runner(COLD, lambda: ours.read(rows), ours.cool),
        Runner(REVEAL, lambda: ours.reveal(rows), ours.warm),
        Runner(COLD_REVEAL, lambda: ours.reveal(rows), ours.cool),
        Runner(BARE_COLUMNS, lambda: store.bare.read_columns(rows)),
        Runner(COLUMNS, lambda: ours.read_columns(rows), ours.warm),
    ]
    times = race(main, rounds=sizes.rounds, group=section)
    against = times[BARE]
    report(section, f"{WARM} : bare TypeDecorator", ratio(times[WARM], against), at_most=1.5)
    report(section, f"{COLD} : bare TypeDecorator", ratio(times[COLD], against), at_most=2.5)
    report(section, f"{REVEAL} : bare TypeDecorator", ratio(times[REVEAL], against))
    report(section, f"{COLD_REVEAL} : bare TypeDecorator", ratio(times[COLD_REVEAL], against))
    report(section, f"{COLUMNS} : bare, the same", ratio(times[COLUMNS], times[BARE_COLUMNS]))
    report(section, "plain String columns : bare", ratio(times[store.plain.name], against))
    report(section, f"{FLOOR} : bare", ratio(times[FLOOR], against))
    report(section, f"{WARM} : {FLOOR}", ratio(times[WARM], times[FLOOR]))
    if store.peers:
        rivals = [_reading(each, rows) for each in (store.bare, *store.peers)]
        times = race([*rivals, warm], rounds=sizes.peer_rounds, group=f"{section}, peers")
        _report_peers(report, section, times, store.peers)
        if UTILS in times:
            faster = ratio(times[UTILS], times[WARM])
            report(section, f"{UTILS} : {WARM}", faster, at_least=3.0)


def _reading(contender: Contender, rows: int) -> Runner:
    return Runner(contender.name, lambda: contender.read(rows))


def _inserting(contender: Contender, rows: int) -> Runner:
    return Runner(contender.name, lambda: contender.insert(rows), contender.clear)


def _report_peers(report: Any, section: str, times: Times, rivals: Sequence[Contender]) -> None:
    for peer in rivals:
        report(section, f"{peer.name} : bare", ratio(times[peer.name], times[BARE]))
