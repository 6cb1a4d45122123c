"""Key records exchanged, edited or removed in the database open nothing for anybody."""

from __future__ import annotations

import pytest

from vaultlayer.errors import ConfigurationError, IntegrityError, KeyUnavailable
from vaultlayer.vault import Vault

DAMAGED_KEY = "a key record is damaged or not in its own place"


@pytest.fixture
def two(any_shop):
    """Two customers and the ids of their keys."""
    shop = any_shop
    ids = shop.add(shop.zenobia(), shop.Customer(name="Ada", email="ada@example.com"))
    return shop, ids, [shop.stored("customer", pk, "name")[3:19] for pk in ids]


def exchange(shop, table, column, where, first, second):
    """Swap one column between two rows, as an attacker without unique constraints in the way."""
    ((one,),) = shop.sql(f"SELECT {column} FROM {table} WHERE {where} = :k", k=first)
    ((two,),) = shop.sql(f"SELECT {column} FROM {table} WHERE {where} = :k", k=second)
    update = f"UPDATE {table} SET {column} = :v WHERE {where} = :k"
    spare = b"\0" * 16 if isinstance(one, bytes | memoryview) else "spare"
    for value, key in ((spare, first), (one, second), (two, first)):
        shop.sql(update, v=value, k=key)


def both_are_refused(shop, ids, refused, kind=IntegrityError):
    shop.restart()
    for pk in ids:
        for way in ("attribute", "reveal", "column"):
            with refused(kind) as caught:
                shop.read(shop.Customer, pk, "name", way)
            if kind is IntegrityError:
                assert str(caught.error).startswith(DAMAGED_KEY)


@pytest.mark.parametrize("column", ["wrapped", "subject"])
def test_keys_exchanged_between_two_people_open_nothing(two, refused, column):
    """The wrapped key of one under the other's record, or the record under the other's name."""
    shop, ids, keys = two
    exchange(shop, "vaultlayer_subject_key", column, "key_id", *keys)
    both_are_refused(shop, ids, refused)


def test_exchanged_key_ids_open_nothing(two, refused):
    """Each envelope then names the other person's record."""
    shop, ids, (one, other) = two
    update = "UPDATE vaultlayer_subject_key SET key_id = :new WHERE key_id = :old"
    for old, new in ((one, b"\1" * 16), (other, one), (b"\1" * 16, other)):
        shop.sql(update, old=old, new=new)
    both_are_refused(shop, ids, refused)


def test_records_and_values_exchanged_together_open_nothing(two, refused):
    """Whole records under each other's names, and the envelopes moved along to fit them."""
    shop, ids, keys = two
    exchange(shop, "vaultlayer_subject_key", "subject", "key_id", *keys)
    exchange(shop, "customer", "name", "id", *ids)
    both_are_refused(shop, ids, refused)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ("UPDATE vaultlayer_subject_key SET tenant = 'other'", IntegrityError),
        ("UPDATE vaultlayer_subject_key SET generation = 2", IntegrityError),
        ("UPDATE vaultlayer_subject_key SET state = 'revived'", IntegrityError),
        ("UPDATE vaultlayer_subject_key SET wrapped = NULL", IntegrityError),
        ("UPDATE vaultlayer_subject_key SET state = 'erased'", IntegrityError),
        ("UPDATE vaultlayer_subject_key SET state = 'decrypt_only'", IntegrityError),
        ("DELETE FROM vaultlayer_subject_key", KeyUnavailable),
        ("DELETE FROM vaultlayer_kek", KeyUnavailable),
        ("UPDATE vaultlayer_kek SET state = 'added'", IntegrityError),
        ("UPDATE vaultlayer_kek SET tenant = 'other'", IntegrityError),
        ("UPDATE vaultlayer_kek SET region = 'other'", IntegrityError),
        ("UPDATE vaultlayer_kek SET epoch = 2", IntegrityError),
    ],
)
def test_an_edited_record_opens_nothing(two, refused, change, kind):
    """Every column that says whose key it is, and its removal: each its own, distinct error."""
    shop, ids, _ = two
    shop.sql(change)
    both_are_refused(shop, ids, refused, kind)


@pytest.mark.parametrize("column", ["wrapped", "kek_id", "tenant"])
def test_exchanged_keks_open_nothing(any_shop, refused, column):
    """Two tenants' KEKs swapped: neither tenant's people can be read, nor new ones written."""
    shop = any_shop
    ids = {}
    for clinic in ("north", "south"):
        (ids[clinic],) = shop.add(shop.Patient(clinic=clinic, name=shop.name), tenant=clinic)
    keks = [kek for (kek,) in shop.sql("SELECT kek_id FROM vaultlayer_kek ORDER BY tenant")]
    exchange(shop, "vaultlayer_kek", column, "kek_id", *keks) if column != "kek_id" else _swap_ids(
        shop, *keks
    )
    shop.restart()
    for clinic, pk in ids.items():
        with refused(IntegrityError):
            shop.read(shop.Patient, pk, "name", tenant=clinic)
        with refused(IntegrityError):
            shop.add(shop.Patient(clinic=clinic, name=shop.name), tenant=clinic)


def _swap_ids(shop, one, other):
    update = "UPDATE vaultlayer_kek SET kek_id = :new WHERE kek_id = :old"
    for old, new in ((one, b"\1" * 16), (other, one), (b"\1" * 16, other)):
        shop.sql(update, old=old, new=new)


@pytest.mark.smoke
def test_a_wrong_passphrase_opens_no_keyring(shop, refused, monkeypatch):
    """Refused before any database is asked; the passphrase is in no text and no frame."""
    shop.add(shop.zenobia())
    shop.vault.close()
    monkeypatch.setenv("VAULTLAYER_PASSPHRASE", "Tr0ub4dor & 3 wrong")
    with refused(KeyUnavailable, "Tr0ub4dor", shop.passphrase):
        Vault.open(shop.config)
    monkeypatch.delenv("VAULTLAYER_PASSPHRASE")
    with refused(ConfigurationError):
        Vault.open(shop.config)


def test_another_keyring_opens_nothing(shop, refused):
    """A keyring with the right passphrase and another key: unavailable, not damaged."""
    (pk,) = shop.add(shop.zenobia())
    keyring = shop.folder / "keyring.json"
    keyring.unlink()
    shop.new_keyring()
    shop.restart()
    with refused(KeyUnavailable):
        shop.read(shop.Customer, pk, "name")
