"""`vaultlayer` itself: help, version, exit codes, errors in words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.exc import ArgumentError, OperationalError

import vaultlayer as package
from vaultlayer import errors
from vaultlayer.cli import main, root
from vaultlayer.cli.common import database_error, exit_code, show_error

if TYPE_CHECKING:
    from collections.abc import Callable
    from subprocess import CompletedProcess

GROUPS = [
    "audit",
    "backfill",
    "demo",
    "disclosure",
    "doctor",
    "export",
    "init",
    "keys",
    "migrate",
    "policy",
    "privacy",
    "processor",
    "report",
    "reseal",
    "scan",
    "subject",
]


@pytest.mark.smoke
def test_help_lists_the_commands_there_are(vaultlayer: Callable[..., Any]) -> None:
    """Each command of the list answers --help; none is listed that doesn't exist."""
    told = vaultlayer("--help")
    assert told.returncode == 0
    listed = re.findall(r"^│ (\w+) ", told.stdout, re.MULTILINE)
    assert sorted(listed) == GROUPS
    for group in GROUPS:
        helped = vaultlayer(group, "--help")
        assert helped.returncode == 0
        assert "Usage: vaultlayer" in helped.stdout


@pytest.mark.smoke
def test_version(vaultlayer: Callable[..., Any]) -> None:
    """--version names the package's own version."""
    told = vaultlayer("--version")
    assert (told.returncode, told.stdout) == (0, f"vaultlayer {package.__version__}\n")


@pytest.mark.parametrize("arguments", [["nonsense"], ["keys", "status", "--nonsense"]])
def test_a_wrong_call_is_exit_code_2(vaultlayer: Callable[..., Any], arguments: list[str]) -> None:
    """What typer refuses is a usage error, on stderr."""
    told: CompletedProcess[str] = vaultlayer(*arguments)
    assert (told.returncode, told.stdout) == (2, "")
    assert "No such" in told.stderr


def test_an_error_is_two_lines_and_no_traceback(process: Callable[..., Any]) -> None:
    """What is wrong, and what to do next; nothing else, and nothing on stdout."""
    told = process("keys", "status")
    assert (told.returncode, told.stdout) == (2, "")
    error, hint = told.stderr.splitlines()
    assert error.startswith("Error: there is no settings file")
    assert hint.startswith("Hint: write one with `vaultlayer init`")


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.ConfigurationError, 2),
        (errors.PolicyError, 1),
        (errors.IntegrityError, 1),
        (errors.PlaintextFound, 1),
        (errors.KeyUnavailable, 3),
        (errors.AuditUnavailable, 3),
        (errors.AccessDenied, 2),
    ],
)
def test_each_error_has_its_exit_code(
    kind: type[errors.VaultLayerError],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """1: findings, 2: usage, 3: key store or network; the message goes to stderr."""

    def fail(**_: object) -> None:
        raise kind("it broke", hint="mend it")

    monkeypatch.setattr(root, "app", fail)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == code == exit_code(kind("x"))
    assert capsys.readouterr() == ("", "Error: it broke.\nHint: mend it\n")


def test_an_error_without_a_hint_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """No empty hint."""
    show_error(errors.KeyErased("gone"))
    assert capsys.readouterr().err == "Error: gone.\n"


def test_a_database_error_shows_neither_statement_nor_address() -> None:
    """The driver's text may hold a password or a value; only the kind of error is told."""
    secret = "postgresql://ada:hunter2@db/shop"
    shown = [
        str(database_error(OperationalError(secret, {"name": secret}, Exception(secret)))),
        str(database_error(ArgumentError(secret))),
        str(database_error(ModuleNotFoundError(secret))),
    ]
    assert not any("hunter2" in text for text in shown)
    assert "OperationalError" in shown[0]


@pytest.mark.parametrize("library", ["typer", "rich"])
def test_without_the_extra_the_remedy_is_named(
    library: str, process: Callable[..., Any]
) -> None:
    """One who installed the core only is told which extra to add, not shown an ImportError."""
    told = process("demo", prelude=f"import sys; sys.modules[{library!r}] = None")
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr == (
        f"Error: the command line needs {library}, which is not installed.\n"
        'Hint: pip install "sqlalchemy-vaultlayer[cli]"\n'
    )


def test_another_missing_module_is_not_blamed_on_the_extra(process: Callable[..., Any]) -> None:
    """A broken installation shows its own error."""
    told = process("demo", prelude="import sys; sys.modules['jwt'] = None")
    assert told.returncode == 1
    assert "ModuleNotFoundError: import of jwt" in told.stderr


def test_a_bug_of_ours_shows_no_local_variables(process: Callable[..., Any]) -> None:
    """A traceback names lines of code; it never holds what the variables held."""
    prelude = """if 1:
        import vaultlayer.settings as s
        def load(path):
            secret = "hunter" + "2"
            raise RuntimeError("unforeseen")
        s.Settings.load = load
    """
    told = process("keys", "status", prelude=prelude, COLUMNS="200")
    assert told.returncode == 1
    assert "RuntimeError: unforeseen" in told.stderr
    assert "hunter2" not in told.stderr
