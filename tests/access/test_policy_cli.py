"""`vaultlayer policy`: exit codes, JSON and text that reviewers act on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from vaultlayer.cli.policy import app
from vaultlayer.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VAULTLAYER_CONFIG", raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def answer(*arguments: object) -> dict[str, Any]:
    result = run(*arguments, "--json")
    found: dict[str, Any] = json.loads(result.stdout)
    return {**found, "exit": result.exit_code}


def settings(where: Path, policies: Path) -> Path:
    file = where / "vaultlayer.toml"
    file.write_text(
        f'[vault]\npolicies = "{policies}"\n[keys]\nprovider = "local:keyring.json"\n'
        '[audit]\ndirectory = "audit"\n'
    )
    return file


def test_the_starter_bundle_is_good(starter: Path) -> None:
    """Exit code 0, in words and as JSON."""
    result = run("check", "--policies", starter)
    assert (result.exit_code, "policies are good" in result.stdout) == (0, True)
    told = answer("check", "--policies", starter)
    assert (told["exit"], told["ok"], told["findings"]) == (0, True, [])
    assert told["tests"] > 30


def test_the_folder_comes_from_the_settings(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--config, then the variable, then the working folder's file; relative to that file."""
    file = settings(tmp_path, Path("policies"))
    assert run("check").exit_code == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run("check").exit_code == 2
    assert run("check", "--config", file).exit_code == 0
    monkeypatch.setenv("VAULTLAYER_CONFIG", str(file))
    assert run("check").exit_code == 0
    (folder / "roles.csv").unlink()
    assert run("check").exit_code == 1


def test_a_broken_file_is_a_finding_with_file_line_and_remedy(folder: Path) -> None:
    """Exit code 1; the same in the table and in JSON."""
    rules = folder / "roles.csv"
    rules.write_text(
        rules.read_text() + "p, support, contact.email, reed, customer_service, allow\n"
    )
    line = rules.read_text().count("\n")
    told = answer("check", "--policies", folder)
    assert (told["exit"], told["ok"]) == (1, False)
    [finding] = told["findings"]
    assert finding["where"] == f"roles.csv:{line}"
    assert "unknown action 'reed'" in finding["message"]
    assert "read, search" in finding["hint"]
    result = run("check", "--policies", folder)
    assert result.exit_code == 1
    assert f"roles.csv:{line}" in result.stdout


def test_a_failing_test_makes_check_fail(folder: Path) -> None:
    """The bundle is valid, but not what its authors expect."""
    tests = folder / "tests.toml"
    masked = tests.read_text().count('expect = "mask"')
    tests.write_text(tests.read_text().replace('expect = "mask"', 'expect = "allow"'))
    told = answer("check", "--policies", folder)
    assert told["exit"] == 1
    assert len(told["findings"]) == masked > 0
    assert "finding(s)" in run("check", "--policies", folder).stdout


def test_square_brackets_in_a_message_are_shown(folder: Path) -> None:
    """rich takes [purpose] for markup unless told otherwise."""
    purposes = folder / "purposes.toml"
    purposes.write_text(purposes.read_text().replace("consent = true", "consnet = true", 1))
    result = run("check", "--policies", folder)
    assert result.exit_code == 1
    assert "[product_improvement]" in result.stdout


def test_a_missing_model_message_has_no_false_place(folder: Path) -> None:
    """A refusal without a line leaves the place empty."""
    (folder / "model.conf").write_text("")
    [finding] = answer("check", "--policies", folder)["findings"]
    assert finding["where"] == ""
    assert finding["message"].startswith("model.conf is not")


@pytest.mark.parametrize("command", [["check"], ["explain", "a", "contact", "read", "survey"]])
def test_no_folder_is_a_usage_error(command: list[str], tmp_path: Path) -> None:
    """Exit code 2, with what to do on stderr."""
    for more in (
        [],
        ["--policies", str(tmp_path / "none")],
        ["--config", str(tmp_path / "no.toml")],
    ):
        result = run(*command, *more)
        assert result.exit_code == 2
        assert "vaultlayer init" in result.stderr


def test_explain_a_broken_bundle_is_a_finding(folder: Path) -> None:
    """Exit code 1 and the reason on stderr."""
    (folder / "roles.csv").write_text("q, a\n")
    result = run("explain", "a", "contact", "read", "survey", "--policies", folder)
    assert result.exit_code == 1
    assert "roles.csv:1" in result.stderr


