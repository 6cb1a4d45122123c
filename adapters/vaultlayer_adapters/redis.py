"""Redis: processes tell each other what changed (``[watch] url = "redis://host:6379/0"``)."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from vaultlayer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

CHANNEL = "vaultlayer"
_IDLE = 1.0  # seconds
_SILENT = 5.0  # seconds without an answer to a ping: the connection is dead


class RedisWatcher:
    """Publishes to and subscribes one channel. Redis keeps no message for who is away."""

    def __init__(self, client: Redis) -> None:
        self._client = client  # its pool knows a fork by the process id

    @classmethod
    def open(cls, url: str) -> RedisWatcher:
        """Connects when it is first used. ``rediss://`` is Redis over TLS."""
        try:
            # Without retries: a subscription that was renewed in silence would hide a gap.
            client = Redis.from_url(
                url,
                socket_connect_timeout=2.0,
                socket_timeout=2.0,
                retry=Retry(NoBackoff(), 0),
                decode_responses=True,
            )
        except ValueError:
            raise ConfigurationError(
                "[watch] url is not a URL of a Redis server", hint="e.g. redis://host:6379/0"
            ) from None
        return cls(client)

    def publish(self, topic: str, payload: str) -> None:
        self._client.publish(CHANNEL, json.dumps([topic, payload]))

    def messages(self) -> Iterator[tuple[str, str] | None]:
        with self._client.pubsub() as subscription:  # type: ignore[no-untyped-call]
            subscription.subscribe(CHANNEL)
            heard = time.monotonic()
            while time.monotonic() - heard < _SILENT:
                got = subscription.get_message(timeout=_IDLE)
                if got is not None:
                    heard = time.monotonic()
                if got is None:
                    subscription.ping()
                if got is None or got["type"] == "subscribe":
                    yield None
                elif got["type"] == "message":
                    yield _message(got["data"])


def _message(data: Any) -> tuple[str, str] | None:
    try:
        topic, payload = json.loads(data)
        return str(topic), str(payload)
    except (ValueError, TypeError):
        return None  # not one of ours
