"""The key tables in a database of their own: erasing is then two transactions, keys first."""

from __future__ import annotations

import os
import signal

import pytest
from sqlalchemy import Engine, create_engine, event

from vaultlayer import KeyErased


@pytest.fixture
def apart(make_shop, sqlite_engine, tmp_path):
    """A shop whose settings put the keys into a file of their own."""
    shop = make_shop(sqlite_engine)
    shop.vault.close()
    settings = tmp_path / "vaultlayer.toml"
    where = f'[vault]\ndatabase = "sqlite:///{tmp_path}/k.db"\n'
    settings.write_text(settings.read_text().replace("[vault]\n", where))
    keys = create_engine(f"sqlite:///{tmp_path}/k.db")
    shop.vault = shop.open()
    shop.vault.create_tables(keys)
    keys.dispose()
    return shop


def values_of(shop, name_of):
    return shop.sql("SELECT email FROM person WHERE id = :id", id=name_of)[0][0]


def test_erased_in_both(apart):
    """The keys are in the one, the values in the other; both are done when the receipt is there."""
    ids = apart.populate("ada", "bob")
    assert apart.sql("SELECT count(*) FROM vaultlayer_subject_key") == [(0,)]
    before = apart.read(ids["bob"])
    receipt = apart.erase(ids["ada"])
    assert receipt.keys == 1
    assert receipt.values > 3
    assert values_of(apart, 1) is None
    for _ in range(2):
        with pytest.raises(KeyErased):
            apart.read(ids["ada"])
        assert apart.read(ids["bob"]) == before
        apart.restart()


def test_killed_at_any_step(apart):
    """kill -9 at a statement or commit of either database: the person is whole, or gone for good;
    the erasure done again takes out what was left, and nobody else is touched."""
    bob = apart.populate("bob")["bob"]
    before_bob, ends, code, number = apart.read(bob), set(), -1, 1
    step = 0
    while code:
        step += 1 + step // 2  # every early one, fewer late ones
        number += 1
        ada = apart.populate(f"ada{step}", bills=1)[f"ada{step}"]
        before = apart.read(ada)
        apart.engine.dispose()
        code = _killed(apart, ada, step)
        assert code in (0, -signal.SIGKILL)
        apart.restart()
        try:
            assert apart.read(ada) == before, step
            ends.add("whole")
        except KeyErased:
            ends.add("erased")
        assert apart.read(bob) == before_bob, step
        apart.erase(ada)
        assert values_of(apart, number) is None, step
        with pytest.raises(KeyErased):
            apart.read(ada)
    assert step > 10
    assert ends == {"whole", "erased"}


def _killed(shop, person, number):
    child = os.fork()
    if not child:
        code = 1
        try:
            left = iter(range(number - 1, -1, -1))

            def step(*_):
                if not next(left, 1):
                    os.kill(os.getpid(), signal.SIGKILL)

            shop.engine = create_engine(shop.engine.url)
            shop.open_again()
            for name in ("before_cursor_execute", "commit"):
                event.listen(Engine, name, step)
            shop.erase(person)
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
