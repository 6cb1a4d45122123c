"""Fixtures of the benchmarks, and the table and exit code at their end."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.databases import NAMES, opened
from benchmarks.race import Race
from benchmarks.sizes import FULL, SHORT, Sizes
from benchmarks.stores import Store
from benchmarks.verdicts import Row, regressions, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ROWS = pytest.StashKey[list[Row]]()
_LEFT_OUT = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("vaultlayer benchmarks")
    group.addoption("--short", action="store_true", help="fewer rows and rounds, for CI")
    group.addoption(
        "--report-only", action="store_true", help="exit 0 even where a budget is missed"
    )
    group.addoption(
        "--baseline", metavar="FILE", help="exit 1 where a ratio is far worse than in this run"
    )
    group.addoption("--new-baseline", metavar="FILE", help="keep this run's ratios for that")
    group.addoption("--rows", type=int, help="other numbers of rows, to try the suite out")
    group.addoption("--rounds", type=int, help="other numbers of rounds, likewise")
    group.addoption("--only-sqlite", action="store_true", help="leave PostgreSQL out")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_ROWS] = []
    config.stash[_LEFT_OUT] = []


@pytest.fixture(scope="session")
def sizes(pytestconfig: pytest.Config) -> Sizes:
    form = SHORT if pytestconfig.getoption("--short") else FULL
    return form.scaled_to(pytestconfig.getoption("--rows"), pytestconfig.getoption("--rounds"))


@pytest.fixture
def race(request: pytest.FixtureRequest) -> Race:
    """Times contenders in turns."""
    return Race(request.config._benchmarksession, request.node)  # type: ignore[attr-defined]


@pytest.fixture
def report(pytestconfig: pytest.Config) -> Callable[..., None]:
    """Puts a line into the table: report(section, what, measured, at_most=...)."""

    def add(*cells: Any, **budget: Any) -> None:
        pytestconfig.stash[_ROWS].append(Row(*cells, **budget))

    return add


@pytest.fixture(scope="session")
def leave_out(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Notes what could not be measured, and why; it is told under the table."""
    return pytestconfig.stash[_LEFT_OUT].append


@pytest.fixture(scope="module", params=NAMES)
def store(request: pytest.FixtureRequest, sizes: Sizes) -> Iterator[Store]:
    """A database with every contender's table in it, made for these benchmarks."""
    config, name = request.config, request.param
    if config.getoption("--only-sqlite") and name != "SQLite":
        pytest.skip(f"{name} was left out by --only-sqlite")
    try:
        with opened(name) as connect:
            made = Store(name, connect, with_peers=name in sizes.peers_on)
            config.stash[_LEFT_OUT].extend(made.left_out)
            yield made
            made.close()
    except LookupError as missing:
        config.stash[_LEFT_OUT].append(f"{name}: {missing}")
        pytest.skip(str(missing))


def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    output_json["vaultlayer"] = {
        "measured_with": _measured_with(),
        "left_out": config.stash[_LEFT_OUT],
        "table": [row.as_dict() for row in config.stash[_ROWS]],
    }


def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    rows, target = config.stash[_ROWS], config.getoption("--new-baseline")
    if target:
        figures = {row.name: round(row.measured.value, 3) for row in rows if row.unit == "×"}
        Path(target).write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", "utf-8")
    missed = not config.getoption("--report-only") and any(row.is_missed for row in rows)
    if session.exitstatus == 0 and (missed or _regressions(config)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _regressions(config: pytest.Config) -> list[str]:
    baseline = config.getoption("--baseline")
    earlier = json.loads(Path(baseline).read_text("utf-8")) if baseline else {}
    return regressions(config.stash[_ROWS], earlier)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    rows = config.stash[_ROWS]
    if not rows:
        return
    write = terminalreporter.write_line
    write("")
    write(", ".join(f"{name} {value}" for name, value in _measured_with().items()))
    write("")
    write(table(rows))
    write("")
    for line in config.stash[_LEFT_OUT]:
        write(f"left out: {line}")
    for line in _regressions(config):
        write(f"worse than before: {line}")
    missed = [row for row in rows if row.is_missed]
    write(f"{len(missed)} budget(s) not met" if missed else "all budgets met, within noise")


def _measured_with() -> dict[str, str]:
    packages = ("SQLAlchemy", "cryptography", "pycasbin")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "Python": platform.python_version(),
        **{name: version(name) for name in packages},
        "cores": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
    }
