"""RemoteKeys: the key set an issuer publishes (RFC 7517), fetched by us and kept through an outage.

PyJWT's own client forgets its good set when a fetch fails, fetches for every made-up ``kid``, and
keeps withdrawn keys for ever. Here

- a set older than 4 minutes is fetched anew in the background, one older than 5 before it is used:
  a withdrawn key is gone within 5 minutes;
- an unknown ``kid`` makes at most one fetch in 30 seconds, whoever asks, and is not remembered;
- a failed fetch, or one that brings no usable set, leaves the good set in use, for an hour at most.

Nothing but HTTPS is spoken (HTTP to this machine alone), and no redirect is followed.
"""

from __future__ import annotations

import http.client
import logging
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from vaultlayer.errors import ConfigurationError, KeyUnavailable, VaultLayerError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vaultlayer.access.token_keys import VerificationKey

# Seconds.
REFRESH, FRESH, STALE = 240.0, 300.0, 3600.0
PAUSE = 30.0  # between the starts of two fetches
TIMEOUT = 5.0
MOST_BYTES = 256 * 1024
_HOSTS_OF_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_NEVER = float("-inf")
_FAILURES = (OSError, ValueError, http.client.HTTPException)


class RemoteKeys:
    """Looks a token's ``kid`` up; None for an unknown one. Any number of threads may ask.

    ``parse`` turns a document into keys or raises. Making one fetches nothing: the first look-up
    does. Raises KeyUnavailable when there is no set that may still be used.
    """

    def __init__(
        self,
        url: str,
        parse: Callable[[bytes], Mapping[object, VerificationKey]],
        *,
        fetch: Callable[[str], bytes] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url, self._parse = _checked(url), parse
        self._fetch, self._clock = fetch or _fetch, clock
        self._keys: Mapping[object, VerificationKey] = {}
        self._good = _NEVER  # when the fetch that brought the set in use began
        self._flight: _Flight | None = None  # the latest fetch, under way or over
        self._deciding = threading.Lock()  # held for moments, never during a fetch

    def __call__(self, kid: object) -> VerificationKey | None:
        if not self.ready(kid):
            self._await(self._start())
        elif self._age() > REFRESH:
            self._start()
        if self._age() > STALE:
            raise KeyUnavailable(
                "the token issuer's keys can't be fetched now",
                hint="check that the address under [tokens] jwks answers; trying later may help",
            )
        return self._keys.get(kid)

    def ready(self, kid: object) -> bool:
        """Whether a look-up of ``kid`` is answered at once, without waiting for the network."""
        if kid not in self._keys:
            return False
        last = self._flight
        tried_lately = last is not None and self._clock() - last.began < 2 * PAUSE
        return self._age() <= FRESH or (tried_lately and last is not None and last.over.is_set())

    def _age(self) -> float:
        return self._clock() - self._good

    def _start(self) -> _Flight | None:
        """The fetch under way, else a new one, else None: the last is too short ago."""
        with self._deciding:
            now, last = self._clock(), self._flight
            if last is not None and now - last.began < PAUSE:
                return None if last.over.is_set() else last
            # A fetch that hangs, or one that a fork cut off, is left to itself.
            flight = self._flight = _Flight(now)
        threading.Thread(target=self._fly, args=(flight,), name="jwks", daemon=True).start()
        return flight

    def _await(self, flight: _Flight | None) -> None:
        if flight is not None:
            flight.over.wait(TIMEOUT)

    def _fly(self, flight: _Flight) -> None:
        try:
            keys = self._parse(self._fetch(self._url))
            with self._deciding:
                if flight.began > self._good:
                    self._keys, self._good = keys, flight.began
        except (*_FAILURES, VaultLayerError) as error:
            kind = type(error).__name__
            _log.warning("the key set of a token issuer can't be used (%s): %s", kind, self._url)
        finally:
            flight.over.set()


@dataclass(slots=True)
class _Flight:
    """One fetch; ``began`` is the clock's time."""

    began: float
    over: threading.Event = field(default_factory=threading.Event)


_log = logging.getLogger("vaultlayer.tokens")


def is_address(text: object) -> bool:
    """Whether ``[tokens] jwks`` is an address rather than a path."""
    return isinstance(text, str) and "://" in text


def _checked(url: str) -> str:
    parts = urlsplit(url)
    local = parts.scheme == "http" and parts.hostname in _HOSTS_OF_THIS_MACHINE
    if not (parts.hostname and (parts.scheme == "https" or local)) or parts.username is not None:
        raise ConfigurationError(
            "[tokens] jwks is not an https:// address",
            hint="take the jwks_uri from the issuer's /.well-known/openid-configuration",
        )
    return url


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """An answer that points elsewhere is an error: the address is a decision of the operator."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _fetch(url: str) -> bytes:
    """The document: at most 256 KiB, within 5 seconds in all."""
    deadline = time.monotonic() + TIMEOUT
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310
    document = b""
    with urllib.request.build_opener(_NoRedirect).open(request, timeout=TIMEOUT) as answer:
        while part := answer.read1(65536):
            document += part
            if len(document) > MOST_BYTES:
                raise ValueError
            if time.monotonic() > deadline:
                raise TimeoutError
    return document
