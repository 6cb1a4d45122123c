"""Erasing while others write, on each database: nobody gets a key, a term or a value back."""

from __future__ import annotations

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import IntegrityError, OperationalError

from vaultlayer import KeyErased
from vaultlayer.errors import KeyUnavailable


@pytest.mark.parametrize("database", ["postgres", "mariadb"])
def test_an_erasure_waits_for_a_writer_and_takes_what_it_wrote(request, make_shop, database):
    """A bill flushed and not yet committed: the erasure waits, and empties it too."""
    shop = make_shop(request.getfixturevalue(f"{database}_engine"))
    ids = shop.populate("ada", bills=1)
    flushed, committed = threading.Event(), threading.Event()

    def write():
        with shop.sessions() as session, shop.service():
            ada = session.scalars(select(shop.Person)).one()
            session.add(shop.Bill(person=ada, address="late street"))
            session.flush()
            flushed.set()
            time.sleep(0.4)
            committed.set()
            session.commit()

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        assert flushed.wait(10)
        receipt = shop.erase(ids["ada"])
        assert committed.is_set()
        writing.result(10)
    assert receipt.terms == 3
    assert shop.sql("SELECT count(*) FROM bill WHERE address_bidx IS NOT NULL") == [(0,)]


def test_an_erasure_between_the_key_and_the_row_waits(any_shop):
    """The person's key is found and the bill not written yet: the erasure empties that one too."""
    shop = any_shop
    ids = shop.populate("ada", bills=1)
    with ThreadPoolExecutor(1) as pool:
        erasing = []

        @event.listens_for(shop.engine, "before_cursor_execute")
        def erase(connection, cursor, statement, *_):
            if statement.startswith("INSERT INTO bill") and not erasing:
                erasing.append(pool.submit(shop.erase, ids["ada"]))
                time.sleep(0.4)

        with shop.sessions() as session, shop.service():
            session.add(shop.Bill(person_id=1, address="late street"))
            session.commit()
        receipt = erasing[0].result(10)
    assert receipt.terms == 3
    assert shop.sql("SELECT count(*) FROM bill WHERE address_bidx IS NOT NULL") == [(0,)]


@pytest.mark.parametrize("database", ["postgres", "mariadb"])
def test_a_writer_that_waits_for_an_erasure_gets_no_key(request, make_shop, database):
    """Writing begun while the erasure is under way: KeyErased once that has committed."""
    shop = make_shop(request.getfixturevalue(f"{database}_engine"))
    ids = shop.populate("ada", bills=1)

    def write():
        with shop.sessions() as session, shop.service():
            session.add(shop.Bill(person_id=1, address="late street"))
            session.flush()

    with ThreadPoolExecutor(1) as pool, shop.sessions() as session, shop.officer():
        shop.vault.subjects.erase(ids["ada"], reason="x", session=session)
        writing = pool.submit(write)
        time.sleep(0.3)
        assert not writing.done()
        session.commit()
        with pytest.raises(KeyErased):
            writing.result(10)


def test_many_at_once_over_one_person_each(any_shop):
    """Writers, creators and two erasers of the same people: afterwards everybody is erased."""
    shop = any_shop
    people = [uuid.uuid4() for _ in range(6)]
    gate = threading.Barrier(4)

    def make(subject):
        with shop.sessions() as session, shop.service():
            name = subject.hex
            session.add(
                shop.Person(subject_id=subject, name=name, email=f"{name}@example.com")
            )
            session.commit()

    def try_all(deed):
        gate.wait(10)
        for subject in people:
            for _ in range(20):
                try:
                    deed(subject)
                    break
                except OperationalError:  # a deadlock, or SQLite's one lock
                    time.sleep(0.02)
                except (KeyErased, KeyUnavailable):
                    break
                except IntegrityError:  # the other maker's row is there
                    break

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(try_all, [make, make, shop.erase, shop.erase]))
    for subject in people:
        shop.erase(subject)
    states = shop.sql("SELECT DISTINCT state FROM vaultlayer_subject_key")
    assert states == [("erased",)]
    assert shop.sql("SELECT count(*) FROM person WHERE email_bidx IS NOT NULL") == [(0,)]
    shop.restart()
    for subject in people:
        with pytest.raises(KeyErased):
            make(subject)
    assert shop.sql("SELECT count(*) FROM vaultlayer_subject_key WHERE state = 'active'") == [(0,)]
