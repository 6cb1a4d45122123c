"""``table:URL`` — a table ``vaultlayer_audit`` in any database SQLAlchemy reaches.

``URL`` is SQLAlchemy's own. Where the table is missing it is created, so give the sink's user
INSERT, SELECT and CREATE, or create it before; nothing here updates or deletes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    insert,
    select,
)
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from vaultlayer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultlayer.audit.sinks.sink import Record

metadata = MetaData()
audit = Table(
    "vaultlayer_audit",
    metadata,
    Column("shard", String(64), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("ts", String(27), nullable=False, index=True),
    Column("event", String(64), nullable=False),
    Column("actor", String(256)),
    Column("purpose", String(256)),
    Column("decision", String(8)),
    Column("body", Text, nullable=False),  # the record in the sink's format
)


class TableSink:
    """A row a record; one that is there already is left as it is."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._created = False

    @classmethod
    def open(cls, url: str) -> Self:
        try:
            engine = create_engine(
                url.partition(":")[2], hide_parameters=True, pool_size=1, pool_pre_ping=True
            )
        except (ArgumentError, NoSuchModuleError, ImportError, TypeError) as error:
            raise ConfigurationError(
                f"the audit sink's database can't be used ({type(error).__name__})",
                hint='its url is "table:" and a SQLAlchemy URL whose driver is installed',
            ) from None
        return cls(engine)

    def send(self, records: Sequence[Record]) -> None:
        with self._engine.begin() as connection:
            if not self._created:
                metadata.create_all(connection)
            new = {(r.event["shard"], r.event["seq"]): _row(r) for r in records}
            shards = {shard for shard, _ in new}
            first, last = min(seq for _, seq in new), max(seq for _, seq in new)
            known = select(audit.c.shard, audit.c.seq).where(
                audit.c.shard.in_(shards), audit.c.seq.between(first, last)
            )
            for shard, seq in connection.execute(known):
                new.pop((shard, seq), None)
            if new:
                connection.execute(insert(audit), list(new.values()))
        self._created = True

    def close(self) -> None:
        self._engine.dispose()


def _row(record: Record) -> dict[str, Any]:
    event = record.event
    return {
        "shard": event["shard"],
        "seq": event["seq"],
        "ts": event["ts"],
        "event": event["event"],
        "actor": (event.get("actor") or {}).get("sub"),
        "purpose": event.get("purpose"),
        "decision": event.get("decision"),
        "body": record.body.decode(),
    }
