"""Many readers at once on PostgreSQL: 2 processes of 32 threads, and 200 tasks of asyncio."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.contenders import BARE, BARE_MODEL, PLAIN, PLAIN_MODEL, Contender
from benchmarks.databases import opened
from benchmarks.ours import OURS, POLICIES, Vaulted
from benchmarks.verdicts import Measured, spread
from vaultlayer import Vault
from vaultlayer.keys.local import LocalKeyring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.sizes import Sizes

NAMES = (PLAIN, BARE, OURS)
PROCESSES, THREADS, TASKS = 2, 32, 200
_PASSPHRASE = "a passphrase of the benchmark"
_SETTINGS = """
[vault]
database = {url}
policies = {policies}
[keys]
provider = "local:keyring.json"
ttl = 600
[audit]
directory = "audit"
"""


@pytest.fixture(scope="module")
def job(
    pytestconfig: pytest.Config,
    sizes: Sizes,
    tmp_path_factory: pytest.TempPathFactory,
    leave_out: Callable[[str], None],
) -> Iterator[dict[str, Any]]:
    """Everything a crowd must know; every contender's table is filled."""
    if pytestconfig.getoption("--only-sqlite"):
        pytest.skip("PostgreSQL was left out by --only-sqlite")
    folder, monkeypatch = tmp_path_factory.mktemp("crowd"), pytest.MonkeyPatch()
    monkeypatch.setenv("VAULTLAYER_PASSPHRASE", _PASSPHRASE)
    try:
        with opened("PostgreSQL") as connect:
            url = connect().url.render_as_string(hide_password=False)
            _fill(connect, _config(folder, url), sizes.rows)
            yield {
                "url": url,
                "config": str(folder / "vaultlayer.toml"),
                "people": sizes.rows,
                "seconds": sizes.crowd_seconds,
            }
    except LookupError as missing:
        leave_out(f"crowds: {missing}")
        pytest.skip(str(missing))
    finally:
        monkeypatch.undo()


def test_threads(job: dict[str, Any], sizes: Sizes, report: Callable[..., None]) -> None:
    crowd = {**job, "kind": "threads", "crowd": THREADS}
    rounds = [_round(crowd, PROCESSES) for _ in range(sizes.crowd_rounds)]
    _report(report, f"{PROCESSES} processes of {THREADS} threads, PostgreSQL", rounds)


def test_tasks(job: dict[str, Any], sizes: Sizes, report: Callable[..., None]) -> None:
    crowd = {**job, "kind": "tasks", "crowd": TASKS}
    rounds = [_round(crowd, 1) for _ in range(sizes.crowd_rounds)]
    _report(report, f"asyncio, {TASKS} tasks, PostgreSQL", rounds)


def _report(report: Callable[..., None], section: str, rounds: list[dict[str, Any]]) -> None:
    def per_round(figure: Callable[[dict[str, Any]], float], name: str, base: str) -> Measured:
        return spread([figure(each[name]) / figure(each[base]) for each in rounds])

    for base in (BARE, PLAIN):
        report(section, f"loads a second, {OURS} : {base}", per_round(_rate, OURS, base))
        report(section, f"p99 latency, {OURS} : {base}", per_round(_p99, OURS, base))
    waited = spread([100 * each[OURS]["waited"] / sum(each[OURS]["latencies"]) for each in rounds])
    report(section, "readers' time spent waiting for vaultlayer's locks", waited, "%")


def _rate(crowd: dict[str, Any]) -> float:
    return float(len(crowd["latencies"]))


def _p99(crowd: dict[str, Any]) -> float:
    return quantiles(crowd["latencies"], n=100)[98]


def _round(job: dict[str, Any], processes: int) -> dict[str, Any]:
    """Each contender's crowd, one after the other."""
    return {name: _crowd({**job, "name": name}, processes) for name in NAMES}


def _crowd(job: dict[str, Any], processes: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.crowd"]
    url = job["url"]
    if job["kind"] == "tasks":
        url = url.replace("+psycopg:", "+psycopg_async:")
    running = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT
        )
        for _ in range(processes)
    ]
    for each in running:
        assert each.stdin is not None
        each.stdin.write(json.dumps({**job, "url": url}))
        each.stdin.close()
        each.stdin = None
    told = [json.loads(each.communicate()[0]) for each in running]
    assert not any(each.returncode for each in running)
    return {
        "latencies": [seconds for each in told for seconds in each["latencies"]],
        "waited": sum(each["waited"] for each in told),
    }


_ROOT = Path(__file__).parent.parent


def _config(folder: Path, url: str) -> Path:
    LocalKeyring.create(folder / "keyring.json", os.environ["VAULTLAYER_PASSPHRASE"])
    settings = _SETTINGS.format(url=json.dumps(url), policies=json.dumps(str(POLICIES)))
    (folder / "vaultlayer.toml").write_text(settings)
    return folder / "vaultlayer.toml"


def _fill(connect: Callable[[], Any], config: Path, rows: int) -> None:
    ours = Vaulted(connect, vault=Vault.open(config))
    for each in (
        Contender(PLAIN, PLAIN_MODEL, connect),
        Contender(BARE, BARE_MODEL, connect),
        ours,
    ):
        each.fill(rows)
    ours.close()
