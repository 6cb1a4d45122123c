"""Backup and restore of KEKs: k of n people, no subject key, and no way back for the erased."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import traceback

import pytest
from sqlalchemy import delete, select

from vaultlayer.errors import (
    AccessDenied,
    ConfigurationError,
    IntegrityError,
    KeyErased,
    KeyUnavailable,
    NoAccess,
    VaultLayerError,
)
from vaultlayer.keys import tables
from vaultlayer.keys.backup import secret_sharing
from vaultlayer.keys.local import WEAK_KDF_FOR_TESTS, LocalKeyring
from vaultlayer.testing import audit_events

K = tables.kek


@pytest.fixture
def made(shop):
    """A shop with two people, its backup, and the words of five shares; three are needed."""
    people = shop.populate("ada", "bob")
    shop.backup = shop.folder / "backup.json"
    with shop.officer():
        told = shop.vault.keys.backup(shop.backup, shares=(3, 5), folder=shop.folder / "shares")
    assert (told.keks, told.shares) == (1, "3 of 5")
    shop.shares = [path.read_text() for path in told.share_files]
    shop.people = people
    return shop


def lose_the_provider(shop):
    """The keyring is gone; a new one takes its place."""
    keyring = shop.folder / "keyring.json"
    keyring.unlink()
    passphrase = os.environ["VAULTLAYER_PASSPHRASE"]
    LocalKeyring.create(keyring, passphrase, kdf_for_tests=WEAK_KDF_FOR_TESTS)
    shop.engine.dispose()
    shop.restart()


def test_three_of_five_bring_everything_back(made):
    """The provider's key is lost for good; any three shares open all that was stored."""
    before = made.read(made.people["ada"])
    lose_the_provider(made)
    with pytest.raises(KeyUnavailable):
        made.read(made.people["ada"])
    with made.officer():
        assert made.vault.keys.restore(made.backup, made.shares[2:]) == 1
    assert made.read(made.people["ada"]) == before
    made.restart()
    assert made.read(made.people["ada"]) == before
    made.populate("cyd")


def test_every_three_do_and_no_two_do(made):
    """All ten triples open the file; pairs, doubles and strangers' shares do not."""
    with made.officer():
        for triple in itertools.combinations(made.shares, 3):
            assert made.vault.keys.restore(made.backup, triple, dry_run=True) == 1
        few = [made.shares[:1], made.shares[:2], [made.shares[0]] * 3, []]
        changed = made.shares[0].replace(made.shares[0].split()[7], made.shares[0].split()[9], 1)
        for wrong in (*few, [*made.shares[:2], changed], ["abandon " * 12] * 3):
            with pytest.raises(IntegrityError, match="don't give a key"):
                made.vault.keys.restore(made.backup, wrong)
        other = secret_sharing().split(os.urandom(32), 3, 5)
        with pytest.raises(KeyUnavailable, match="another set"):
            made.vault.keys.restore(made.backup, other[:3])
        with pytest.raises(IntegrityError):
            made.vault.keys.restore(made.backup, [*made.shares[:2], other[0]])


def test_a_lost_kek_table_comes_back(made):
    """Not only the wrapping: the records themselves are restored."""
    before = made.read(made.people["bob"])
    with made.engine.begin() as connection:
        connection.execute(delete(K))
    lose_the_provider(made)
    with made.officer():
        assert made.vault.keys.restore(made.backup, made.shares[:3]) == 1
    made.restart()
    assert made.read(made.people["bob"]) == before


def test_ending_an_epoch_keeps_the_recovery_key(made):
    """It lay under a version of the provider's key that goes with the epoch: the shares that were
    dealt open the backups that come after, too."""
    object.__setattr__(made.vault.settings, "backup_days", 0)
    with made.officer():
        for what in ("provider", "kek", "subject", "index"):
            assert made.vault.keys.rotate(what, wait=0).ok
        (old, _) = sorted(made.vault.keys.epochs(), key=lambda epoch: epoch.epoch)
        made.vault.keys.end_epoch(old.epoch)
    events = audit_events(made.vault)
    destroyed = [e for e in events if e.get("step") == "erased" and "version" in e]
    assert destroyed, "no version of the provider's key went with it"
    made.restart()
    later = made.folder / "later.json"
    with made.officer():
        assert made.vault.keys.backup(later).shares == "3 of 5"
    lose_the_provider(made)
    with made.officer():
        assert made.vault.keys.restore(later, made.shares[1:4]) >= 1
    assert made.read(made.people["ada"])[0] == "ada"


