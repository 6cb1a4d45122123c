"""``python -m benchmarks [--short] [--json FILE]``: runs the suite through pytest."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def main() -> int:
    """0: every budget is met, within noise; 1: one is not, or a benchmark failed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        epilog="Other options go to pytest: -k read, --only-sqlite, --benchmark-compare, ...",
    )
    parser.add_argument("--short", action="store_true", help="fewer rows and rounds, for CI")
    parser.add_argument("--json", metavar="FILE", help="where the figures go (default: results/)")
    given, for_pytest = parser.parse_known_args()
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    target = Path(given.json) if given.json else HERE / "results" / f"{stamp}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    arguments = [
        str(HERE),
        *("-q", "-p", "no:randomly", "-p", "no:cacheprovider"),
        *("-o", "python_files=bench_*.py", "-o", "filterwarnings=default"),
        *("--benchmark-disable-gc", "--benchmark-quiet", f"--benchmark-json={target}"),
        *(["--short"] if given.short else []),
    ]
    return int(pytest.main(arguments + for_pytest))


if __name__ == "__main__":
    sys.exit(main())
