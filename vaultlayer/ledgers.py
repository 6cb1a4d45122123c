"""The tables of what people said about their data, and of roles taken on for a while.

They lie beside the keys (keys/tables.py), of whose kinds their columns are. Those in ``LEDGERS``
only grow: each row has its number, and ``trail`` names the audit directory whose log tells of it
with the row's digest (privacy/ledger.py).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Index, Integer, String, Table

from vaultlayer.keys import tables

metadata = tables.metadata  # all of the vault's own beside the data
MOST_WORDS = 255  # characters of a reason or verdict
MOST_FIELDS = 4096  # characters of the names of fields
MOST_TOLD = 1000  # characters of what a person is told

def _recorded() -> list[Column[Any]]:
    """When, by whom, and where the log has it."""
    return [
        Column("recorded", tables._Seconds, nullable=False),
        Column("recorded_by", String(255), nullable=False),
        Column("trail", String(32), nullable=False),
    ]


standing = Table(
    "vaultlayer_standing",
    metadata,
    Column("subject", tables._Id, primary_key=True),
    Column("purpose", tables._Name, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),  # 1, 2, 3 … for the two
    Column("tenant", tables._Name, nullable=False),
    Column("said", String(12), nullable=False),
    Column("state", String(12), nullable=False),  # since then
    Column("text_version", String(64), nullable=False),  # of what the person was shown
    Column("channel", String(64), nullable=False),
    Column("proof", String(255), nullable=False),
    *_recorded(),
    Index("ix_vaultlayer_standing", "purpose", "state"),
    sqlite_with_rowid=False,  # one tree to search instead of two
)

# How far each field has come from its plaintext column (lifecycle/migrating).
migration = Table(
    "vaultlayer_migration",
    metadata,
    Column("field", tables._Name, primary_key=True),  # table.attribute
    Column("plaintext", String(255), nullable=False),  # the column's name
    Column("stage", String(12), nullable=False),
    Column("changed", tables._Seconds, nullable=False),
)

# What people asked for (GDPR articles 15 to 22), and what became of it: a row for each step.
request = Table(
    "vaultlayer_request",
    metadata,
    Column("request_id", tables._Id, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("tenant", tables._Name, nullable=False),
    Column("subject", tables._Id, nullable=False),  # as it was given: it may be nobody's
    Column("kind", String(16), nullable=False),
    Column("step", String(12), nullable=False),
    Column("state", String(12), nullable=False),  # since then
    Column("received", tables._Seconds, nullable=False),
    Column("due", tables._Seconds, nullable=False),
    Column("items", String(1024), nullable=False),  # refused ones, separated by spaces
    Column("code", String(32), nullable=False),
    Column("words", String(MOST_TOLD), nullable=False),  # what the person is told
    Column("channel", String(64), nullable=False),
    Column("proof", String(255), nullable=False),
    Column("version", Integer, nullable=False),  # of the rules in force then
    Column("policy", String(64), nullable=False),  # their digest
    *_recorded(),
    Index("ix_vaultlayer_request", "subject"),
)

# Which version of the notice each person has acknowledged, and how.
notice_seen = Table(
    "vaultlayer_notice_seen",
    metadata,
    Column("subject", tables._Id, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("tenant", tables._Name, nullable=False),
    Column("version", Integer, nullable=False),
    Column("channel", String(64), nullable=False),
    *_recorded(),
    Index("ix_vaultlayer_notice_seen", "version"),
    sqlite_with_rowid=False,
)

# What was given to somebody, on which ground; a further row changes what its people are told.
disclosure = Table(
    "vaultlayer_disclosure",
    metadata,
    Column("disclosure_id", tables._Id, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("tenant", tables._Name, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("recipient", String(255), nullable=False),
    Column("purpose", String(128), nullable=False),
    Column("basis", String(32), nullable=False),
    Column("reference", String(255), nullable=False),  # of the agreement or the order
    Column("reason", String(MOST_WORDS), nullable=False),
    Column("fields", String(MOST_FIELDS), nullable=False),  # separated by spaces
    Column("form", String(8), nullable=False),  # of the package
    Column("content", String(64), nullable=False),  # SHA-256 of what was sealed in it
    Column("people", Integer, nullable=False),
    Column("persons", String(64), nullable=False),  # SHA-256 of their ids, in rising order
    Column("withheld", String(MOST_WORDS), nullable=False),  # why they are not told; "": they are
    Column("review", tables._Seconds, nullable=False),  # when that is looked at again; 0: never
    *_recorded(),
)

disclosed = Table(
    "vaultlayer_disclosed",
    metadata,
    Column("disclosure_id", tables._Id, primary_key=True),
    Column("subject", tables._Id, primary_key=True),
    Index("ix_vaultlayer_disclosed", "subject"),
    sqlite_with_rowid=False,
)

# Append-only tables, and the events of the log that tell of their rows.
LEDGERS = {
    standing: ("consent", "restriction"),
    request: ("request",),
    notice_seen: ("notice",),
    disclosure: ("disclosure",),
}

honeytoken = Table(
    "vaultlayer_honeytoken",
    metadata,
    Column("subject", tables._Id, primary_key=True),
    Column("created", tables._Seconds, nullable=False),
)

elevation = Table(
    "vaultlayer_elevation",
    metadata,
    Column("elevation_id", tables._Id, primary_key=True),
    Column("kind", String(12), nullable=False),
    Column("tenant", tables._Name, nullable=False),
    Column("iss", String(255), nullable=False),
    Column("sub", String(255), nullable=False),
    Column("roles", String(1024), nullable=False),  # separated by spaces
    Column("purpose", String(128), nullable=False),
    Column("why", String(MOST_WORDS), nullable=False),
    Column("given_by", String(255), nullable=False),  # "": the principal itself
    Column("begins", tables._Seconds, nullable=False),
    Column("ends", tables._Seconds, nullable=False),
    Column("uses_left", Integer),  # NULL: as many as one likes
    Column("closed", tables._Seconds),  # reviewed, or revoked
    Column("closed_by", String(255)),
    Column("verdict", String(MOST_WORDS)),
)
