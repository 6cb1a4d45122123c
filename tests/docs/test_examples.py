"""README.md and docs/ are true: their examples run, in order, in an empty folder.

```python blocks of a page are one program. A line `print(...)  # words` must print these words.
In ```console blocks, `$ vaultlayer ...` is run and must print the lines below it, or lines that
begin so or hold them; `$ export NAME=VALUE` is obeyed, and other commands are left out. Blocks of
any other kind are not run.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import types
from pathlib import Path

import pytest
from sqlalchemy.orm import configure_mappers

from vaultlayer.cli import main

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md"))]

BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"^\s*print\(.*\)  +# (.*)$", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")


@pytest.fixture
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("VAULTLAYER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.usefixtures("clean")
def test_the_examples_run(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every block of the page works, and prints what the page says."""
    program = types.ModuleType(f"example_{page.stem}")
    monkeypatch.setitem(sys.modules, program.__name__, program)
    for kind, text in BLOCK.findall(page.read_text("utf-8")):
        if kind == "python":
            capsys.readouterr()
            exec(compile(text, page.name, "exec"), vars(program))
            configure_mappers()  # while the module is there that their annotations are of
            assert capsys.readouterr().out.splitlines() == PRINTED.findall(text)
        else:
            console(text, monkeypatch, capsys)


def console(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        words = shlex.split(command)
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            monkeypatch.setenv(name, value.replace("$PWD", str(Path.cwd())))
        elif words[0] == "vaultlayer":
            capsys.readouterr()
            with monkeypatch.context() as patch, pytest.raises(SystemExit) as left:
                patch.setattr(sys, "argv", words)
                main()
            told = capsys.readouterr()
            assert (left.value.code or 0, told.err.strip()) == (0, ""), command
            for line in expected.splitlines():
                assert line in told.out, command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every link to a file of the project names one that is there."""
    for target in LINK.findall(page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.skipif(not PAGES, reason="the documents are not here")
def test_the_readme_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """Each command of the table answers --help."""
    readme = (ROOT / "README.md").read_text("utf-8")
    commands = re.findall(r"^\| `vaultlayer ([a-z-]+(?: [a-z-]+)?)", readme, re.MULTILINE)
    assert len(commands) >= 20
    for command in commands:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as left:
            patch.setattr(sys, "argv", ["vaultlayer", *command.split(), "--help"])
            main()
        assert not left.value.code, command
