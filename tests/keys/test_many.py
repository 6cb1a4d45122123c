"""Many byte strings in one parameter: what comes back is what a set would say."""

from __future__ import annotations

import os

import pytest
import sqlalchemy as sa

from vaultlayer.keys.many import BATCH, Among
from vaultlayer.keys.tables import metadata, subject_key

SOME = [bytes([n]) * 16 for n in (0, 0x22, 0x27, 0x5C, 0x7B, 0x7D, 0xFF)]  # quotes, \, braces


@pytest.fixture
def engine(any_world):
    metadata.create_all(any_world.engine)
    with any_world.engine.begin() as connection:
        connection.execute(sa.insert(subject_key), [record(key_id) for key_id in SOME])
        connection.execute(sa.insert(subject_key), [record(b"n" * 16, subject=b"")])
    return any_world.engine


def record(key_id, subject=None):
    same = {"tenant": "", "generation": 1, "state": "active", "kek_id": b"", "wrapped": b""}
    whose = key_id if subject is None else subject
    return {"key_id": key_id, "subject": whose, **same, "created": 0, "changed": 0}


@pytest.mark.parametrize(("name", "width"), [("key_id", 16), ("subject", 0)])
def test_the_rows_of_those_that_are_asked_for(engine, name, width):
    """Each once, whatever bytes they are; others beside them, absent ones and repeated ones."""
    column = subject_key.c[name]
    among = Among(sa.select(column), column, width)
    with engine.connect() as connection:
        for wanted in ([], SOME, SOME[:1], SOME[2:5] * 2, [os.urandom(16), *SOME[5:]]):
            found = [bytes(row[0]) for row in among.rows(connection, wanted)]
            assert sorted(found) == sorted(set(wanted) & set(SOME))


def test_an_empty_one_among_others(engine):
    """The tenant's own subject is b"", and may be asked for beside people."""
    among = Among(sa.select(subject_key.c.subject), subject_key.c.subject)
    with engine.connect() as connection:
        found = [bytes(row[0]) for row in among.rows(connection, [b"", SOME[3]])]
    assert sorted(found) == [b"", SOME[3]]


def test_more_than_one_statement_takes(engine):
    """The last of 2,500 is found too, and another parameter counts for each statement."""
    column = subject_key.c.key_id
    among = Among(sa.select(column).where(subject_key.c.tenant == sa.bindparam("t")), column, 16)
    wanted = [*(os.urandom(16) for _ in range(2 * BATCH)), *SOME]
    with engine.connect() as connection:
        assert len(among.rows(connection, wanted, t="")) == len(SOME)
        assert among.rows(connection, wanted, t="another") == []
