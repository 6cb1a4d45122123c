"""What ``import vaultlayer`` adds to the imports of the libraries it stands on."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.race import Race, Runner
from benchmarks.verdicts import ratio

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.sizes import Sizes

OURS = "import vaultlayer"
WITH_VAULT = "from vaultlayer import Vault"  # what a process needs that opens one
PARTS = "import sqlalchemy.orm, cryptography, casbin, structlog, jwt"


def test_import(sizes: Sizes, race: Race, report: Callable[..., None]) -> None:
    """Each import in a Python of its own, which tells how long it took."""
    runners = [
        Runner(statement, partial(_seconds, statement), own_clock=True)
        for statement in (OURS, WITH_VAULT, PARTS)
    ]
    times = race(runners, rounds=sizes.starts, group="import")
    measured = ratio(times[OURS], times[PARTS])
    report("import", "vaultlayer : the libraries it stands on", measured, at_most=1.3)
    report("import", "vaultlayer with Vault : the same", ratio(times[WITH_VAULT], times[PARTS]))


def _seconds(statement: str) -> float:
    clock = "from time import perf_counter as now; began = now()"
    code = f"{clock}\n{statement}\nprint(now() - began)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)
