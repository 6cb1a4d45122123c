"""`vaultlayer report register` and `report promises`: made from models, policies and evidence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from vaultlayer import PolicyError
from vaultlayer.cli import privacy_reports as cli
from vaultlayer.errors import ConfigurationError
from vaultlayer.evidence.promises import promises, read_promises, read_results, sentences
from vaultlayer.evidence.register import register

ROOT = Path(__file__).parents[2]
JUNIT = """<?xml version="1.0"?><testsuites><testsuite name="pytest" timestamp="{when}">
<testcase classname="tests.privacy.test_consent" name="test_said[a]"/>
<testcase classname="tests.privacy.test_consent" name="test_said[b]">{what}</testcase>
<testcase classname="tests.privacy.test_consent" name="test_absent"><skipped/></testcase>
</testsuite></testsuites>"""
TEST = "tests/privacy/test_consent.py::test_said"


def test_the_register_has_what_models_and_policies_say(clinic, agreement):
    """Purposes with their fields and recipients; each field with its purposes."""
    (clinic.folder / "processors.toml").write_text(
        agreement("laboratory", categories=["identity.name"])
    )
    clinic.vault.reload_policy()
    made = register(clinic.vault)
    by_name = {each["name"]: each for each in made["purposes"]}
    assert by_name["direct_marketing"]["fields"] == ["patient.email", "patient.name"]
    assert by_name["direct_marketing"]["consent"] is True
    assert by_name["security"]["basis"] == "legitimate_interests"
    assert by_name["archiving"]["retention"] == "10 years"
    assert by_name["provide_service"]["recipients"] == ["laboratory"]
    assert by_name["customer_service"]["roles"] == ["support", "support_lead"]
    [note] = [each for each in made["fields"] if each["field"] == "visit.note"]
    assert (note["category"], note["sensitive"]) == ("content.text", True)
    assert note["purposes"] == ["provide_service", "legal_obligation"]
    assert made["recipients"][0]["expires"] == "2099-12-31"
    assert made["unexplained"] == []
    assert made["policy"] == clinic.vault.snapshot.digest


def test_a_field_that_no_purpose_explains_is_told(clinic):
    """In the register, on its page and by the exit code."""
    file = clinic.folder / "purposes.toml"
    file.write_text(file.read_text().replace('"content", ', ""))
    (clinic.folder / "tests.toml").unlink()  # which expect that content has purposes
    clinic.vault.reload_policy()
    made = {**register(clinic.vault), "shadow": None}
    assert made["unexplained"] == ["visit.note"]
    assert "No purpose says what is done with visit.note" in cli._register_page(made)


def test_the_pages_open_in_a_browser(clinic, browser, tmp_path):
    """As a privacy team would publish it: every purpose in the words that people are told."""
    file = tmp_path / "register.html"
    file.write_text(cli._register_page({**register(clinic.vault), "shadow": None}))
    shown = browser(file)
    for purpose in clinic.vault.snapshot.bundle.purposes.values():
        assert purpose.words in shown
    file.write_text(cli._promises_page({**promises(clinic.vault), "shadow": None}))
    assert "We stop at once." in browser(file)


def test_the_starters_promises_fit_its_notice_and_name_tests_that_are_there(clinic):
    """None is red; without test results all are stale."""
    made = promises(clinic.vault)
    assert made["counts"]["red"] == 0, [p for p in made["promises"] if p["state"] == "red"]
    assert made["counts"]["stale"] == len(made["promises"]) == 14
    if (ROOT / "tests" / "privacy").is_dir():
        for promise in made["promises"]:
            file, _, name = promise["test"].partition("::")
            assert f"def {name}(" in (ROOT / file).read_text(), promise["test"]


def test_a_promise_is_green_with_evidence_and_a_test_that_passed_lately(clinic, tmp_path):
    """Stale without one of them, red where one of them says no."""
    (clinic.folder / "notice.md").write_text("# Notice\n\nWe keep a log. We\nask first.\n")
    promise(clinic, "We keep a log.", "log")
    promise(clinic, "We ask first.", "consents")
    clinic.vault.reload_policy()

    def states(file=None):
        return [(one["state"], one["why"]) for one in promises(clinic.vault, file)["promises"]]

    assert [state for state, _ in states()] == ["stale", "stale"]
    passed = results(tmp_path)
    [log, consents] = states(passed)
    assert log[0] == "green"
    assert consents[0] == "stale"
    assert consents[1].startswith("no evidence")
    old = results(tmp_path, when=datetime.now(UTC) - timedelta(days=31))
    assert states(old)[0] == ("stale", "its test has not run lately")
    assert states(results(tmp_path, what="<failure/>"))[0] == ("red", "its test has failed")
    [shard] = (clinic.vault.settings.audit_directory / "log").glob("*.jsonl")
    shard.write_bytes(shard.read_bytes().replace(b'"purpose":"provide', b'"purpose":"qrovide'))
    assert states(passed)[0][0] == "red"


def test_a_sentence_without_a_control_is_red(clinic):
    """One that nothing keeps; one whose control nobody knows; one no longer in the notice."""
    (clinic.folder / "notice.md").write_text("We are nice. We keep a log.\n\n- Hello!\n")
    promise(clinic, "We keep a log.", "luck")
    promise(clinic, "We never sell it.", "log")
    with (clinic.folder / "promises.toml").open("r+") as file:
        text = file.read()
        file.seek(0)
        file.write(f'without_promise = ["Hello!"]\n{text}')
    clinic.vault.reload_policy()
    made = promises(clinic.vault)
    assert [(one["state"], one["why"]) for one in made["promises"]] == [
        ("red", "no control keeps this sentence"),
        ("red", "there is no such control"),
        ("red", "the sentence is not in notice.md any more"),
    ]
    assert made["without_promise"] == ["Hello!"]
    assert list(cli.failing(made)) == made["promises"]


def test_what_is_no_promise_is_refused(clinic, tmp_path):
    """A key too few or too many, another table, no TOML, no results."""
    file = clinic.folder / "promises.toml"
    for text in ('[[promise]]\nsentence = "x"', '[other]\na = 1', "a =", "without_promise = [1]"):
        file.write_text(text)
        with pytest.raises(PolicyError, match="promises"):
            read_promises(clinic.folder)
    file.unlink()
    assert read_promises(clinic.folder) == ({}, set())
    with pytest.raises(ConfigurationError, match="test results"):
        read_results(tmp_path / "nothing.xml")


def test_sentences_are_read_as_people_read_them():
    """Across lines and lists, without headings."""
    text = "# Head\nOne thing.\nAnother\none? - not a list\n\n- A point.\n- Two\n  lines! Yes.\n"
    assert sentences(text) == [
        "One thing.", "Another one?", "- not a list", "A point.", "Two lines!", "Yes."
    ]  # fmt: skip


def promise(clinic, sentence, control):
    file = clinic.folder / "promises.toml"
    before = file.read_text()
    before = "" if "starter" in before else before
    file.write_text(
        f'{before}[[promise]]\nsentence = "{sentence}"\ncontrol = "{control}"\ntest = "{TEST}"\n'
    )


def results(folder, what="", when=None):
    file = folder / "junit.xml"
    file.write_text(JUNIT.format(what=what, when=(when or datetime.now(UTC)).isoformat()))
    return file
