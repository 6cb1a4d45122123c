"""What only one provider can do wrong, or does in its own way."""

from __future__ import annotations

import os
import secrets
from datetime import UTC, datetime, timedelta

import pytest

from vaultlayer.errors import ConfigurationError, KeyUnavailable

AAD = b"a place"


def named(service, what):
    """The same service's key whose name says how it is to be treated."""
    provider = service.open(f"{service.uri.rpartition('/')[0]}/{what}-{secrets.token_hex(3)}")
    provider.rotate()
    return provider


@pytest.mark.parametrize("what", ["garbled-going", "unchecked"])
def test_what_google_answers_is_checked(gcp_service, what):
    """A ciphertext that isn't its checksum's, or a plaintext nobody checked: nothing is kept."""
    with pytest.raises(KeyUnavailable, match="changed on its way"):
        named(gcp_service, what).wrap(os.urandom(32), AAD)


def test_a_key_that_google_answers_is_checked(gcp_service):
    """A KEK that lost a bit on its way back is an outage, not a damaged record."""
    provider = named(gcp_service, "garbled-coming")
    blob = provider.wrap(os.urandom(32), AAD)
    with pytest.raises(KeyUnavailable, match="changed on its way"):
        provider.unwrap(blob, AAD)


def test_azures_purge_protection(azure_service):
    """Deleted and no more of use at once, but gone for good only when the HSM says."""
    provider = named(azure_service, "purge-protected")
    kek = os.urandom(32)
    blob = provider.wrap(kek, AAD)
    provider.rotate()
    gone = provider.destroy(provider.version_of(blob))
    assert timedelta(days=89) < gone - datetime.now(UTC) <= timedelta(days=90)
    with pytest.raises(KeyUnavailable):
        provider.unwrap(blob, AAD)


def test_azures_purge_where_nothing_protects(azure_service):
    provider = azure_service.open()
    first = provider.versions()[0]
    provider.rotate()
    assert provider.destroy(first) <= datetime.now(UTC)


class Key:
    """An AES key of a module that has its own mind about nonces."""

    def __init__(self, manner):
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self.manner, self.cipher = manner, AESGCM(os.urandom(32))

    def encrypt(self, plaintext, *, mechanism, mechanism_param):
        from pkcs11.exceptions import ArgumentsBad, MechanismParamInvalid

        nonce, aad = bytes(mechanism_param.nonce), bytes(mechanism_param.aad)
        match self.manner:
            case "refuses":
                raise MechanismParamInvalid
            case "finds them bad":
                raise ArgumentsBad
            case "draws":
                nonce = os.urandom(12)
            case "appends":
                own = os.urandom(12)
                return self.cipher.encrypt(own, plaintext, aad) + own
        return self.cipher.encrypt(nonce, plaintext, aad)

    def decrypt(self, ciphertext, *, mechanism, mechanism_param):
        from cryptography.exceptions import InvalidTag
        from pkcs11.exceptions import EncryptedDataInvalid

        try:
            nonce, aad = bytes(mechanism_param.nonce), bytes(mechanism_param.aad)
            return self.cipher.decrypt(nonce, ciphertext, aad)
        except InvalidTag:
            raise EncryptedDataInvalid from None


@pytest.fixture
def token(monkeypatch):
    """A token whose module treats nonces in a manner."""
    module = pytest.importorskip("vaultlayer_adapters.pkcs11", reason="python-pkcs11 is not there")
    made = module.Token("pkcs11:a fake", "module", "token", "label")

    def of(manner):
        key = Key(manner)
        monkeypatch.setattr(made, "_ask", lambda action, write=False: action(None))
        monkeypatch.setattr(made, "_keys", lambda session: {"1-abcdef": key})
        return made

    return of


@pytest.mark.parametrize("manner", ["refuses", "finds them bad", "draws", "appends"])
def test_a_module_with_its_own_nonces_is_refused(token, manner):
    """Before anything is wrapped with it; what to do about it is said, and nothing secret shown."""
    kek = os.urandom(32)
    with pytest.raises(ConfigurationError, match="nonce") as caught:
        token(manner).wrap(kek, AAD)
    assert "FIPS" in caught.value.hint
    assert kek.hex() not in repr(caught.value)


def test_a_module_that_takes_a_nonce(token):
    """The fake is no liar: the same key in the usual manner wraps and unwraps."""
    usual, kek = token("takes"), os.urandom(32)
    assert usual.unwrap(usual.wrap(kek, AAD), AAD) == kek
