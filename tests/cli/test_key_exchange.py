"""``vaultlayer keys`` as operators meet it: rotate, reseal, erase, epochs, backup and restore."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import sqlite3
import struct
import subprocess
import sys
import termios
import textwrap
from contextlib import closing, suppress

import pytest

from vaultlayer import ConfigurationError, Principal, Vault
from vaultlayer.doctor import examine_settings
from vaultlayer.keys.local import WEAK_KDF_FOR_TESTS, LocalKeyring

MODELS = """
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from vaultlayer import Equality, PersonalData, personal

class Base(DeclarativeBase):
    pass

class Member(PersonalData, Base):
    __tablename__ = "member"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = personal("contact.email", search=Equality("email"), unique=True)
"""
SETTINGS = """
[vault]
database = "sqlite:///app.db"
policies = "policies"
models = ["club_models"]
[keys]
provider = "local:keyring.json"
ttl = 0.1
backup_days = 0
[audit]
directory = "audit"
"""


@pytest.fixture
def club(tmp_path, policies, settings_of_nobody, monkeypatch):
    """Two members in app.db, and settings that name the models; gives the ids of the members."""
    from sqlalchemy import create_engine
    from sqlalchemy.orm import Session

    monkeypatch.setenv("VAULTLAYER_PASSPHRASE", "correct horse")
    (tmp_path / "club_models.py").write_text(textwrap.dedent(MODELS))
    (tmp_path / "vaultlayer.toml").write_text(SETTINGS)
    shutil.copytree(policies, tmp_path / "policies")
    keyring = tmp_path / "keyring.json"
    LocalKeyring.create(keyring, "correct horse", kdf_for_tests=WEAK_KDF_FOR_TESTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("club_models", None)
    import club_models

    engine = create_engine("sqlite:///app.db")
    club_models.Base.metadata.create_all(engine)
    with Vault.open() as vault, Session(engine) as session:
        vault.create_tables(engine)
        vault.attach(session)
        members = [club_models.Member(email=f"{name}@example.com") for name in ("ada", "bob")]
        with vault.access(Principal("app", roles=["service"]), purpose="provide_service"):
            session.add_all(members)
            session.commit()
            ids = [member.subject_id for member in members]
    yield ids
    club_models.Base.registry.dispose()
    engine.dispose()
    sys.modules.pop("club_models", None)


@pytest.mark.parametrize("what", ["provider", "kek", "subject", "index"])
def test_rotate_ends_with_proof(club, vaultlayer, what):
    """In words and in JSON; exit code 0; not wider than a terminal."""
    told = vaultlayer("keys", "rotate", what)
    assert (told.returncode, told.stderr) == (0, "")
    proof = told.stdout.splitlines()[-1]
    assert proof.startswith("Proof: 0 of ")
    assert max(map(len, told.stdout.splitlines())) <= 80
    report = json.loads(vaultlayer("keys", "rotate", what, "--json").stdout)
    assert report["ok"]
    assert [each["left"] for each in report["proofs"]] == [0]


def test_damage_is_a_finding(club, vaultlayer):
    """Exit code 1, and the remedy."""
    from sqlalchemy import create_engine, text

    engine = create_engine("sqlite:///app.db")
    with engine.begin() as connection:
        connection.execute(text("UPDATE member SET email = zeroblob(60) WHERE id = 1"))
    engine.dispose()
    told = vaultlayer("keys", "reseal")
    assert told.returncode == 1
    assert "open under no key" in told.stdout


def test_reseal_mends_what_attaching_refuses(club, vaultlayer):
    """An index made otherwise than is declared: the doctor and the remedy attach all the same."""
    from sqlalchemy import create_engine

    with closing(sqlite3.connect("app.db")) as database, database:
        database.execute("UPDATE vaultlayer_index SET made_with = 'equality/email/0'")
    engine = create_engine("sqlite:///app.db")
    with Vault.open() as vault, pytest.raises(ConfigurationError, match="in another way"):
        vault.attach(engine)
    assert "search_changed" in {each.code for each in examine_settings()}
    assert vaultlayer("keys", "reseal").returncode == 0
    with Vault.open() as vault:
        vault.attach(engine)
    engine.dispose()


def test_a_dry_run_of_each(club, vaultlayer, tmp_path):
    """Not a byte of the members or the keys changes (the log's head in the database may)."""
    before = dump(tmp_path)
    for words in (
        ("rotate", "provider"), ("rotate", "kek"), ("rotate", "subject"), ("rotate", "index"),
        ("reseal",), ("erase", club[0]), ("erase", "--replay"),
    ):  # fmt: skip
        assert vaultlayer("keys", *words, "--dry-run").returncode == 0, words
    assert dump(tmp_path) == before


def dump(folder):
    names = ("member", "vaultlayer_kek", "vaultlayer_subject_key", "vaultlayer_index_root")
    with closing(sqlite3.connect(folder / "app.db")) as database:
        return [database.execute(f"SELECT * FROM {name}").fetchall() for name in names]


def test_erase_and_the_end_of_an_epoch(club, vaultlayer):
    """The receipt tells the horizon; the epoch is destroyed when nothing needs it any more."""
    told = vaultlayer("keys", "erase", club[0], "--reason", "article 17", "--json")
    (receipt,) = json.loads(told.stdout)["receipts"]
    assert (receipt["keys"], receipt["values"], receipt["terms"]) == (1, 1, 1)
    assert receipt["subject_id"] == str(club[0])
    refused = vaultlayer("keys", "epochs", "--destroy", "1")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "protects" in refused.stderr
    assert vaultlayer("keys", "rotate", "kek").returncode == 0
    assert vaultlayer("keys", "epochs", "--destroy", "1", "--dry-run").returncode == 0
    ended = vaultlayer("keys", "epochs", "--destroy", "1")
    assert ended.returncode == 0, ended.stderr
    assert "epoch 1: erased" in ended.stdout
    assert "gone for good" in ended.stdout
    listed = json.loads(vaultlayer("keys", "epochs", "--json").stdout)["epochs"]
    assert [epoch["state"] for epoch in listed] == ["erased", "active"]
    status = json.loads(vaultlayer("keys", "status", "--json").stdout)
    assert status["subject_keys"]["erased"] == 1


@pytest.mark.parametrize(
    "words",
    [
        ("rotate", "subject", "--role", "support"),
        ("rotate", "lock"),
        ("rotate", "subject", "--models", "no.such.module"),
        ("erase",),
        ("epochs", "--destroy", "7"),
    ],
)
def test_what_is_refused(club, vaultlayer, words):
    """A role that may not, a key that isn't, a module that isn't: exit code 2, no traceback."""
    told = vaultlayer("keys", *words)
    assert told.returncode == 2
    assert "Traceback" not in told.stderr


def test_a_restored_backup_is_told_and_replayed(club, vaultlayer, tmp_path):
    """The database from before the erasure: exit code 3 and the remedy, which then works."""
    backup = (tmp_path / "app.db").read_bytes()
    assert vaultlayer("keys", "erase", club[0]).returncode == 0
    (tmp_path / "app.db").write_bytes(backup)
    refused = vaultlayer("keys", "rotate", "kek")
    assert refused.returncode == 3
    assert "keys erase --replay" in refused.stderr
    told = vaultlayer("keys", "erase", "--replay")
    assert told.returncode == 0, told.stderr
    assert f"Erased {club[0]}" in told.stdout
    assert vaultlayer("keys", "rotate", "kek").returncode == 0
    assert vaultlayer("keys", "erase", "--replay").stdout == "Nobody to erase again.\n"


def test_backup_restore_and_drill(club, vaultlayer, tmp_path):
    """Dealt, backed up, drilled; the keyring lost and replaced, and everything restored."""
    told = vaultlayer("keys", "backup", "b.json", "--shares", "2/3", "--shares-to", "shares")
    assert (told.returncode, told.stderr) == (0, "")
    assert "1 KEK(s), opened by 2 of 3 shares" in told.stdout
    words = (tmp_path / "shares" / "share-1-of-3.txt").read_text()
    assert words.split()[0] not in told.stdout
    shares = ["--share", "shares/share-3-of-3.txt", "--share", "shares/share-1-of-3.txt"]

    drill = vaultlayer("keys", "drill", "b.json", *shares)
    assert (drill.returncode, drill.stderr) == (0, "")
    assert "0 of 1 KEKs in use that are not in the backup" in drill.stdout
    assert "sampled 2, opened 2" in drill.stdout
    assert max(map(len, drill.stdout.splitlines())) <= 80

    (tmp_path / "keyring.json").unlink()
    keyring = tmp_path / "keyring.json"
    LocalKeyring.create(keyring, "correct horse", kdf_for_tests=WEAK_KDF_FOR_TESTS)
    assert vaultlayer("keys", "reseal").returncode == 3
    would = vaultlayer("keys", "restore", "b.json", *shares, "--dry-run")
    assert would.stdout == "Would restore 1 KEK(s).\n"
    assert vaultlayer("keys", "reseal").returncode == 3
    done = vaultlayer("keys", "restore", "b.json", *shares, "--json")
    assert json.loads(done.stdout) == {"keks": 1, "dry_run": False}
    assert vaultlayer("keys", "drill", "b.json", *shares).returncode == 0
    assert vaultlayer("keys", "rotate", "kek").returncode == 0
    stale = vaultlayer("keys", "drill", "b.json", *shares, "--json")  # a KEK was made since
    assert stale.returncode == 1
    assert json.loads(stale.stdout)["ok"] is False
    later = vaultlayer("keys", "backup", "later.json", "--json")
    assert json.loads(later.stdout)["share_files"] == []
    assert vaultlayer("keys", "drill", "later.json", *shares).returncode == 0


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["backup", "b.json"], 2, "no recovery key"),
        (["backup", "b.json", "--shares", "three"], 2, "isn't k/n"),
        (["backup", "b.json", "--shares", "2/3"], 2, "--shares-to"),
        (["restore", "none.json", "--share", "vaultlayer.toml"], 2, "can't be read"),
        (["restore", "vaultlayer.toml", "--share", "none.txt"], 2, "can't be read"),
    ],
)
def test_a_backup_that_cannot_be(club, vaultlayer, words, code, says):
    """One error, one hint, and no file."""
    told = vaultlayer("keys", *words)
    assert (told.returncode, told.stdout) == (code, "")
    assert says in told.stderr


