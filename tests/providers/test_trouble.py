"""Providers that are down, slow, throttling or flapping: an error of ours, soon; no wrong key."""

from __future__ import annotations

import importlib
import os
import shutil
import time
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from vaultlayer.errors import ConfigurationError, KeyUnavailable
from vaultlayer.keys import tables
from vaultlayer.keys.keks import RECORD
from vaultlayer.keys.keyring import Keys
from vaultlayer.keys.provider import Providers, open_provider

AAD = b"a place"
REMOTE = ("vault", "aws", "gcp", "azure")


@pytest.fixture(params=REMOTE)
def remote(request, monkeypatch):
    """A provider behind a network, which is asked for half a second at most."""
    module = importlib.import_module(f"vaultlayer_adapters.{request.param}")
    monkeypatch.setattr(module, "CALL_SECONDS", 0.5)
    if request.param == "gcp":
        monkeypatch.setitem(module._SENT, "timeout", 0.5)
    service = request.getfixturevalue(f"{request.param}_service")
    yield service
    service.door.mode = "open"


@pytest.mark.parametrize("mode", ["shut", "slow", "throttling"])
def test_trouble_is_said_soon_and_passes(remote, mode):
    """KeyUnavailable within seconds, without the provider's words; then it works again."""
    provider, kek = remote.open(), os.urandom(32)
    blob = provider.wrap(kek, AAD)
    remote.door.mode = mode
    started = time.monotonic()
    for action in (lambda: provider.unwrap(blob, AAD), lambda: provider.wrap(kek, AAD)):
        with pytest.raises(KeyUnavailable) as caught:
            action()
        assert "slow down" not in str(caught.value)
        assert caught.value.hint
    assert time.monotonic() - started < 12
    remote.door.mode = "open"
    assert provider.unwrap(blob, AAD) == kek


def test_a_flapping_provider_never_gives_another_key(remote):
    """Each request may fail: what comes back is the key, or KeyUnavailable."""
    provider, kek = remote.open(), os.urandom(32)
    blob = provider.wrap(kek, AAD)
    remote.door.mode = "flapping"
    got = 0
    for _ in range(6):
        try:
            assert provider.unwrap(blob, AAD) == kek
            got += 1
        except KeyUnavailable:
            pass
    remote.door.mode = "open"
    assert provider.unwrap(blob, AAD) == kek
    assert got


def test_keys_in_memory_serve_while_the_provider_is_away(remote, tmp_path):
    """A process that has the KEK reads on; one that starts meanwhile gets the outage's error."""
    engine = create_engine(f"sqlite:///{tmp_path}/keys.db")
    tables.metadata.create_all(engine)
    keys, subjects = Keys(remote.open()), [os.urandom(16) for _ in range(20)]
    with engine.begin() as connection:
        ids = [key.key_id for key in keys.active(connection, "", subjects).values()]
    remote.door.mode = "shut"
    with engine.begin() as connection:
        assert len(keys.fetch(connection, ids)) == 20
        assert len(keys.active(connection, "", [os.urandom(16)])) == 1
        with pytest.raises(KeyUnavailable):
            Keys(remote.open()).fetch(connection, ids)
    remote.door.mode = "open"
    before = remote.door.requests
    with engine.connect() as connection:
        assert len(Keys(remote.open()).fetch(connection, ids)) == 20
    assert remote.door.requests - before <= 3  # one call; Azure's client asks what it talks to
    engine.dispose()


def test_moving_from_the_local_keyring_to_a_provider(service, local_service, tmp_path):
    """Old KEKs open by the keyring, new ones are the provider's, in one vault at once."""
    engine = create_engine(f"sqlite:///{tmp_path}/keys.db")
    tables.metadata.create_all(engine)
    local, new = local_service.open(), service.open()
    with engine.begin() as connection:
        (old,) = Keys(local).active(connection, "a", [os.urandom(16)]).values()
        both = Keys(Providers(new, former=[local]))
        (made,) = both.active(connection, "b", [os.urandom(16)]).values()
        assert set(both.fetch(connection, [old.key_id, made.key_id])) == {old.key_id, made.key_id}
        rows = connection.execute(RECORD).all()
        assert {row.provider for row in rows} == {local.name, new.name}
        for row in rows:  # as `keys rotate provider` does
            moved = {"wrapped": both.keks.rewrapped(row, row.state), "provider": new.name}
            this = tables.kek.c.kek_id == row.kek_id
            connection.execute(tables.kek.update().where(this).values(moved))
        alone = Keys(service.open())  # without the keyring
        assert set(alone.fetch(connection, [old.key_id, made.key_id])) == {old.key_id, made.key_id}
    engine.dispose()


