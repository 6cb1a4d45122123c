"""PostgreSQL LISTEN/NOTIFY: processes tell each other what changed.

``[watch] url = "postgresql://user@host/database"``: the application's own database will do. Each
process holds one connection to it. A pooler must keep sessions: LISTEN belongs to one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from vaultlayer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

CHANNEL = "vaultlayer"
_IDLE = 1.0  # seconds
_CONNECT = {"connect_timeout": 2, "tcp_user_timeout": 5000, "application_name": "vaultlayer"}


class PostgresWatcher:
    """One connection to listen with, one for each message that is sent."""

    def __init__(self, url: str) -> None:
        self._url = url

    @classmethod
    def open(cls, url: str) -> PostgresWatcher:
        """``postgresql+psycopg://…``, as SQLAlchemy writes it, is understood too."""
        scheme, _, rest = url.partition("://")
        plain = f"{scheme.partition('+')[0]}://{rest}"
        try:
            psycopg.conninfo.conninfo_to_dict(plain)
        except psycopg.ProgrammingError:
            raise ConfigurationError(
                "[watch] url is not a URL of a PostgreSQL database",
                hint="e.g. postgresql://user@host/database",
            ) from None
        return cls(plain)

    def publish(self, topic: str, payload: str) -> None:
        with self._connect() as connection:
            connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, json.dumps([topic, payload])))

    def messages(self) -> Iterator[tuple[str, str] | None]:
        with self._connect() as connection:
            connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))
            yield None
            while True:
                for notification in connection.notifies(timeout=_IDLE):
                    yield _message(notification.payload)
                connection.execute("SELECT")  # an answer, or the end of the connection
                yield None

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(self._url, autocommit=True, **_CONNECT)  # type: ignore[arg-type]


def _message(payload: str) -> tuple[str, str] | None:
    try:
        topic, text = json.loads(payload)
        return str(topic), str(text)
    except (ValueError, TypeError):
        return None  # not one of ours
