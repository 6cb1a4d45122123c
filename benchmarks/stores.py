"""All contenders on one database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.contenders import BARE, BARE_MODEL, PLAIN, PLAIN_MODEL, Contender, peers
from benchmarks.floor import Floor
from benchmarks.ours import Vaulted

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine


class Store:
    """Each contender has an engine of its own: what vaultlayer listens to slows nobody else."""

    def __init__(self, database: str, connect: Callable[[], Engine], *, with_peers: bool) -> None:
        self.database = database
        self.plain = Contender(PLAIN, PLAIN_MODEL, connect)
        self.bare = Contender(BARE, BARE_MODEL, connect)
        self.floor = Floor(connect)
        self.ours = Vaulted(connect)
        self.peers: list[Contender] = []
        self.left_out: list[str] = []
        for name, model in peers().items() if with_peers else ():
            try:
                self.peers.append(Contender(name, model(), connect))
            except ImportError as missing:
                self.left_out.append(f"{name}: {missing}")

    def close(self) -> None:
        self.ours.close()