def test_a_token_that_was_renewed_is_read_again(vault_service, bao, tmp_path, monkeypatch):
    """An agent writes a new token into its file; the next refused call picks it up."""
    hvac = importlib.import_module("hvac")
    root = hvac.Client(url=f"http://127.0.0.1:{bao.port}", token="root")
    file = tmp_path / "token"
    monkeypatch.delenv("BAO_TOKEN")
    monkeypatch.setenv("BAO_TOKEN_FILE", str(file))
    file.write_text(root.auth.token.create()["auth"]["client_token"] + "\n")
    provider = vault_service.open()
    blob = provider.wrap(b"k" * 32, AAD)
    root.auth.token.revoke(file.read_text().strip())
    with pytest.raises(KeyUnavailable, match="credentials"):
        provider.unwrap(blob, AAD)
    file.write_text(root.auth.token.create()["auth"]["client_token"])
    assert provider.unwrap(blob, AAD) == b"k" * 32
    root.adapter.close()


def test_least_privilege_at_openbao_is_enough(vault_service, bao, monkeypatch):
    """The policy of docs/keys.md: encrypt and decrypt with one key, and nothing else."""
    hvac = importlib.import_module("hvac")
    root = hvac.Client(url=f"http://127.0.0.1:{bao.port}", token="root")
    key = vault_service.uri.rpartition("/")[2]
    rules = "".join(
        f'path "transit/{verb}/{key}" {{ capabilities = ["update"] }}\n'
        for verb in ("encrypt", "decrypt")
    )
    root.sys.create_or_update_policy("application", rules)
    token = root.auth.token.create(policies=["application"], no_default_policy=True)
    monkeypatch.setenv("BAO_TOKEN", token["auth"]["client_token"])
    provider = vault_service.open()
    assert provider.unwrap(provider.wrap(b"k" * 32, AAD), AAD) == b"k" * 32
    for administrative in (provider.rotate, provider.versions):
        with pytest.raises(KeyUnavailable):
            administrative()
    root.adapter.close()


def test_a_token_that_was_taken_out(pkcs11_service, softhsm, tmp_path):
    """A hardware token that isn't there is an outage; put back, it works again."""
    provider, kek = pkcs11_service.open(), os.urandom(32)
    blob = provider.wrap(kek, AAD)
    tokens = Path(os.environ["SOFTHSM2_CONF"]).with_name("tokens")
    away = tmp_path / "away"
    shutil.move(tokens, away)
    try:
        child = os.fork()  # a process that starts meanwhile finds no token
        if child == 0:
            code = 1
            try:
                provider.unwrap(blob, AAD)
            except KeyUnavailable:
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
    finally:
        shutil.move(away, tokens)
    assert provider.unwrap(blob, AAD) == kek


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("bao://host:8200/transit", "isn't named right"),
        ("bao://user:hunter2@host:8200/transit/key", "isn't named right"),
        ("vault:transit/key", "isn't named right"),
        ("bao+http://bao.example:8200/transit/key", "in the clear"),
        ("aws-kms://eu-central-1", "isn't named right"),
        ("aws-kms:///vaultlayer", "isn't named right"),
        ("pkcs11:token=a;object=b", "isn't named right"),
        ("pkcs11:token=a?module-path=/x.so", "isn't named right"),
        ("gcp-kms:projects/p/keyRings/r/cryptoKeys/k", "isn't named right"),
        ("azure-hsm://x.managedhsm.azure.net", "isn't named right"),
        ("azure-hsm://x.vault.azure.net/key", "plain Azure Key Vault"),
    ],
)
def test_a_uri_that_cannot_work_is_refused(uri, says):
    """When it is opened, with an example, and without what may be a password in it."""
    with pytest.raises(ConfigurationError, match=says) as caught:
        open_provider(uri, passphrase=pytest.fail, base=Path("/"))
    assert "hunter2" not in str(caught.value)
    assert caught.value.hint


def test_a_missing_library_names_the_extra(monkeypatch):
    """Without the client library the error says which extra brings it."""
    monkeypatch.setitem(__import__("sys").modules, "hvac", None)
    monkeypatch.delitem(__import__("sys").modules, "vaultlayer_adapters.vault", raising=False)
    with pytest.raises(ConfigurationError, match="hvac") as caught:
        open_provider("bao://host/transit/key", passphrase=pytest.fail, base=Path("/"))
    assert "[vault]" in caught.value.hint


def test_no_token_and_no_pin_is_said(vault_service, softhsm, monkeypatch):
    """What to set is named."""
    monkeypatch.delenv("BAO_TOKEN", raising=False)
    monkeypatch.delenv("VAULT_TOKEN", raising=False)
    with pytest.raises(ConfigurationError, match="token") as caught:
        vault_service.open().wrap(b"k" * 32, AAD)
    assert "BAO_TOKEN_FILE" in caught.value.hint