def test_a_backup_that_would_be(club, vaultlayer, tmp_path):
    """--dry-run writes nothing."""
    told = vaultlayer("keys", "backup", "b.json", "--shares", "2/3", "--dry-run")
    assert told.stdout == "Would write b.json and 3 shares.\n"
    assert not (tmp_path / "b.json").exists()


@pytest.mark.parametrize("colour", [True, False])
def test_progress_in_a_terminal(club, tmp_path, colour):
    """A bar a step on the terminal, 80 columns wide; stdout has the outcome alone."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    program = "import sys; from vaultlayer.cli import main; sys.argv[0] = 'vaultlayer'; main()"
    words = [sys.executable, "-c", program, "keys", "rotate", "subject"]
    env = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    env |= {"TERM": "xterm-256color"} | ({} if colour else {"NO_COLOR": "1"})
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(tmp_path), *sys.path]))
    run = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=theirs, env=env, cwd=tmp_path)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # EIO: the other side has ended
        while piece := os.read(ours, 65536):
            shown += piece
    os.close(ours)
    out, _ = run.communicate(timeout=60)
    assert run.returncode == 0, shown.decode()
    screen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    for step in ("making keys", "resealing member", "checking member"):
        assert re.search(rf"{step} .* 2 rows", screen), screen
    assert max(map(len, re.split(r"[\r\n]+", screen))) <= 80
    assert bool(re.search(rb"\x1b\[[0-9;]*3\d[0-9;]*m", shown)) == colour
    assert out.decode().splitlines()[-1].startswith("Proof: 0 of ")
    assert b"\x1b" not in out
