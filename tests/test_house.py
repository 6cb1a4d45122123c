"""The rules of the house that no linter knows."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import vaultlayer

ROOT = Path(__file__).parents[1]
PACKAGES = (ROOT / "vaultlayer", ROOT / "adapters" / "vaultlayer_adapters")
MOST_LINES = 250
LONGER: dict[str, str] = {  # file: why it may have more lines
}

pytestmark = pytest.mark.skipif(
    not (ROOT / "pyproject.toml").is_file(), reason="the sources are not here"
)


def sources() -> list[Path]:
    return sorted(path for package in PACKAGES for path in package.rglob("*.py"))


def test_files_are_short() -> None:
    """A file has at most 250 lines, but for those named above with a reason."""
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines())
        for path in sources()
    }
    too_long = {name: n for name, n in lengths.items() if n > MOST_LINES and name not in LONGER}
    assert too_long == {}
    assert [name for name in LONGER if lengths.get(name, 0) <= MOST_LINES] == []


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is(path: Path) -> None:
    """A module begins with a docstring."""
    assert ast.get_docstring(ast.parse(path.read_text("utf-8")))


def test_the_public_names_are_sorted_and_complete() -> None:
    """__all__ is what a user sees in the package: sorted, and nothing else public is in it."""
    names = vaultlayer.__all__
    assert names == sorted(names)
    public = {
        name
        for name, value in vars(vaultlayer).items()
        if not name.startswith("_") and not isinstance(value, type(sys))
    }
    assert set(names) - public <= {"Vault"}  # it is imported when it is asked for
    assert public <= set(names)
    assert all(hasattr(vaultlayer, name) for name in names)
    assert not hasattr(vaultlayer, "Valut")


def test_the_paths_are_readable_at_once() -> None:
    """The functions of the two paths are shorter than 60 lines."""
    for name in ("read_path.py", "write_path.py"):
        tree = ast.parse((ROOT / "vaultlayer" / name).read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 60, f"{name}: {node.name}"


def test_importing_does_nothing() -> None:
    """No listener, no structlog configuration, no thread, no file from the import alone."""
    program = """if 1:
        import sys, threading, structlog, sqlalchemy.orm
        from sqlalchemy.event.registry import _EventKey
        listeners, opened = [], []
        listen = _EventKey.listen
        _EventKey.listen = lambda key, *a, **k: (listeners.append(key.fn), listen(key, *a, **k))
        sys.addaudithook(lambda name, a: opened.append(a) if name == "open" else None)
        import vaultlayer
        assert [f for f in listeners if f.__module__.startswith("vaultlayer")] == [], listeners
        assert not structlog.is_configured()
        assert threading.active_count() == 1
        writing = [a[0] for a in opened if isinstance(a[1], str) and set(a[1]) & set("wax+")]
        assert [name for name in writing if ".pyc" not in str(name)] == [], writing
    """
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_the_version_is_told_once() -> None:
    """pyproject takes the version from the file that the package shows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert project["tool"]["hatch"]["version"]["path"] == "vaultlayer/version.py"
    assert "version" in project["project"]["dynamic"]
