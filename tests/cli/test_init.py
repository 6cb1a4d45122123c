"""`vaultlayer init`: a folder that works, and nothing of the user's overwritten."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from vaultlayer import Vault
from vaultlayer.cli import init
from vaultlayer.cli.init import starter_policies
from vaultlayer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.smoke
def test_what_init_writes_opens(
    vaultlayer: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings, policies and keyring fit together, with the passphrase file it tells about."""
    told = vaultlayer("init", "shop")
    assert (told.returncode, told.stderr) == (0, "")
    passphrase = tmp_path / "shop" / "keyring.passphrase"
    assert f"export VAULTLAYER_PASSPHRASE_FILE={passphrase}" in told.stdout
    for secret in (passphrase, tmp_path / "shop" / "keyring.json"):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    monkeypatch.setenv("VAULTLAYER_PASSPHRASE_FILE", str(passphrase))
    with Vault.open(tmp_path / "shop" / "vaultlayer.toml") as vault:
        assert vault.settings.database == "sqlite:///app.db"
        assert vault.audit.verify().findings == []
    assert vaultlayer("policy", "check", "--config", "shop/vaultlayer.toml").returncode == 0


def test_the_passphrase_is_never_printed(vaultlayer: Callable[..., Any], tmp_path: Path) -> None:
    """Neither the one it makes up nor the one it is given."""
    told = vaultlayer("init", "made")
    secret = (tmp_path / "made" / "keyring.passphrase").read_text().strip()
    assert len(secret) >= 32
    assert secret not in told.stdout + told.stderr
    told = vaultlayer("init", "given", VAULTLAYER_PASSPHRASE="correct horse")
    assert told.returncode == 0
    assert "correct horse" not in told.stdout + told.stderr


@pytest.mark.parametrize("variable", ["VAULTLAYER_PASSPHRASE", "VAULTLAYER_PASSPHRASE_FILE"])
def test_a_given_passphrase_is_used(
    variable: str, vaultlayer: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then no passphrase file is written, and the keyring opens with the given one."""
    value = "correct horse"
    if variable.endswith("_FILE"):
        (tmp_path / "secret").write_text("correct horse\n")
        value = str(tmp_path / "secret")
    told = vaultlayer("init", "--json", **{variable: value})
    names = [Path(name).name for name in json.loads(told.stdout)["files"]]
    assert names == ["vaultlayer.toml", "policies", "keyring.json"]
    assert not (tmp_path / "keyring.passphrase").exists()
    monkeypatch.setenv("VAULTLAYER_PASSPHRASE", "correct horse")
    Vault.open(tmp_path / "vaultlayer.toml").close()


def test_dry_run_writes_nothing(vaultlayer: Callable[..., Any], tmp_path: Path) -> None:
    """It lists what would be written."""
    told = vaultlayer("init", "shop", "--dry-run")
    assert told.returncode == 0
    assert "Would write shop/vaultlayer.toml" in told.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["vaultlayer.toml", "policies", "keyring.json", "keyring.passphrase"]
)
def test_nothing_is_overwritten(name: str, vaultlayer: Callable[..., Any], tmp_path: Path) -> None:
    """Whichever of its files is there already: exit code 2, and nothing else is written."""
    (tmp_path / name).write_text("mine")
    told = vaultlayer("init")
    assert told.returncode == 2
    assert f"Error: {name} is there already." in told.stderr
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_link_that_leads_nowhere_counts_too(
    vaultlayer: Callable[..., Any], tmp_path: Path
) -> None:
    """Writing through it would put the passphrase or the settings somewhere else."""
    (tmp_path / "vaultlayer.toml").symlink_to(tmp_path / "elsewhere")
    assert vaultlayer("init").returncode == 2
    assert not (tmp_path / "elsewhere").exists()


def test_without_starter_policies_nothing_can_begin(
    vaultlayer: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken installation is told as such."""
    monkeypatch.setattr(init, "__file__", str(tmp_path / "a" / "b" / "c.py"))
    monkeypatch.setattr(init, "find_spec", lambda name: None)
    told = vaultlayer("init", "shop")
    assert told.returncode == 2
    assert "the starter policies are missing" in told.stderr
    assert not (tmp_path / "shop").exists()


def test_a_folder_that_is_a_file(vaultlayer: Callable[..., Any], tmp_path: Path) -> None:
    """An error in words."""
    (tmp_path / "shop").write_text("")
    told = vaultlayer("init", "shop")
    assert told.returncode == 2
    assert "Traceback" not in told.stderr
    assert "Hint: " in told.stderr


@pytest.mark.parametrize("url", ["postgresql+psycopg://db/shop", 'sqlite:///a"b\\c.db'])
def test_the_database_is_written_as_given(
    url: str, vaultlayer: Callable[..., Any], tmp_path: Path
) -> None:
    """Whatever the URL holds, the settings file reads back as it."""
    assert vaultlayer("init", "--database", url).returncode == 0
    assert Settings.load(tmp_path / "vaultlayer.toml").database == url


def test_the_starter_policies_are_complete() -> None:
    """Wherever they are found, in a checkout or in an installed wheel."""
    names = {path.name for path in starter_policies().iterdir()}
    assert {"roles.csv", "purposes.toml", "categories.toml", "model.conf", "tests.toml"} <= names
