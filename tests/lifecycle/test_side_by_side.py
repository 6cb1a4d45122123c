"""Others at work while keys are exchanged: a process that hasn't heard of it, a second rotation."""

from __future__ import annotations

import os
import threading
import time
from itertools import product

import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.orm import sessionmaker

from vaultlayer import Principal, Vault
from vaultlayer.errors import KeyUnavailable
from vaultlayer.lifecycle.job import Job

WHAT = ("provider", "kek", "subject", "index")
EVERYWHERE = [*product(("sqlite", "postgres"), WHAT), ("mariadb", "subject")]


class Elsewhere:
    """Another process's vault, as it is before it hears of any exchange: its caches are warm."""

    def __init__(self, shop, **engine):
        self.shop = shop
        self.engine = create_engine(shop.engine.url, **engine)
        self.vault = Vault.open(shop.folder / "vaultlayer.toml")
        self.vault.models = (shop.Base,)
        self.sessions = sessionmaker(self.engine)
        self.vault.attach(self.sessions)

    def access(self):
        return self.vault.access(Principal("app", roles=["service"]), purpose="provide_service")

    def add(self, name):
        with self.sessions() as session, self.access():
            session.add(self.shop.Person(name=name, email=f"{name}@example.com"))
            session.commit()

    def names(self, wanted):
        """Those of these people whom it finds by their e-mail, opened."""
        person, found = self.shop.Person, []
        with self.sessions() as session, self.access():
            for name in wanted:
                query = select(person).where(person.email == f"{name}@example.com")
                found += [each.name for each in session.scalars(query)]
        return found

    def close(self):
        self.vault.close()
        self.engine.dispose()


@pytest.mark.parametrize(("any_shop", "what"), EVERYWHERE, indirect=["any_shop"])
def test_a_process_that_has_not_heard_yet(any_shop, monkeypatch, what):
    """At each pause of an exchange, before and after the wait for caches, somebody with the older
    view of the keys writes and searches; so does one with the newest. Each finds all."""
    shop, people = any_shop, ["ada", "bob"]
    shop.populate(*people)
    older = Elsewhere(shop)
    assert older.names(people) == people

    def work(told):
        newer = Elsewhere(shop)
        for process, name in ((older, f"o{len(people)}"), (newer, f"n{len(people)}")):
            process.add(name)
            people.append(name)
        for process in (older, newer):
            assert process.names(people) == people, (what, told)
        newer.close()

    settle = Job.settle

    def settle_at_work(job):
        work("before the wait")
        settle(job)
        work("after the wait")

    monkeypatch.setattr(Job, "settle", settle_at_work)
    with shop.officer():
        report = shop.vault.keys.rotate(what)
    assert report.ok, report
    work("afterwards")
    older.close()


@pytest.mark.parametrize("database", ["postgres", "mariadb"])
def test_what_a_long_transaction_sees_is_in_no_cache_when_it_counts(
    request, make_shop, monkeypatch, database
):
    """It began before the new root was there, and looks at the roots when caches have run out."""
    shop = make_shop(request.getfixturevalue(f"{database}_engine"))
    shop.populate("ada")
    older = Elsewhere(shop, isolation_level="REPEATABLE READ")
    long, settled, settle = older.sessions(), [], Job.settle
    long.scalar(select(shop.Person.id))

    def look_and_end():
        time.sleep(shop.vault.settings.key_ttl + 0.1)
        with long, older.access():
            long.scalars(select(shop.Person).where(shop.Person.email == "ada@example.com")).one()

    def settle_at_work(job):
        settled.append(job)
        looking = threading.Thread(target=look_and_end)
        if len(settled) == 1:
            looking.start()
        else:
            shop.add(shop.Person(name="eve", email="eve@example.com"))  # under the new root
            assert older.names(["ada", "eve"]) == ["ada", "eve"]
        settle(job)
        if len(settled) == 1:
            looking.join()

    monkeypatch.setattr(Job, "settle", settle_at_work)
    with shop.officer():
        assert shop.vault.keys.rotate("index").ok
    older.close()


@pytest.mark.parametrize("what", WHAT)
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_two_processes_rotate_at_once(request, make_shop, database, what):
    """Real processes: one does it, the other waits its turn or is told so; nothing is doubled."""
    shop = make_shop(request.getfixturevalue(f"{database}_engine"))
    ids = shop.populate("ada", "bob", "eve")
    before = {name: shop.read(ids[name]) for name in ids}
    shop.engine.dispose()
    ready, go = os.pipe()
    children = [_rotating(shop, what, ready, go) for _ in range(2)]
    os.close(ready)
    os.close(go)  # now: both wait for its end
    codes = sorted(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)
    assert codes in ([0, 0], [0, 3])
    shop.restart()
    assert {name: shop.read(ids[name]) for name in ids} == before
    alive = "SELECT tenant, subject FROM vaultlayer_subject_key WHERE state = 'active'"
    assert len(shop.sql(alive)) == len(set(shop.sql(alive))) == len(ids)
    assert len(shop.sql("SELECT 1 FROM vaultlayer_kek WHERE state = 'active'")) == 1
    with shop.officer():
        assert shop.vault.keys.rotate(what, wait=0).ok


def _rotating(shop, what, ready, go):
    """A forked process that rotates once ``go`` is closed; it ends with 0, or 3: not its turn."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.close(go)
        shop.engine = create_engine(shop.engine.url)
        shop.open_again()
        os.read(ready, 1)
        with shop.officer():
            code = 0 if shop.vault.keys.rotate(what, wait=0).ok else 1
    except KeyUnavailable as error:
        code = 3 if "another process" in str(error) else 1
    finally:
        os._exit(code)
