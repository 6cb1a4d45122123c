"""The tables of what people said about their data, and of roles taken on for a while.

They lie beside the keys (keys/tables.py), of whose kinds their columns are.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, String, Table

from vaultlayer.keys import tables

metadata = tables.metadata  # all of the vault's own beside the data
MOST_WORDS = 255  # characters of a reason or verdict

standing = Table(
    "vaultlayer_standing",
    metadata,
    Column("subject", tables._Id, primary_key=True),
    Column("purpose", tables._Name, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),  # 1, 2, 3 … for the two
    Column("tenant", tables._Name, nullable=False),
    Column("state", String(12), nullable=False),
    Column("text_version", String(64), nullable=False),  # of what the person was shown
    Column("channel", String(64), nullable=False),
    Column("proof", String(255), nullable=False),
    Column("recorded", tables._Seconds, nullable=False),
    Column("recorded_by", String(255), nullable=False),
    Index("ix_vaultlayer_standing", "purpose", "state"),
    sqlite_with_rowid=False,  # one tree to search instead of two
)

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
