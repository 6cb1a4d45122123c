"""The benchmark suite still runs, and its verdicts say what they should."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[2]
BUDGETED = {  # what the design sets a budget for and this suite measures
    "10 accesses, SQLite: an optional sink that takes 0.2 s a record : an optional sink at once",
    "audit verify, 800 records: records a second and core",
    "insert, SQLite, 20 rows: vaultlayer : bare TypeDecorator",
    "load and read, SQLite, 20 rows: vaultlayer, warm keys : bare TypeDecorator",
    "load and read, SQLite, 20 rows: vaultlayer, cold keys : bare TypeDecorator",
    "load and read, SQLite, 20 rows: SQLAlchemy-Utils, AesGcmEngine : vaultlayer, warm keys",
    "cost per row, SQLite, 80 rows: 80 a load : 20 a load",
    "memory, SQLite: peak at 80 rows : at 20 (yield_per 1,000)",
    "import: vaultlayer : the libraries it stands on",
    "repeated decision: 10,000 rules : 10 rules",
    "repeated decision: 10,000 rules, fastest round",
    "loading rules: 10,000 rules, fastest round",
    "stored size: bytes added to a str",
    "consent, SQLite, 20 people: known : none needed",
    "consent, SQLite, 20 people: asked for with their keys : keys alone",
    "consent, SQLite, 20 people: asked for, keys known : none needed",
    "a person's report, SQLite, 10 tables, 19 rows: written",
    "index upkeep, SQLite, 20 rows: two equality indexes : none",
    "Arrow, SQLite, a column of 20 texts of 1,000 people: rate of seal : bare AESGCM",
    "Arrow, SQLite, a column of 20 texts of 1,000 people: rate of open : bare AESGCM",
    "Arrow, SQLite, a column of 20 texts of 10,000 people: rate of seal : bare AESGCM",
    "Arrow, SQLite, a column of 20 texts of 10,000 people: rate of open : bare AESGCM",
}


@pytest.fixture(scope="module")
def verdicts() -> ModuleType:
    spec = importlib.util.spec_from_file_location("verdicts", ROOT / "benchmarks" / "verdicts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Any]]:
    """The whole suite on SQLite with 20 rows: its process and its JSON."""
    for part in ("pytest_benchmark", "sqlalchemy_utils", "sealed_fields", "pydantic_encryption"):
        if importlib.util.find_spec(part) is None:
            if os.environ.get("CI") == "true":
                pytest.fail(f"{part} is not there", pytrace=False)
            pytest.skip(f"{part} is not there (dependency group bench)")
    target = tmp_path_factory.mktemp("bench") / "run.json"
    sizes = ["--short", "--rows=20", "--rounds=2", "--only-sqlite"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *sizes, "--json", str(target)],
        cwd=ROOT,
        # pytest-benchmark measures nothing where it takes itself for one of several workers
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST_XDIST")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert target.exists(), done.stdout + done.stderr
    return done, json.loads(target.read_text())


def test_every_budget_has_a_verdict(tiny_run: tuple[Any, dict[str, Any]]) -> None:
    """Each budget that the suite measures is a line of the table, with figure and verdict."""
    done, result = tiny_run
    lines = {
        f"{row['section']}: {row['what']}": row
        for row in result["vaultlayer"]["table"]
        if row["verdict"]
    }
    assert set(lines) == BUDGETED, done.stdout
    assert all(row["value"] > 0 for row in lines.values())
    assert all(row["section"] in done.stdout for row in lines.values())


def test_the_exit_code_follows_the_verdicts(tiny_run: tuple[Any, dict[str, Any]]) -> None:
    """1 when a budget is missed by more than the noise, else 0."""
    done, result = tiny_run
    missed = [row for row in result["vaultlayer"]["table"] if row["verdict"] == "NOT MET"]
    assert " failed" not in done.stdout, done.stdout
    assert done.returncode == (1 if missed else 0), done.stdout


def test_a_str_grows_by_at_most_48_bytes(tiny_run: tuple[Any, dict[str, Any]]) -> None:
    """The one budget that no noise touches."""
    rows = tiny_run[1]["vaultlayer"]["table"]
    (added,) = [row["value"] for row in rows if row["section"] == "stored size"]
    assert added <= 48


def test_pytest_benchmark_keeps_every_contenders_rounds(
    tiny_run: tuple[Any, dict[str, Any]],
) -> None:
    """The JSON is pytest-benchmark's, so that its compare and histogram work on it."""
    entries = {entry["fullname"]: entry["stats"] for entry in tiny_run[1]["benchmarks"]}
    assert len(entries) == len(tiny_run[1]["benchmarks"])
    assert all(stats["rounds"] == len(stats["data"]) >= 2 for stats in entries.values())
    assert any(name.endswith("::vaultlayer, warm keys") for name in entries)


