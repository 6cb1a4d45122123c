"""Old backups: each is told, and after the horizon no combination opens the erased person."""

from __future__ import annotations

import itertools

import pytest
from sqlalchemy import MetaData, event

from vaultlayer import KeyErased
from vaultlayer.errors import KeyUnavailable, VaultLayerError

DATA = ("person", "bill", "line", "clerk", "notice")
KEYS = ("vaultlayer_subject_key", "vaultlayer_index_root", "vaultlayer_tombstone")
KEKS = ("vaultlayer_kek",)


def backup(shop, names):
    """The rows of some tables."""
    tables = MetaData()
    tables.reflect(shop.engine, only=names)
    with shop.engine.connect() as connection:
        return {
            name: [dict(row._mapping) for row in connection.execute(tables.tables[name].select())]
            for name in names
        }


def restore(shop, kept):
    """Put back what ``backup`` kept, over what is there."""
    tables = MetaData()
    tables.reflect(shop.engine, only=list(kept))
    with shop.engine.begin() as connection:
        for table in reversed(tables.sorted_tables):
            connection.execute(table.delete())
        for table in tables.sorted_tables:
            if kept[table.name]:
                connection.execute(table.insert(), kept[table.name])


def state(shop):
    """A backup of each store."""
    keyring = (shop.folder / "keyring.json").read_bytes()
    return [backup(shop, DATA), backup(shop, KEYS), backup(shop, KEKS), keyring]


def test_no_combination_of_old_backups_opens_the_erased(any_shop):
    """Data, keys, KEKs from before, each old or new, with the provider's key destroyed.

    Everybody else opens wherever their tables fit together, and always with old data.
    """
    shop = any_shop
    object.__setattr__(shop.vault.settings, "backup_days", 0)
    ids = shop.populate("ada", "bob")
    before = shop.read(ids["bob"])
    old = state(shop)
    shop.erase(ids["ada"])
    with shop.officer():
        assert shop.vault.keys.rotate("kek", wait=0).ok
        assert shop.vault.keys.rotate("index", wait=0).ok
        shop.vault.keys.end_epoch(1)
    new = state(shop)
    opened = {}
    for choice in itertools.product((False, True), repeat=3):
        for is_old, *both in zip(choice, old[:3], new[:3], strict=True):
            restore(shop, both[0] if is_old else both[1])
        shop.restart()
        shop.vault.databases.trust(shop.engine.connect())  # an administrator's way round the check
        for name in ids:
            try:
                opened[name, choice] = shop.read(ids[name]) == before
            except VaultLayerError:
                opened[name, choice] = None
    assert {ok for (name, _), ok in opened.items() if name == "ada"} == {None}
    readable = [choice for (name, choice), ok in opened.items() if name == "bob" and ok]
    assert {(False, False, False), (True, False, False)} <= set(readable)
    assert False not in opened.values()


def test_with_the_providers_old_key_it_would(shop):
    """Why the horizon counts the provider's backups too: an old keyring file brings all back."""
    ids = shop.populate("ada")
    before = shop.read(ids["ada"])
    old = state(shop)
    shop.erase(ids["ada"])
    for kept in old[:3]:
        restore(shop, kept)
    shop.restart()
    shop.vault.databases.trust(shop.engine.connect())
    assert shop.read(ids["ada"]) == before


def test_an_old_key_table_is_told(any_shop):
    """Refused for everybody until the erasure is done again; then they open and she doesn't."""
    shop = any_shop
    ids = shop.populate("ada", "bob")
    before = shop.read(ids["bob"])
    old = state(shop)
    shop.erase(ids["ada"])
    for kept in old[:2]:
        restore(shop, kept)
    shop.restart()
    with pytest.raises(KeyUnavailable, match="older than 1 erasure"):
        shop.read(ids["bob"])
    with pytest.raises(KeyUnavailable, match="--replay"):
        shop.populate("zoe")
    with shop.officer():
        (receipt,) = shop.vault.subjects.replay(reason="a backup was put back")
    assert receipt.subject_id == ids["ada"]
    assert receipt.keys == 1
    for _ in range(2):
        assert shop.read(ids["bob"]) == before
        with pytest.raises(KeyErased):
            shop.read(ids["ada"])
        shop.restart()


def test_an_old_log_is_told(shop):
    """The audit directory's log from before the erasure, put back: refused, until told anew."""
    ids = shop.populate("ada", "bob")
    shop.erase(ids["ada"])
    newest = shop.vault.log.written().path
    shop.vault.close()
    for path in (shop.folder / "audit" / "log").glob("*.jsonl"):
        if path == newest:
            path.unlink()
    shop.vault = shop.open()
    with pytest.raises(KeyUnavailable, match="audit log is older"):
        shop.read(ids["bob"])
    with shop.officer():
        assert shop.vault.subjects.replay(reason="the log was put back") == []
    shop.restart()
    assert shop.read(ids["bob"])[0] == "bob"


def test_what_another_machine_erased_is_remembered_here(shop):
    """A vault that starts learns the tombstones in the key tables, and tells when they go."""
    ids = shop.populate("ada", "bob")
    old = state(shop)
    shop.vault.close()
    (shop.folder / "audit").rename(shop.folder / "audit-here")
    shop.vault = shop.open()  # another machine, with an audit directory of its own
    shop.erase(ids["ada"])
    shop.vault.close()
    (shop.folder / "audit").rename(shop.folder / "audit-there")
    (shop.folder / "audit-here").rename(shop.folder / "audit")
    shop.vault = shop.open()
    shop.read(ids["bob"])
    for kept in old[:2]:
        restore(shop, kept)
    shop.restart()
    with pytest.raises(KeyUnavailable, match="older than 1 erasure"):
        shop.read(ids["bob"])


def test_a_killed_erasure_is_no_alarm(shop, monkeypatch):
    """Begun and never committed: the next start notes that it was undone, and goes on."""
    ids = shop.populate("ada")
    before = shop.read(ids["ada"])

    def killed(*_):
        raise KeyboardInterrupt

    tombstones = shop.vault.tombstones
    real = tombstones.note

    def only_begun(step, erasures):
        if step == "begun":
            real(step, erasures)

    monkeypatch.setattr(tombstones, "note", only_begun)
    event.listen(shop.engine, "commit", killed)
    with pytest.raises(KeyboardInterrupt):
        shop.erase(ids["ada"])
    event.remove(shop.engine, "commit", killed)
    shop.engine.dispose()
    shop.restart()
    assert shop.read(ids["ada"]) == before
    assert '"undone"' in (shop.folder / "audit" / "erasures.jsonl").read_text()
