"""How much is measured: the full form, and the short one for CI."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Sizes:
    """Rows and rounds. Peers are slow and no budget is near them, so they get fewer rounds.

    ``streamed`` begins where the journal's segment (43,690 notes, four a row) has been full once:
    up to there the memory of an access grows with its notes, past it it must not.
    """

    rows: int
    rounds: int
    peer_rounds: int
    curve: tuple[int, ...]
    curve_rounds: int
    streamed: tuple[int, int]
    calls: int
    starts: int
    peers_on: tuple[str, ...]
    crowd_rounds: int
    crowd_seconds: float
    searched: int
    keys: int
    column: int
    column_rounds: int

    def scaled_to(self, rows: int | None, rounds: int | None) -> Sizes:
        """The same with other rows or rounds, for trying the suite out."""
        sizes = self
        if rounds is not None:
            sizes = replace(
                sizes,
                rounds=rounds,
                peer_rounds=rounds,
                curve_rounds=rounds,
                starts=rounds,
                crowd_rounds=rounds,
                column_rounds=rounds,
            )
        if rows is not None:
            curve = rows, 4 * rows
            sizes = replace(sizes, rows=rows, curve=curve, streamed=curve, column=rows)
            sizes = replace(sizes, searched=10 * rows, keys=10 * rows)
        return sizes


FULL = Sizes(
    rows=5_000,
    rounds=15,
    peer_rounds=5,
    curve=(1_000, 10_000, 100_000),
    curve_rounds=5,
    streamed=(20_000, 100_000),
    calls=20_000,
    starts=15,
    peers_on=("SQLite", "PostgreSQL"),
    crowd_rounds=5,
    crowd_seconds=3.0,
    searched=1_000_000,
    keys=1_000_000,
    column=1_000_000,
    column_rounds=5,
)
SHORT = Sizes(
    rows=2_000,
    rounds=5,
    peer_rounds=3,
    curve=(1_000, 10_000),
    curve_rounds=3,
    streamed=(14_000, 28_000),
    calls=5_000,
    starts=5,
    peers_on=("SQLite",),
    crowd_rounds=1,
    crowd_seconds=1.5,
    searched=50_000,
    keys=100_000,
    column=50_000,
    column_rounds=3,
)