def test_a_later_backup_needs_nobody(made):
    """The provider keeps the recovery key: the next file opens with the same shares."""
    with made.officer():
        told = made.vault.keys.backup(made.folder / "next.json")
        assert told.share_files == []
        assert made.vault.keys.restore(told.file, made.shares[1:4], dry_run=True) == 1
        again = made.vault.keys.backup(
            made.folder / "new.json", shares=(2, 3), folder=made.folder / "anew"
        )
        with pytest.raises(VaultLayerError):
            made.vault.keys.restore(again.file, made.shares[:3], dry_run=True)
        words = [path.read_text() for path in again.share_files]
        assert made.vault.keys.restore(again.file, words[:2], dry_run=True) == 1
        third = made.vault.keys.backup(made.folder / "third.json")
        assert third.recovery == again.recovery


def test_a_backup_doesnt_undo_an_erasure(made):
    """Erased after the backup was made: the restored KEKs open nothing of that person."""
    kept = made.read(made.people["bob"])
    made.erase(made.people["ada"])
    lose_the_provider(made)
    with made.officer():
        made.vault.keys.restore(made.backup, made.shares[:3])
    made.restart()
    assert made.read(made.people["bob"]) == kept
    ada = made.people["ada"].bytes
    with made.engine.begin() as connection, pytest.raises(KeyErased):
        made.vault.keys.active(connection, "", [ada])
    text = made.backup.read_text()
    with made.engine.connect() as connection:
        for key_id, wrapped in connection.execute(
            select(tables.subject_key.c.key_id, tables.subject_key.c.wrapped)
        ):
            assert key_id.hex() not in text
            assert wrapped.hex() not in text


def test_an_epoch_that_ended_isnt_brought_back(made):
    """A destroyed KEK's record stays destroyed, whatever a backup holds."""
    with made.engine.begin() as connection:
        connection.execute(K.update().values(state="erased", wrapped=None))
    with made.officer():
        assert made.vault.keys.restore(made.backup, made.shares[:3]) == 0
    with made.engine.connect() as connection:
        assert connection.execute(select(K.c.state, K.c.wrapped)).all() == [("erased", None)]


def test_the_drill_opens_a_sample_and_is_recorded(made):
    """KEKs complete, keys and values opened with the backup alone; the log says so."""
    with made.officer():
        report = made.vault.keys.drill(made.backup, made.shares[:3])
    assert report.ok
    complete, keys, values = report.proofs
    assert (complete.left, complete.of) == (0, 1)
    assert keys.sampled == keys.opened == 2
    assert values.sampled == values.opened == 14  # of each: name, email, born, 2 bills, 2 lines
    steps = [e for e in audit_events(made.vault) if e["event"] == "keys_changed"]
    assert [event["step"] for event in steps] == ["dealt", "backed_up", "drilled"]
    assert steps[-1]["count"] == 16
    assert steps[-1]["left"] == 0


def test_a_drill_finds_what_a_restore_would_lack(made):
    """A KEK made since the backup, or a value that doesn't open, makes it fail."""
    with made.engine.begin() as connection:
        made.vault.keys.active(connection, "", [os.urandom(16)], region="eu")
        row = connection.execute(select(tables.subject_key)).first()
        broken = bytes(row.wrapped[:-1]) + bytes([row.wrapped[-1] ^ 1])
        connection.execute(
            tables.subject_key.update()
            .where(tables.subject_key.c.key_id == row.key_id)
            .values(wrapped=broken)
        )
    with made.officer():
        report = made.vault.keys.drill(made.backup, made.shares[:3])
    assert not report.ok
    assert report.proofs[0].left == 1
    before = made.sql("SELECT * FROM vaultlayer_kek ORDER BY kek_id")
    assert len(before) == 2  # nothing was restored by looking


def test_an_altered_backup_is_refused(made):
    """No field of the file can change; no two entries change places."""
    good = json.loads(made.backup.read_text())

    def refused(document):
        made.backup.write_text(json.dumps(document))
        with made.officer(), pytest.raises(VaultLayerError):
            made.vault.keys.restore(made.backup, made.shares[:3])

    for name, value in [("made", "2020-01-01"), ("shares", "1 of 5"), ("version", 2), ("keks", [])]:
        if name != "keks":
            refused({**good, name: value})
    for name in ("tenant", "region"):
        refused({**good, "keks": [{**good["keks"][0], name: "other"}]})
    refused({**good, "keks": [{**good["keks"][0], "epoch": 9}]})
    refused({**good, "keks": [{**good["keks"][0], "kek_id": "00" * 16}]})
    refused({**good, "keks": [{**good["keks"][0], "state": "added"}]})
    refused({**good, "more": 1})
    refused({name: value for name, value in good.items() if name != "made"})
    refused(["no backup"])
    made.backup.write_text("{")
    with made.officer(), pytest.raises(ConfigurationError):
        made.vault.keys.restore(made.backup, made.shares[:3])


