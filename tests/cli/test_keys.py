"""`vaultlayer keys status`: the key tables in words, without opening a key."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine

from vaultlayer.keys import tables
from vaultlayer.keys.erasing import erase_keys
from vaultlayer.keys.keyring import Keys
from vaultlayer.keys.provider import MemoryProvider

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SUBJECTS = [bytes([n]) * 16 for n in range(3)]


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Settings beside a database with four subject keys of two tenants, one of them erased."""
    engine = create_engine(f"sqlite:///{tmp_path}/app.db")
    tables.metadata.create_all(engine)
    keys = Keys(MemoryProvider())
    with engine.begin() as connection:
        keys.active(connection, "", SUBJECTS)
        keys.active(connection, "acme", SUBJECTS[:1])
        erase_keys(keys, connection, "", SUBJECTS[1])
    engine.dispose()
    return write_settings(tmp_path, "sqlite:///app.db")


def write_settings(folder: Path, database: str | None) -> Path:
    file = folder / "vaultlayer.toml"
    line = f'database = "{database}"\n' if database else ""
    file.write_text(
        f'[vault]\n{line}policies = "policies"\n[keys]\nprovider = "local:keyring.json"\n'
        '[audit]\ndirectory = "audit"\n'
    )
    return file


def test_status_counts_the_keys_by_state(vaultlayer: Callable[..., Any], settings: Path) -> None:
    """A KEK a tenant, and what each protects; no passphrase is asked for."""
    told = vaultlayer("keys", "status", "--json")
    assert (told.returncode, told.stderr) == (0, "")
    answer = json.loads(told.stdout)
    counts = {kek["tenant"]: kek["subject_keys"] for kek in answer["keks"]}
    assert counts == {
        "": {"active": 2, "decrypt_only": 0, "erased": 1},
        "acme": {"active": 1, "decrypt_only": 0, "erased": 0},
    }
    assert answer["subject_keys"] == {"active": 3, "decrypt_only": 0, "erased": 1}
    assert [kek["epoch"] for kek in answer["keks"]] == [1, 1]


def test_status_as_a_table(vaultlayer: Callable[..., Any], settings: Path) -> None:
    """In 80 columns; the tenants are shown, the region that nobody uses is not."""
    told = vaultlayer("keys", "status", "--config", settings)
    assert told.returncode == 0
    assert max(map(len, told.stdout.splitlines())) <= 80
    assert "acme" in told.stdout
    assert "region" not in told.stdout
    assert "2 KEK(s); subject keys: 3 active, 0 decrypt only, 1 erased." in told.stdout
    assert "\x1b" not in told.stdout


def test_no_key_yet(vaultlayer: Callable[..., Any], tmp_path: Path) -> None:
    """Empty tables are an answer."""
    engine = create_engine(f"sqlite:///{tmp_path}/app.db")
    tables.metadata.create_all(engine)
    engine.dispose()
    write_settings(tmp_path, "sqlite:///app.db")
    told = vaultlayer("keys", "status")
    assert told.returncode == 0
    assert told.stdout == "0 KEK(s); subject keys: 0 active, 0 decrypt only, 0 erased.\n"


def test_no_tables_is_an_error_and_makes_no_file(
    vaultlayer: Callable[..., Any], tmp_path: Path
) -> None:
    """Looking creates nothing."""
    write_settings(tmp_path, "sqlite:///app.db")
    told = vaultlayer("keys", "status")
    assert (told.returncode, told.stdout) == (2, "")
    assert "create_tables" in told.stderr
    assert not (tmp_path / "app.db").exists()
    create_engine(f"sqlite:///{tmp_path}/app.db").connect().close()
    (tmp_path / "app.db").touch()
    assert vaultlayer("keys", "status").returncode == 2


@pytest.mark.parametrize(
    ("database", "code"),
    [
        (None, 2),
        ("postgresql+psycopg://nobody@127.0.0.1:1/none", 3),
        ("postgresql+nonsense://nobody@127.0.0.1/none", 2),
        ("oracle+cx_oracle://nobody@127.0.0.1/none", 2),
        ("no url at all", 2),
    ],
)
def test_a_database_that_cannot_be_used(
    database: str | None, code: int, vaultlayer: Callable[..., Any], tmp_path: Path
) -> None:
    """2 for settings that can't work, 3 for a database that doesn't answer; never a traceback."""
    write_settings(tmp_path, database)
    told = vaultlayer("keys", "status")
    assert (told.returncode, told.stdout) == (code, "")
    assert [line.partition(":")[0] for line in told.stderr.splitlines()] == ["Error", "Hint"]
    assert "nobody" not in told.stderr