def test_a_ratio_is_the_median_of_neighbouring_rounds(verdicts: ModuleType) -> None:
    """A round that is slow for both contenders leaves their ratio alone."""
    measured = verdicts.ratio([2.0, 20.0, 2.0, 2.2], [1.0, 10.0, 1.0, 1.1])
    assert measured.value == pytest.approx(2.0)
    assert measured.noise == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("value", "noise", "budget", "verdict"),
    [
        (1.4, 0.0, {"at_most": 1.5}, "met"),
        (1.5, 0.0, {"at_most": 1.5}, "met"),
        (1.6, 0.2, {"at_most": 1.5}, "missed within noise"),
        (1.8, 0.2, {"at_most": 1.5}, "NOT MET"),
        (3.1, 0.0, {"at_least": 3.0}, "met"),
        (2.9, 0.2, {"at_least": 3.0}, "missed within noise"),
        (2.5, 0.2, {"at_least": 3.0}, "NOT MET"),
        (9.9, 0.0, {}, ""),
    ],
)
def test_noise_excuses_no_more_than_itself(
    verdicts: ModuleType, value: float, noise: float, budget: dict[str, float], verdict: str
) -> None:
    """A budget counts as missed when the figure is past it by more than the noise measured."""
    row = verdicts.Row("section", "what", verdicts.Measured(value, noise), **budget)
    assert row.verdict == verdict
    assert row.is_missed == (verdict == "NOT MET")


@pytest.mark.parametrize(
    ("value", "noise", "unit", "budget", "is_told"),
    [
        (1.4, 0.0, "×", {"at_most": 9.0}, False),
        (1.6, 0.1, "×", {"at_most": 9.0}, True),
        (1.6, 0.5, "×", {"at_most": 9.0}, False),  # within three times the noise
        (0.6, 0.0, "×", {"at_least": 0.1}, True),
        (3.0, 0.0, "×", {"at_least": 0.1}, False),  # better
        (9.9, 0.0, "s", {"at_most": 99.0}, False),  # a time is the machine's
        (9.9, 0.0, "×", {}, False),  # no budget
    ],
)
def test_a_ratio_much_worse_than_before_is_a_regression(
    verdicts: ModuleType,
    value: float,
    noise: float,
    unit: str,
    budget: dict[str, float],
    is_told: bool,
) -> None:
    """Whatever the budget says: a ratio by half worse than in the run before, beyond its noise."""
    row = verdicts.Row("section", "what", verdicts.Measured(value, noise), unit, **budget)
    told = verdicts.regressions([row], {"section: what": 1.0})
    assert bool(told) == is_told
    assert verdicts.regressions([row], {}) == []


def test_the_page_shows_a_run(
    tiny_run: tuple[Any, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every line of the table, a chart a comparison, and what stands around them untouched."""
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import page

    target, run = tmp_path / "benchmarks.md", tmp_path / "run.json"
    target.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n")
    run.write_text(json.dumps(tiny_run[1]))
    monkeypatch.setattr(page, "PAGE", target)
    monkeypatch.setattr(page, "PICTURES", tmp_path / "benchmarks")
    monkeypatch.setattr(sys, "argv", ["page", str(run)])
    assert page.main() == 0
    told = target.read_text()
    assert told.startswith("before\n")
    assert told.endswith("\nafter\n")
    assert "old" not in told.split(page.END)[0].replace("cold", "")
    assert all(row["what"] in told for row in tiny_run[1]["vaultlayer"]["table"])
    pictures = list((tmp_path / "benchmarks").glob("*.svg"))
    assert len(pictures) >= 3
    for picture in pictures:
        ElementTree.parse(picture)
        assert f"benchmarks/{picture.name}" in told
