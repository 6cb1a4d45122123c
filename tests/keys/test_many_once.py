"""The byte strings of a look-up are read once a statement, not once for each row it passes."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.dialects import postgresql

from vaultlayer.keys.many import Among
from vaultlayer.keys.tables import subject_key


def test_postgresql_reads_the_array_in_a_subquery():
    """In a sequential scan of a small table it would be parsed for every row."""
    among = Among(select(subject_key.c.tenant), subject_key.c.key_id, width=16)
    text = str(among._condition("postgresql").compile(dialect=postgresql.dialect()))
    assert "= ANY (CAST((SELECT CAST(" in text