def test_nothing_is_overwritten_and_all_is_private(made):
    """Files are new and 0600; the folder of shares is 0700."""
    with made.officer():
        with pytest.raises(ConfigurationError, match="already"):
            made.vault.keys.backup(made.backup)
        with pytest.raises(ConfigurationError, match="already"):
            made.vault.keys.backup(
                made.folder / "x.json", shares=(3, 5), folder=made.folder / "shares"
            )
    files = [made.backup, *(made.folder / "shares").iterdir()]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert (made.folder / "shares").stat().st_mode & 0o777 == 0o700


def test_what_cannot_be_is_said(shop):
    """No recovery key yet, impossible numbers, no folder, no access, no role."""
    shop.populate("ada")
    file = shop.folder / "b.json"
    with shop.officer():
        with pytest.raises(ConfigurationError, match="no recovery key"):
            shop.vault.keys.backup(file)
        for shares in [(1, 3), (4, 3), (3, 17), (0, 0)]:
            with pytest.raises(ConfigurationError, match="can't be split"):
                shop.vault.keys.backup(file, shares=shares, folder=shop.folder / "s")
        with pytest.raises(ConfigurationError, match="folder"):
            shop.vault.keys.backup(file, shares=(2, 3))
    with pytest.raises(NoAccess):
        shop.vault.keys.backup(file)
    with shop.service(), pytest.raises(AccessDenied):
        shop.vault.keys.backup(file, shares=(2, 3), folder=shop.folder / "s")
    assert not file.exists()


def test_no_key_is_in_an_errors_frames(made):
    """An error on the way leaves without the variables that hold KEKs."""
    lose_the_provider(made)
    made.vault.keys.keks.providers.of_region("").wrap = None  # a provider that breaks
    with made.officer(), pytest.raises(KeyUnavailable) as caught:
        made.vault.keys.restore(made.backup, made.shares[:3])
    names = {frame.f_code.co_name for frame, _ in traceback.walk_tb(caught.value.__traceback__)}
    assert not names & {"_put", "record_of", "wrapped", "opened"}


KILLED = """
import os, sys
from pathlib import Path
from sqlalchemy import create_engine
from vaultlayer import PersonalData, Principal, Vault
import vaultlayer.keys.local_file as files, vaultlayer.lifecycle.backups as backups
folder, url, number, tag = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
calls = 0
def step(function):
    def run(*given, **named):
        global calls
        calls += 1
        if calls == number:
            os.kill(os.getpid(), 9)
        return function(*given, **named)
    return run
for module, name in [
    (files, "_write_aside"), (files, "_sync_folder"), (backups, "publish"),
    (backups, "sealed_backup"), (backups, "key_id_for"), (backups, "recovery_aad"),
]:
    setattr(module, name, step(getattr(module, name)))
vault = Vault.open(folder / "vaultlayer.toml")
vault.attach(create_engine(url))
with vault.access(Principal("olga", roles=["privacy_officer"]), purpose="legal_obligation"):
    vault.keys.backup(folder / f"killed-{tag}.json", shares=(2, 3), folder=folder / f"s{tag}")
"""


def killed_at(shop, number, tag):
    """Whether a backup was killed at its ``number``-th step; afterwards all must be whole."""
    url = shop.engine.url.render_as_string(hide_password=False)
    program = [sys.executable, "-c", KILLED, str(shop.folder), url, str(number), str(tag)]
    done = subprocess.run(program, capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    file = shop.folder / f"killed-{tag}.json"
    with shop.officer():
        if file.exists():  # whole, or not at all
            assert _opens(shop, file, _words(shop.folder / f"s{tag}"))
        told = shop.vault.keys.backup(shop.folder / f"after-{tag}.json")
        sets = sorted(shop.folder.glob("s[0-9]*"), key=lambda path: -path.stat().st_mtime_ns)
        # No recovery key was recorded whose shares aren't all on the disk.
        assert any(_opens(shop, told.file, _words(s)) for s in (*sets, shop.folder / "shares"))
    return done.returncode != 0


def _words(folder):
    needed = 3 if folder.name == "shares" else 2
    return [path.read_text() for path in sorted(folder.glob("share-*.txt"))][:needed]


def _opens(shop, file, words):
    try:
        return shop.vault.keys.restore(file, words, dry_run=True) == 1
    except VaultLayerError:
        return False


def test_a_backup_killed_at_any_step_leaves_no_half_of_it(made):
    """kill -9 between its steps (soak: all): whole or no files, the key has its shares."""
    kills = [killed_at(made, number, number) for number in (4, 10, 13)]
    assert sum(kills) >= 2


@pytest.mark.soak
def test_a_backup_killed_many_times(made):
    """The same over all steps, twice."""
    kills = sum(killed_at(made, number % 18 + 1, number) for number in range(36))
    assert kills >= 20
