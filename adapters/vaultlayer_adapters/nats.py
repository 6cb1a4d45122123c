"""NATS JetStream: audit records published to a subject (``nats://host:4222/audit.vaultlayer``).

A stream must be bound to the subject: each record counts as delivered once the stream has
acknowledged it. Its ``Nats-Msg-Id`` is shard and number, so the stream itself drops what comes
twice within its duplicate window.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

import nats

from vaultlayer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nats.aio.client import Client

    from vaultlayer.audit.sinks.sink import Record

_TIMEOUT = 5.0  # seconds


class NatsSink:
    """Has an event loop of its own, which runs while records are sent."""

    def __init__(self, server: str, subject: str) -> None:
        self._server, self._subject = server, subject
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Client | None = None

    @classmethod
    def open(cls, url: str) -> Self:
        parts = urlsplit(url)
        subject = parts.path.strip("/")
        if not parts.hostname or not subject or any(sign in subject for sign in "*> /"):
            raise ConfigurationError(
                "the NATS sink's url can't be used", hint="e.g. nats://host:4222/audit.vaultlayer"
            )
        scheme = "tls" if parts.scheme == "nats+tls" else "nats"
        return cls(f"{scheme}://{parts.netloc}", subject)

    def send(self, records: Sequence[Record]) -> None:
        self._loop = self._loop or asyncio.new_event_loop()
        self._loop.run_until_complete(asyncio.wait_for(self._publish(records), 2 * _TIMEOUT))

    def close(self) -> None:
        if self._loop is not None:
            try:
                if self._client is not None:
                    self._loop.run_until_complete(self._client.close())
            finally:
                self._loop.close()
                self._loop = None

    async def _publish(self, records: Sequence[Record]) -> None:
        if self._client is None:
            self._client = await nats.connect(
                self._server, connect_timeout=_TIMEOUT, allow_reconnect=False, error_cb=_ignored
            )
        stream = self._client.jetstream(timeout=_TIMEOUT)
        for record in records:  # in order, each acknowledged
            message_id = f"{record.event['shard']}/{record.event['seq']}"
            await stream.publish(
                self._subject, record.body, headers={"Nats-Msg-Id": message_id}, timeout=_TIMEOUT
            )


async def _ignored(_: Exception) -> None:
    """What goes wrong is raised where it is waited for; by default it would be printed too."""
