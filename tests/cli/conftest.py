"""The command line as a user meets it, in the test's own process or in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from vaultlayer.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PROGRAM = "from vaultlayer.cli import main; main()"


@pytest.fixture
def settings_of_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In tmp_path, 80 columns, without colour and without any VAULTLAYER_... variable."""
    for name in [name for name in os.environ if name.startswith("VAULTLAYER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def vaultlayer(
    settings_of_nobody: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``vaultlayer ARGUMENTS`` here, with the variables ``env`` added."""

    def run(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
        words = ["vaultlayer", *map(str, arguments)]
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", words)
            for name, value in env.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as left:
                main()
        told = capsys.readouterr()
        code = left.value.code
        assert isinstance(code, int | None)
        return subprocess.CompletedProcess(words, code or 0, told.out, told.err)

    return run


@pytest.fixture
def process(settings_of_nobody: None) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``vaultlayer ARGUMENTS`` as a process of its own, after ``prelude``."""

    def run(
        *arguments: object, prelude: str = "", **env: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", f"{prelude}\n{PROGRAM}", *map(str, arguments)],
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
        )

    return run
