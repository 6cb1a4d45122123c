"""`vaultlayer demo`: what a stranger sees is what happened."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from vaultlayer.cli import demo_show
from vaultlayer.cli.demo import PEOPLE, READERS, Cell, Facts, watch
from vaultlayer.cli.demo_people import invent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """One run of the demo."""
    return watch(tmp_path_factory.mktemp("demo"))


def outcomes(facts: Facts, reader: int) -> set[tuple[str, ...]]:
    """The different rows that a reader saw, a word a cell."""
    return {
        tuple(cell.shown if cell.outcome == "deny" else cell.outcome for cell in row)
        for row in facts.views[reader].rows
    }


def test_four_readers_see_four_things(facts: Facts) -> None:
    """As the starter policies say: open, masked, refused with the reason, and no access."""
    assert [view.reader for view in facts.views] == list(READERS)
    assert outcomes(facts, 0) == {("allow", "allow", "mask", "mask")}
    consent, purpose = "consent_missing", "purpose_category"
    assert outcomes(facts, 1) == {(consent, consent, purpose, purpose)}
    assert outcomes(facts, 2) == {("mask", "role", purpose, purpose)}
    assert outcomes(facts, 3) == {("no_access",) * 4}


def test_what_is_shown_is_those_people(facts: Facts) -> None:
    """The support agent sees the true values, and of masked ones what the mask leaves."""
    people = list(invent(PEOPLE))[:5]
    assert [[cell.shown for cell in row] for row in facts.views[0].rows] == [
        [name, email, f"***{phone[-4:]}", str(born.year)] for name, email, phone, born in people
    ]


def test_the_people_are_always_the_same_and_all_different() -> None:
    """Made up from a seed; names and addresses are unique."""
    people = list(invent(PEOPLE))
    assert people == list(invent(PEOPLE))
    assert people != list(invent(PEOPLE, seed=21))
    assert len({name for name, *_ in people}) == len({email for _, email, *_ in people}) == PEOPLE
    assert all(email.endswith("@example.org") for _, email, _, _ in people)
    assert all(" 555 01" in phone for _, _, phone, _ in people)


def test_the_log_has_what_was_seen(facts: Facts) -> None:
    """A decision of each kind, refused ones with their reason; the people only as pseudonyms."""
    told = {(r["actor"]["sub"], r["decision"], r["reason_code"]) for r in facts.log}
    assert told == {
        ("sam", "allow", "rule"),
        ("sam", "mask", "rule"),
        ("mona", "deny", "consent_missing"),
        ("mona", "deny", "purpose_category"),
        ("axel", "mask", "rule"),
        ("axel", "deny", "role"),
        ("axel", "deny", "purpose_category"),
    }
    assert all(len(record["refs"]) == 5 for record in facts.log)
    assert facts.name not in json.dumps(facts.log)


def test_the_log_is_whole_and_the_forgery_is_found(facts: Facts) -> None:
    """verify has nothing to say about the log, and something about the forged copy."""
    assert facts.findings == []
    assert facts.records > len(facts.log)
    assert any(f"line {facts.tampered_line + 1}:" in found for found in facts.tampered_findings)


def test_the_demo_reads_in_80_columns_without_colour(process: Callable[..., Any]) -> None:
    """Signs and words tell open, masked and refused apart; every line fits."""
    told = process("demo")
    assert (told.returncode, told.stderr) == (0, "")
    assert "\x1b" not in told.stdout
    assert max(len(line.rstrip()) for line in told.stdout.splitlines()) <= 80
    for word in ("Gimo Pellabel", "‹***0193›", "× consent_missing", "× no_access", "not found",
                 "none found", "the log is whole", '"decision": "deny"'):  # fmt: skip
        assert word in told.stdout


def test_a_terminal_without_utf8_gets_ascii_signs(process: Callable[..., Any]) -> None:
    """No UnicodeEncodeError, and masked and refused can still be told apart."""
    told = process("demo", PYTHONIOENCODING="ascii")
    assert (told.returncode, told.stderr) == (0, "")
    assert "<***0193>" in told.stdout
    assert "x consent_missing" in told.stdout


def test_excerpts_are_true_and_fit(facts: Facts) -> None:
    """What isn't cut is valid JSON, in lines of at most 80 columns."""
    short = {"a": 1, "b": ["x", "y"], "c": {"d": "e"}, "f": "g" * 24}
    assert json.loads("".join(demo_show._wrapped(short))) == short
    for record in facts.log:
        assert all(len(line) <= 80 for line in demo_show._wrapped(record))


def test_an_unforeseen_result_is_shown_as_it_is(
    facts: Facts, capsys: pytest.CaptureFixture[str]
) -> None:
    """The demo tells what verify said, not what it should have said."""
    bad = Facts(folder="x", kept=False, name="n", row=facts.row, findings=["cut off"])
    demo_show.show(bad)
    told = capsys.readouterr().out
    assert "verify says: cut off." in told
    assert "this must not happen" in told
    assert "The temporary folder is gone" in told


@pytest.mark.smoke
def test_a_kept_folder_can_be_looked_into(vaultlayer: Callable[..., Any], tmp_path: Path) -> None:
    """The other commands work on it; an existing folder is refused."""
    told = vaultlayer("demo", "--folder", "kept", "--json")
    assert (told.returncode, told.stderr) == (0, "")
    answer = json.loads(told.stdout)
    assert answer["people"] == PEOPLE
    assert answer["views"][1]["rows"][0][0] == {"outcome": "deny", "shown": "consent_missing"}
    config = ["--config", "kept/vaultlayer.toml"]
    status = json.loads(vaultlayer("keys", "status", *config, "--json").stdout)
    assert status["subject_keys"]["active"] == PEOPLE
    assert vaultlayer("audit", "verify", *config).returncode == 0
    assert vaultlayer("demo", "--folder", "kept").returncode == 2


def test_the_users_own_settings_are_left_alone(
    vaultlayer: Callable[..., Any], tmp_path: Path
) -> None:
    """Variables that name a real database or keyring don't reach the demo."""
    theirs = {
        "VAULTLAYER_DATABASE": f"sqlite:///{tmp_path}/theirs.db",
        "VAULTLAYER_PROVIDER": "local:theirs.json",
        "VAULTLAYER_CONFIG": "theirs.toml",
        "VAULTLAYER_PASSPHRASE": "theirs",
    }
    assert vaultlayer("demo", **theirs).returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_cells_say_what_they_are_without_colour() -> None:
    """An open value stands alone, a masked one in angle quotes, a refused one after a cross."""
    screen = demo_show._Screen()
    screen.ascii = False
    shown = [screen.cell(Cell(kind, "v")).plain for kind in ("allow", "mask", "deny")]
    assert shown == ["v", "‹v›", "× v"]