def test_explain_names_the_line(starter: Path) -> None:
    """The effect, the reason, and the line it comes from."""
    told = answer(
        "explain",
        "support_lead",
        "contact.email",
        "read",
        "customer_service",
        "--policies",
        starter,
    )
    assert (told["exit"], told["effect"], told["reason"]) == (0, "allow", "rule")
    assert told["rule"].endswith(": p, support, contact.email, read, customer_service, allow")
    assert told["needs_consent"] is False
    assert told["purpose_words"].startswith("To answer your questions")
    told = answer("explain", "marketer", "contact.email", "read", "direct_marketing",
                  "--policies", starter)  # fmt: skip
    assert (told["effect"], told["needs_consent"]) == ("mask", True)
    text = run("explain", "marketer", "contact.email", "read", "direct_marketing",
               "--policies", starter)  # fmt: skip
    assert text.exit_code == 0
    assert "mask" in text.stdout
    assert "yes" in text.stdout


def test_explain_knows_or_says_how_it_took_the_category(starter: Path) -> None:
    """A field's category is given, or assumed from its name and said to be, or asked for."""
    asked = ("read", "customer_service", "--policies", starter)
    told = answer("explain", "support", "customer.email", *asked)
    assert (told["category"], told["effect"]) == ("contact.email", "allow")
    assert "assumed" in told["category_is"]
    told = answer("explain", "support", "customer.mail", *asked, "--category", "contact.email")
    assert (told["category_is"], told["effect"]) == ("given", "allow")
    result = run("explain", "support", "customer.mail", *asked)
    assert result.exit_code == 2
    assert "--category" in result.stderr


@pytest.mark.parametrize(
    ("role", "field", "action", "purpose", "reason"),
    [
        ("intern", "contact.email", "read", "customer_service", "role"),
        ("", "contact.email", "read", "customer_service", "role"),
        ("support", "contact.email", "peek", "customer_service", "action_unknown"),
        ("support", "contact.email", "read", "curiosity", "purpose_unknown"),
        ("support", "financial.card", "read", "customer_service", "purpose_category"),
        ("support", "identity.document", "read", "customer_service", "rule_deny"),
        ("marketer,support", "identity.document", "read", "customer_service", "rule_deny"),
        ("support\n", "contact.email", "read", "customer_service", "role"),
    ],
)
def test_explain_a_refusal(
    starter: Path, role: str, field: str, action: str, purpose: str, reason: str
) -> None:
    """An unknown word is a refusal with its reason, not an error."""
    told = answer("explain", role, field, action, purpose, "--policies", starter)
    assert (told["exit"], told["effect"], told["reason"]) == (0, "deny", reason)


def test_explain_an_undeclared_category(starter: Path) -> None:
    """--category is taken at its word."""
    told = answer("explain", "support", "a.b", "read", "customer_service",
                  "--category", "contact.fax", "--policies", starter)  # fmt: skip
    assert (told["effect"], told["reason"]) == ("deny", "category_unknown")


MODELS = """
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from vaultlayer import PersonalData, personal

class Base(DeclarativeBase):
    pass

class Patron(PersonalData, Base):
    __tablename__ = "{table}"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = personal("{category}")
"""


def apart(*arguments: object) -> dict[str, Any]:
    """The same in a process of its own, which knows no models but those it is told of."""
    program = [sys.executable, "-c", "from vaultlayer.cli import main; main()", "policy"]
    words = [str(argument) for argument in (*arguments, "--json")]
    done = subprocess.run(program + words, capture_output=True, check=False)
    return {**json.loads(done.stdout), "exit": done.returncode}


def test_rules_about_fields_that_no_model_has_are_found(folder: Path, tmp_path: Path) -> None:
    """A misspelt field in a deny would deny nothing; a misspelt category would open nothing."""
    patron = MODELS.format(table="patron", category="contact.email")
    (tmp_path / "shop_models.py").write_text(patron)
    rules = folder / "roles.csv"
    good = rules.read_text()
    rules.write_text(good + "p, support, patron.email, read, customer_service, deny\n")
    asked = ("check", "--policies", folder, "--models", "shop_models")
    assert apart(*asked)["findings"] == []
    rules.write_text(
        good
        + "p, support, patron.emial, read, customer_service, deny\n"
        + "p, support, patrons.email, read, customer_service, deny\n"
    )
    told = apart(*asked)
    line = good.count("\n") + 1
    assert told["exit"] == 1
    assert [(found["where"], found["message"]) for found in told["findings"]] == [
        (f"roles.csv:{line}", "no model has the field patron.emial"),
        (f"roles.csv:{line + 1}", "no model has the field patrons.email"),
    ]
    (tmp_path / "more_models.py").write_text(MODELS.format(table="guest", category="contact.fax"))
    rules.write_text(good)
    [finding] = apart(*asked, "--models", "more_models")["findings"]
    assert "guest.email is declared with the category contact.fax" in finding["message"]


def test_models_that_cannot_be_imported_are_a_usage_error(folder: Path) -> None:
    """The module and the kind of error are named, and no more."""
    result = CliRunner().invoke(app, ["check", "--policies", str(folder), "--models", "no_such"])
    assert isinstance(result.exception, ConfigurationError)
    assert "no_such can't be imported (ModuleNotFoundError)" in str(result.exception)
