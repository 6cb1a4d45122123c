"""`vaultlayer policy emergencies`, `review` and `store`."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import create_engine
from typer.testing import CliRunner

from vaultlayer import ConfigurationError, PolicyError, Principal, Vault
from vaultlayer.cli.policy import app
from vaultlayer.keys.local import WEAK_KDF_FOR_TESTS, LocalKeyring

PASSPHRASE = "a passphrase for the tests"
WHY = "the line is down and the lead away"


def run(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture
def config(bundle, tmp_path, monkeypatch):
    """Settings of a vault with a database on the disk, in whose tables is nothing yet."""
    monkeypatch.setenv("VAULTLAYER_PASSPHRASE", PASSPHRASE)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    LocalKeyring.create(
        tmp_path / "keyring.json", PASSPHRASE, kdf_for_tests=WEAK_KDF_FOR_TESTS
    )
    file = tmp_path / "vaultlayer.toml"
    file.write_text(
        f'[vault]\ndatabase = "sqlite:///{tmp_path}/app.db"\npolicies = "policies"\n'
        '[keys]\nprovider = "local:keyring.json"\n[audit]\ndirectory = "audit"\n'
    )
    engine = create_engine(f"sqlite:///{tmp_path}/app.db")
    with Vault.open(file) as vault:
        vault.attach(engine)
        vault.create_tables(engine)
    engine.dispose()
    return file


@pytest.fixture
def opened(config, tmp_path):
    """The id of an emergency that sam had."""
    engine = create_engine(f"sqlite:///{tmp_path}/app.db")
    with Vault.open(config) as vault:
        vault.attach(engine)
        sam = Principal("sam", ["support"])
        with vault.access(sam, purpose="customer_service", emergency=WHY):
            pass
        [waiting] = vault.elevations.open()
    engine.dispose()
    return waiting["elevation_id"]


def test_an_emergency_is_listed_until_a_second_person_closes_it(config, opened):
    """Exit code 1 while one waits; in words and as JSON."""
    listed = run("emergencies", "--config", config)
    assert listed.exit_code == 1
    for word in ("sam", "support_lead", "customer_service", opened, "waits"):
        assert word in listed.stdout
    assert max(map(len, listed.stdout.splitlines())) <= 80
    [told] = json.loads(run("emergencies", "--config", config, "--json").stdout)["emergencies"]
    assert (told["id"], told["why"], told["reviewed"]) == (opened, WHY, None)
    verdict = ("--verdict", "it was so", "--config", config)
    dry = run("review", opened, "--as", "olga", *verdict, "--dry-run")
    assert (dry.exit_code, "Would close" in dry.stdout) == (0, True)
    own = run("review", opened, "--as", "sam", *verdict)
    assert own.exception.reason == "review_own"
    assert run("emergencies", "--config", config).exit_code == 1
    assert run("review", opened, "--as", "olga", *verdict).exit_code == 0
    listed = run("emergencies", "--config", config)
    assert (listed.exit_code, "0 emergency access(es) wait" in listed.stdout) == (0, True)
    assert "olga" in run("emergencies", "--config", config, "--all").stdout
    listed = run("emergencies", "--config", config, "--all", "--json")
    assert listed.exit_code == 0
    [told] = json.loads(listed.stdout)["emergencies"]
    assert (told["reviewed_by"], told["verdict"]) == ("olga", "it was so")


def test_a_bundle_is_stored_and_a_bad_one_is_not(config, bundle):
    """Checked with its tests before; the settings that name the database then use it."""
    dry = run("store", bundle, "--config", config, "--dry-run")
    assert (dry.exit_code, "Would store" in dry.stdout) == (0, True)
    stored = run("store", bundle, "--config", config)
    assert (stored.exit_code, "Stored as version 1" in stored.stdout) == (0, True)
    config.write_text(config.read_text().replace('policies = "policies"', 'policies = "database:"'))
    with Vault.open(config) as vault:
        assert len(vault.snapshot.digest) == 64
    rules = bundle / "roles.csv"
    needed = "p, auditor, identity.name, read, security, mask"
    rules.write_text(rules.read_text().replace(needed, ""))
    bad = run("store", bundle, "--config", config)
    assert isinstance(bad.exception, PolicyError)
    assert "tests.toml" in str(bad.exception)


def test_without_a_database_there_is_nothing_to_list_or_store_in(config, bundle):
    """A usage error that says what to set."""
    lines = [line for line in config.read_text().splitlines() if not line.startswith("database")]
    config.write_text("\n".join(lines))
    for command in (("emergencies",), ("store", bundle)):
        result = run(*command, "--config", config)
        assert isinstance(result.exception, ConfigurationError)
        assert "[vault] database" in result.exception.hint
