"""docs/promises.md: each promise of the design names tests, and they are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "promises.md"
ROW = re.compile(r"^\| ([PR]\d+) \| (.+?) \| (.+) \|$", re.MULTILINE)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")

pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="the sources are not here")


def test_every_promise_names_tests_that_are_there() -> None:
    """P1 to P18 and R1 to R33, each once; a row names a test that is defined, or says red."""
    rows = ROW.findall(PAGE.read_text("utf-8"))
    wanted = [f"P{n}" for n in range(1, 19)] + [f"R{n}" for n in range(1, 34)]
    assert [number for number, _, _ in rows] == wanted
    for number, _, shown in rows:
        tests = TEST.findall(shown)
        assert tests or shown.startswith("**red**"), number
        for file, name in tests:
            assert re.search(rf"^\s*(async )?def {name}\(", (ROOT / file).read_text("utf-8"), re.M)
