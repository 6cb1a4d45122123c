"""The keyring file on disk: whose it is, what form it has, how it gets there."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from vaultlayer.errors import ConfigurationError
from vaultlayer.keys import local
from vaultlayer.keys.local import WEAK_KDF_FOR_TESTS, LocalKeyring
from vaultlayer.keys.provider import open_provider

PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def keyring(tmp_path):
    path = tmp_path / "keyring.json"
    LocalKeyring.create(path, PASSPHRASE, kdf_for_tests=WEAK_KDF_FOR_TESTS)
    return path


def opened(path, passphrase=PASSPHRASE):
    return open_provider(f"local:{path.name}", passphrase=lambda: passphrase, base=path.parent)


def edit(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o660, 0o610])
def test_a_file_others_may_use_is_refused(keyring, mode):
    """Whatever bit is too many, the error is the chmod command."""
    keyring.chmod(mode)
    with pytest.raises(ConfigurationError) as caught:
        opened(keyring)
    assert caught.value.hint == f"run `chmod 600 {keyring}`"


def test_a_new_file_is_only_for_its_owner(keyring):
    """create() leaves one file, mode 0600, whatever the umask."""
    assert keyring.stat().st_mode & 0o777 == 0o600
    assert list(keyring.parent.iterdir()) == [keyring]


def test_a_missing_file_names_init(tmp_path):
    """No keyring: the error says which command writes one, and nothing asks for a passphrase."""
    with pytest.raises(ConfigurationError, match="vaultlayer init"):
        open_provider("local:none.json", passphrase=pytest.fail, base=tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"version": 1}',
        b'{"version":1,"kdf":[],"keys":{},"active":"1"}',
        b'{"version":1,"kdf":{"name":"scrypt"},"keys":[],"active":"1"}',
    ],
    ids=range(10),
)
def test_a_damaged_file_is_told_apart_from_a_wrong_passphrase(keyring, content):
    """What is no keyring at all is a configuration error that says to restore it."""
    keyring.write_bytes(content)
    with pytest.raises(ConfigurationError, match="is damaged"):
        opened(keyring)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(version=2),
        lambda d: d.update(active="2"),
        lambda d: d.update(active=["1"]),
        lambda d: d.update(extra=1),
        lambda d: d["kdf"].update(name="md5"),
        lambda d: d["kdf"].update(extra=1),
        lambda d: d["kdf"].update(n=0),
        lambda d: d["kdf"].update(n=3),
        lambda d: d["kdf"].update(n=-2),
        lambda d: d["kdf"].update(n=True),
        lambda d: d["kdf"].update(n=2.0),
        lambda d: d["kdf"].update(n="2"),
        lambda d: d["kdf"].update(n=2**40),
        lambda d: d["kdf"].update(salt=""),
        lambda d: d["kdf"].update(salt="AAAA"),
        lambda d: d["kdf"].update(salt=7),
        lambda d: d.update(keys={}),
        lambda d: d["keys"]["1"].update(wrapped=None),
        lambda d: d["keys"].update({"1": "text"}),
    ],
    ids=range(19),
)
def test_a_malformed_keyring_is_refused_before_it_costs_anything(keyring, change):
    """Unknown versions, names and parameters, and costs beyond reason, are refused as damaged."""
    edit(keyring, change)
    with pytest.raises(ConfigurationError, match="is damaged"):
        opened(keyring)


def test_create_never_replaces_a_file(keyring):
    """A second create() is refused and leaves the first keyring as it was."""
    before = keyring.read_bytes()
    with pytest.raises(ConfigurationError, match="already"):
        LocalKeyring.create(keyring, "another", kdf_for_tests=WEAK_KDF_FOR_TESTS)
    assert keyring.read_bytes() == before
    assert list(keyring.parent.iterdir()) == [keyring]


def test_a_folder_that_isnt_there_is_named(tmp_path):
    """create() in a missing folder is a configuration error with the path."""
    with pytest.raises(ConfigurationError, match=r"none/keyring\.json can't be written"):
        LocalKeyring.create(
            tmp_path / "none" / "keyring.json", "x", kdf_for_tests=WEAK_KDF_FOR_TESTS
        )


@pytest.mark.parametrize("step", ["fsync", "link"])
def test_killed_while_writing_leaves_no_keyring_and_no_obstacle(tmp_path, step):
    """A process killed before the file has its name leaves nothing there; init works again."""
    path = tmp_path / "keyring.json"
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from vaultlayer.keys.local import WEAK_KDF_FOR_TESTS, LocalKeyring\n"
        f"os.{step} = lambda *_: os.kill(os.getpid(), 9)\n"
        "LocalKeyring.create(Path(sys.argv[1]), 'x', kdf_for_tests=WEAK_KDF_FOR_TESTS)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, path], check=False)
    assert killed.returncode == -9
    assert not path.exists()
    assert all(left.stat().st_mode & 0o777 == 0o600 for left in tmp_path.iterdir())
    LocalKeyring.create(path, PASSPHRASE, kdf_for_tests=WEAK_KDF_FOR_TESTS)
    opened(path)


def test_the_file_is_on_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """Order: content synced, then named, then the folder synced."""
    steps = []
    for name in ("fsync", "link"):
        real = getattr(local.os, name)
        monkeypatch.setattr(
            local.os, name, lambda *a, name=name, real=real: steps.append(name) or real(*a)
        )
    LocalKeyring.create(tmp_path / "k.json", "x", kdf_for_tests=WEAK_KDF_FOR_TESTS)
    assert steps == ["fsync", "link", "fsync"]
