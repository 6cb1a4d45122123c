"""The commands, from expand to contract and out again."""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from types import SimpleNamespace

import pytest
from sqlalchemy import create_engine

from vaultlayer import Vault
from vaultlayer.cli import main
from vaultlayer.keys.local import WEAK_KDF_FOR_TESTS, LocalKeyring

MODELS = """
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from vaultlayer import Equality, PersonalData, personal


class Base(DeclarativeBase):
    pass


class Member(PersonalData, Base):
    __tablename__ = "member"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = personal(
        "contact.email", name="email_sealed", search=Equality("email"),
        migrating_from="email", until="2999-01-01",
    )
"""
SETTINGS = """
[vault]
database = "sqlite:///app.db"
policies = "policies"
models = ["club"]
[keys]
provider = "local:keyring.json"
[audit]
directory = "audit"
"""


@pytest.fixture
def run(tmp_path, policies, monkeypatch, capsys):
    (tmp_path / "club.py").write_text(MODELS)
    (tmp_path / "vaultlayer.toml").write_text(SETTINGS)
    (tmp_path / "policies").mkdir()
    for file in policies.iterdir():
        if file.is_file():
            (tmp_path / "policies" / file.name).write_bytes(file.read_bytes())
    with (tmp_path / "policies" / "roles.csv").open("a") as roles:
        roles.write("p, auditor, contact, administer, legal_obligation, allow\n")
    keyring = tmp_path / "keyring.json"
    LocalKeyring.create(keyring, "correct horse", kdf_for_tests=WEAK_KDF_FOR_TESTS)
    with closing(sqlite3.connect(tmp_path / "app.db")) as database:
        database.executescript(
            "CREATE TABLE member (id INTEGER PRIMARY KEY, email TEXT NOT NULL);"
            "INSERT INTO member (email) VALUES ('ada@example.com'), ('bob@example.com');"
        )
        database.execute("PRAGMA journal_mode = WAL")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("VAULTLAYER_PASSPHRASE", "correct horse")
    monkeypatch.setenv("COLUMNS", "200")
    engine = create_engine("sqlite:///app.db")
    with Vault.open() as vault:
        vault.create_tables(engine)
    engine.dispose()

    def vaultlayer(*words):
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["vaultlayer", *words])
        with pytest.raises(SystemExit) as left:
            main()
        told = capsys.readouterr()
        return SimpleNamespace(
            returncode=left.value.code or 0, stdout=told.out, stderr=told.err
        )

    yield vaultlayer
    sys.modules.pop("club", None)


def test_the_way_by_commands(run, tmp_path):
    """Each step's exit code and last words; what is refused, by the rules or the order."""
    assert run("backfill").returncode == 2
    assert "ADD COLUMN email_sealed" in run("migrate", "expand", "--dry-run").stdout
    assert run("migrate", "expand").returncode == 0
    told = run("migrate", "status")
    assert told.stdout == "member.email: expanded; plaintext in email, until 2999-01-01\n"
    told = run("backfill", "--dry-run")
    assert told.stdout == "would seal 2 of 2 value(s)\n", told
    told = run("backfill", "member.email", "--rate", "1000")
    assert told.returncode == 0, told
    assert told.stdout == "Proof: 0 of 2 values whose sealed form isn't the plaintext.\n"
    assert run("migrate", "switch").returncode == 2
    assert run("migrate", "verify").returncode == 0
    with closing(sqlite3.connect(tmp_path / "app.db")) as database:
        database.execute("UPDATE member SET email = 'late@example.com' WHERE id = 2")
        database.commit()
    told = run("migrate", "switch", "--wait", "0")
    assert (told.returncode, told.stdout) == (
        1, "Proof: 1 of 2 values whose sealed form isn't the plaintext.\n",
    )  # fmt: skip
    assert run("backfill").returncode == run("migrate", "verify").returncode == 0
    assert run("migrate", "switch", "--wait", "0").returncode == 0
    refused = run("migrate", "undo", "--wait", "0", "--role", "auditor")
    assert refused.returncode == 2 and "may not export" in refused.stderr
    assert run("migrate", "contract", "--dry-run").stdout == "would drop member.email\n"
    told = run("migrate", "contract", "--wait", "0")
    assert told.returncode == 0 and "backups made before now" in told.stdout
    status = json.loads(run("migrate", "status", "--json").stdout)
    assert status["fields"][0]["stage"] == "contracted"
    assert run("reseal").returncode == 0
    refused = run("export", "--wait", "0")  # a privacy officer, who may not take data out
    assert refused.returncode == 2 and "may not export" in refused.stderr
    told = run("export", "--wait", "0", "--role", "migrator")
    assert told.returncode == 0, told.stderr
    with closing(sqlite3.connect(tmp_path / "app.db")) as database:
        emails = [email for (email,) in database.execute("SELECT email FROM member ORDER BY id")]
    assert emails == ["ada@example.com", "late@example.com"]


def test_several_workers_share_a_table_out(run, tmp_path):
    """Two processes seal what one would, each row once; the proof is of all of them."""
    with closing(sqlite3.connect(tmp_path / "app.db")) as database:
        rows = [(f"n{n}@example.com",) for n in range(98)]
        database.executemany("INSERT INTO member (email) VALUES (?)", rows)
        database.commit()
    assert run("migrate", "expand").returncode == 0
    told = run("backfill", "--workers", "2")
    assert told.stdout == "Proof: 0 of 100 values whose sealed form isn't the plaintext.\n"
    with closing(sqlite3.connect(tmp_path / "app.db")) as database:
        query = "SELECT count(*), count(DISTINCT subject) FROM vaultlayer_subject_key"
        assert database.execute(query).fetchall() == [(100, 100)]
