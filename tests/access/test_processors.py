"""processors.toml: third parties under agreement, understood whole or refused."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest

from vaultlayer.access.bundle import read_bundle
from vaultlayer.access.check import findings
from vaultlayer.access.processors import parse_processors
from vaultlayer.access.snapshot import Snapshot
from vaultlayer.errors import PolicyError

if TYPE_CHECKING:
    from pathlib import Path

CATEGORIES, PURPOSES = ("contact", "identity.name"), ("provide_service",)
GOOD = """[post_office]
words = "Delivers our letters"
agreement = "DPA 4"
signed = 2026-02-01
expires = 2028-01-31
purposes = ["provide_service"]
categories = ["identity.name", "contact"]
regions = ["eu"]
safeguards = "Encrypted transfer"
contact = "privacy@post.example"
"""


def test_an_agreement_counts_from_its_first_to_its_last_day() -> None:
    """Both included."""
    processor = parse_processors(GOOD, CATEGORIES, PURPOSES)["post_office"]
    assert processor.categories == ("identity.name", "contact")
    days = [date(2026, 1, 31), date(2026, 2, 1), date(2028, 1, 31), date(2028, 2, 1)]
    assert [processor.is_valid_on(day) for day in days] == [False, True, True, False]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("2026-02-01", '"2026-02-01"', "signed is not a date"),
        ("2026-02-01", "2026-02-01T00:00:00Z", "signed is not a date"),
        ("2028-01-31", "2025-01-31", "expires before it is signed"),
        ('"provide_service"', '"survey"', "'survey', which is not known"),
        ('"contact"]', '"contakt"]', "'contakt', which is not known"),
        ('"contact"]', '"contact", ["x"]]', "which is not known"),
        ('regions = ["eu"]', "regions = []", "regions is not a list"),
        ("safeguards", "safegards", "safeguards is not a text"),
        ("contact = ", 'email = "x"\ncontact = ', "the key 'email' is not known"),
        ("[post_office]", "[post office]", "not valid TOML"),
    ],
)
def test_what_is_not_understood_is_refused(old: str, new: str, says: str) -> None:
    """With the file, the table and what to do."""
    assert old in GOOD
    with pytest.raises(PolicyError) as caught:
        parse_processors(GOOD.replace(old, new), CATEGORIES, PURPOSES)
    assert says in caught.value.message
    assert caught.value.message.startswith("processors.toml")
    assert caught.value.hint


def test_the_starters_example_is_a_good_one(folder: Path) -> None:
    """Without the signs of a remark it is understood; an old agreement is a finding."""
    file = folder / "processors.toml"
    text = file.read_text()
    example = text[text.index("# [post_office]") :].replace("# ", "")
    file.write_text(example)
    bundle = read_bundle(folder)
    assert set(bundle.processors) == {"post_office"}
    assert findings(Snapshot(bundle)) == []
    file.write_text(example.replace("2028", "2026").replace("2026-01-31", "2026-02-02"))
    [finding] = findings(Snapshot(read_bundle(folder)))
    assert "post_office ran out on 2026-02-02" in finding.message


def test_a_bundle_that_tells_people_nothing_has_a_finding(folder: Path) -> None:
    """No notice, or an empty one."""
    for text in (None, " \n"):
        (folder / "notice.md").unlink()
        if text is not None:
            (folder / "notice.md").write_text(text)
        [finding] = findings(Snapshot(read_bundle(folder)))
        assert finding.where == "notice.md"
        (folder / "notice.md").write_text("x")
