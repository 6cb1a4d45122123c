"""vaultlayer audit verify | recover | tail."""

from __future__ import annotations

import json
import os
import sys
from types import SimpleNamespace

import pytest

from vaultlayer.cli import main


@pytest.fixture
def run(monkeypatch, capsys):
    """Run ``vaultlayer audit ARGUMENTS``: its exit code, stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["vaultlayer", "audit", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        told = capsys.readouterr()
        return SimpleNamespace(exit_code=left.value.code or 0, stdout=told.out, stderr=told.err)

    return call


@pytest.fixture
def written(new_trail):
    """The directory of a closed trail with three reads in it."""
    trail = new_trail()
    number, prefix = trail.reading("email", access=trail.access(reason="for\x1b[31m Ada"))
    trail.journal.append_many(prefix, [os.urandom(16) for _ in range(3)])
    trail.journal.close_access(number)
    directory, trail.path = trail.directory, trail.log.path
    trail.close()
    return directory


def break_log(directory):
    (shard,) = (directory / "log").iterdir()
    shard.write_bytes(shard.read_bytes().replace(b"u-17", b"u-18"))


def test_verify_says_that_a_whole_log_is_whole(run, written):
    """Exit code 0, the figures, and the limits of what was checked."""
    result = run("verify", "--directory", written)
    assert result.exit_code == 0
    assert "3 records in 1 shard" in result.stdout
    assert "Not found without signed checkpoints" in result.stdout
    told = json.loads(run("verify", "--directory", written, "--json").stdout)
    assert (told["ok"], told["records"], told["shards"], told["findings"]) == (True, 3, 1, [])


def test_verify_reports_tampering_with_exit_code_1(run, written):
    """Where, and what; the same in JSON."""
    break_log(written)
    result = run("verify", "--directory", written)
    assert result.exit_code == 1
    assert "1 finding(s)" in result.stdout
    result = run("verify", "--directory", written, "--json")
    assert result.exit_code == 1
    (finding,) = json.loads(result.stdout)["findings"]
    assert finding["line"] == 3


def test_recover_finishes_a_crashed_shard(run, new_trail):
    """The count of what was recovered; a second run finds nothing to do."""
    trail = new_trail()
    _, prefix = trail.reading("email")
    trail.journal.append_many(prefix, [os.urandom(16) for _ in range(3)])
    trail.journal.release()
    trail.log.release()
    assert run("verify", "--directory", trail.directory).exit_code == 1
    told = json.loads(run("recover", "--directory", trail.directory, "--json").stdout)
    assert [one["notes"] for one in told["recovered"]] == [3]
    assert "Nothing to recover" in run("recover", "--directory", trail.directory).stdout
    assert run("verify", "--directory", trail.directory).exit_code == 0


def test_tail_shows_the_latest_records_without_driving_the_terminal(run, new_trail):
    """Names from tokens are shown escaped; -n limits; --json holds whole records."""
    trail = new_trail()
    hostile = {"sub": "eve\x1b[2J\u202e", "roles": ()}
    number, prefix = trail.reading("email", access=trail.access(actor=hostile))
    trail.journal.append_many(prefix, [os.urandom(16) for _ in range(3)])
    trail.journal.close_access(number)
    trail.close()
    shown = run("tail", "--directory", trail.directory)
    assert shown.exit_code == 0
    assert "\x1b" not in shown.stdout
    assert "\u202e" not in shown.stdout
    result = run("tail", "-n", 2, "--json", "--directory", trail.directory)
    records = json.loads(result.stdout)["records"]
    assert [record["event"] for record in records] == ["read", "close"]
    assert records[0]["actor"]["sub"] == "eve\x1b[2J\u202e"
    assert "\x1b" not in result.stdout


def test_tail_passes_over_what_is_no_record(run, written):
    """Looking is not verifying: damaged lines are left out."""
    (shard,) = (written / "log").iterdir()
    shard.write_bytes(b"damaged\n[]\n" + shard.read_bytes() + b'{"half')
    records = json.loads(run("tail", "--json", "--directory", written).stdout)["records"]
    assert len(records) == 3


def test_the_directory_comes_from_the_settings(run, written, tmp_path):
    """--config names the settings file, whose [audit] directory is used."""
    config = tmp_path / "vaultlayer.toml"
    config.write_text(
        '[vault]\npolicies = "policies"\n[keys]\nprovider = "local:keyring.json"\n'
        f'[audit]\ndirectory = "{written}"\n'
    )
    assert run("verify", "--config", config).exit_code == 0


@pytest.mark.parametrize("command", ["verify", "recover", "tail"])
def test_missing_settings_and_directories_have_their_own_exit_codes(run, tmp_path, command):
    """2 for settings that can't be used, 3 for a directory that can't; each says what to do."""
    result = run(command, "--config", tmp_path / "none.toml")
    assert result.exit_code == 2
    result = run(command, "--directory", tmp_path / "none")
    assert result.exit_code == 3
    assert "--directory" in result.stderr
    assert not (tmp_path / "none").exists()


def test_an_empty_directory_is_not_a_clean_log(run, tmp_path):
    """verify fails with 3 where there is nothing to verify."""
    assert run("verify", "--directory", tmp_path).exit_code == 3
