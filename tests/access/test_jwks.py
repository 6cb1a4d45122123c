"""The issuer's published keys: fetched seldom, kept through an outage, gone when withdrawn."""

from __future__ import annotations

import json
import logging
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from vaultlayer.access import jwks
from vaultlayer.access.jwks import FRESH, PAUSE, REFRESH, STALE, RemoteKeys
from vaultlayer.access.tokens import TokenVerifier
from vaultlayer.errors import AccessDenied, ConfigurationError, KeyUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEYS = {kid: ec.generate_private_key(ec.SECP256R1()) for kid in ("one", "two", "three")}
URL = "https://login.example.com/keys"


def document(*kids: str) -> bytes:
    algorithm = jwt.algorithms.ECAlgorithm
    keys = [{**json.loads(algorithm.to_jwk(KEYS[kid].public_key())), "kid": kid} for kid in kids]
    return json.dumps({"keys": keys}).encode()


class Published:
    """An issuer whose clock the test turns; ``says`` is the next answer, an error to fail."""

    def __init__(self) -> None:
        self.now, self.fetches = 1000.0, 0
        self.says: bytes | Exception = document("one")
        self.verifier = TokenVerifier("i", "a", ["ES256"], jwks=URL)
        self.keys: Any = self.verifier._key_for
        self.keys._fetch, self.keys._clock = self._fetch, lambda: self.now

    def _fetch(self, url: str) -> bytes:
        self.fetches += 1
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    def after(self, seconds: float) -> Published:
        self.now += seconds
        return self

    def accepts(self, kid: str) -> bool:
        claims = {"iss": "i", "aud": "a", "sub": "ada", "exp": int(time.time()) + 60}
        token = jwt.encode(claims, KEYS.get(kid, KEYS["one"]), "ES256", headers={"kid": kid})
        try:
            accepted = self.verifier.verify(token).sub == "ada"
        except AccessDenied as refused:
            assert refused.reason == "token_signature"
            accepted = False
        self.settle()
        return accepted

    def settle(self) -> None:
        """Until no fetch is under way."""
        if self.keys._flight is not None:
            assert self.keys._flight.over.wait(5)


@pytest.fixture
def published() -> Published:
    return Published()


def test_one_fetch_serves_all(published: Published) -> None:
    """Nothing is fetched before the first token, and once for all after it."""
    assert published.fetches == 0
    assert [published.accepts("one") for _ in range(5)] == [True] * 5
    assert published.fetches == 1


def test_a_new_key_is_found_by_its_first_token(published: Published) -> None:
    """A rotation needs no waiting, but for the pause between two fetches."""
    assert published.accepts("one")
    published.says = document("one", "two")
    assert not published.after(PAUSE - 1).accepts("two")
    assert published.after(1).accepts("two")
    assert published.fetches == 2


def test_made_up_kids_cause_one_fetch_a_pause(published: Published) -> None:
    """However many there are; and none is remembered."""
    assert published.accepts("one")
    for second in range(120):
        for each in range(10):
            assert not published.accepts(f"made up {second}.{each}")
        published.after(1)
    assert published.fetches <= 1 + 120 / PAUSE
    assert set(published.keys._keys) == {"one"}
    assert published.accepts("one")


def test_a_withdrawn_key_is_gone_within_five_minutes(published: Published) -> None:
    """Under traffic, fetched in the background; after silence, before the first answer."""
    assert published.accepts("one")
    published.says = document("two")
    seen = [published.after(10).accepts("one") for _ in range(30)]
    assert FRESH == 300
    assert seen[-1] is False
    assert published.fetches <= 3  # the withdrawn key is then an unknown one
    quiet = Published()
    assert quiet.accepts("one")
    quiet.says = document("two")
    assert not quiet.after(FRESH + 1).accepts("one")
    assert quiet.accepts("two")


def test_all_keys_can_be_withdrawn(published: Published) -> None:
    """An empty set is an answer."""
    assert published.accepts("one")
    published.says = b'{"keys": []}'
    assert not published.after(FRESH + 1).accepts("one")


@pytest.mark.parametrize(
    "failure",
    [
        OSError("no route"), TimeoutError(), ValueError("too long"), b"", b"<html>", b"[]",
        b'{"keys": 7}', b"\xff" * 100, b"[" * 100_000,
        document("one").replace(b'"one"', b'"two"').replace(b"]", b"," + document("two")[10:-1], 1),
        b'{"keys": [{"kty": "oct", "kid": "one", "k": "c2VjcmV0"}]}',
    ],
)  # fmt: skip
def test_a_failed_fetch_never_costs_the_good_set(
    published: Published, failure: bytes | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """An hour of an outage, or of nonsense, is not noticed by those who hold tokens; it is told."""
    assert published.accepts("one")
    published.says = failure
    with caplog.at_level(logging.WARNING, "vaultlayer.tokens"):
        while published.now < 1000 + STALE - 10:
            assert published.after(10).accepts("one")
            assert not published.accepts("made up")
    assert published.fetches <= 1 + STALE / PAUSE
    assert URL in caplog.text
    published.after(20)
    with pytest.raises(KeyUnavailable):
        published.accepts("one")
    published.says = document("one")
    assert published.after(PAUSE).accepts("one")


def test_no_key_ever_is_no_refusal(published: Published) -> None:
    """The caller's token may be good: the error is another, and the next try has its pause."""
    published.says = OSError()
    for _ in range(3):
        with pytest.raises(KeyUnavailable) as caught:
            published.accepts("one")
        assert caught.value.hint
    assert published.fetches == 1
    published.says = document("one")
    assert published.after(PAUSE).accepts("one")


def test_ready_says_whether_an_answer_needs_the_network(published: Published) -> None:
    """What a server with an event loop asks first."""
    ready: Callable[[object], bool] = published.keys.ready
    assert not ready("one")
    assert published.accepts("one")
    assert ready("one")
    assert not ready("two")
    published.says = OSError()
    assert published.after(REFRESH + 1).accepts("one")
    assert published.after(PAUSE).accepts("one")
    published.after(FRESH - REFRESH - PAUSE + 1)
    assert ready("one")  # the outage is known: nobody waits for it
    published.after(10 * PAUSE)
    assert not ready("one")


def test_many_threads_fetch_once() -> None:
    """The first tokens after a start arrive together; a slow issuer is asked once."""
    fetches = []

    def slow(_: str) -> bytes:
        fetches.append(1)
        time.sleep(0.2)
        return b""

    keys = RemoteKeys(URL, lambda _: {"one": KEYS["one"]}, fetch=slow)  # type: ignore[dict-item]
    found = []
    threads = [threading.Thread(target=lambda: found.append(keys("one"))) for _ in range(200)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert (len(found), len(fetches)) == (200, 1)
    assert None not in found


def test_a_fetch_that_hangs_holds_nobody_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait has an end; after the pause another fetch is tried, and the old one changes
    nothing."""
    monkeypatch.setattr(jwks, "TIMEOUT", 0.05)
    now, held, answers = [1000.0], threading.Event(), iter([True, False])

    def fetch(_: str) -> bytes:
        if next(answers):
            held.wait(5)
            return b"old"
        return b"new"

    keys = RemoteKeys(
        URL, lambda said: {said.decode(): KEYS["one"]}, fetch=fetch, clock=lambda: now[0]
    )  # type: ignore[arg-type, return-value]
    with pytest.raises(KeyUnavailable):
        keys("new")
    now[0] += PAUSE
    monkeypatch.setattr(jwks, "TIMEOUT", 5)
    assert keys("new") is not None
    late = [thread for thread in threading.enumerate() if thread.name == "jwks"]
    held.set()
    for each in late:
        each.join(5)
    assert keys("new") is not None


@pytest.mark.parametrize(
    "url",
    [
        "http://login.example.com/keys", "ftp://login.example.com/keys", "file:///etc/passwd",
        "https://", "https:///keys", "https://user:secret@login.example.com/keys",
        "http://localhost.example.com/keys", "data://x",
    ],
)  # fmt: skip
def test_only_https_is_spoken(url: str) -> None:
    """Or HTTP with this very machine; an address holds no password either."""
    with pytest.raises(ConfigurationError) as caught:
        TokenVerifier("i", "a", ["ES256"], jwks=url)
    assert "https://" in str(caught.value)
    assert "secret" not in str(caught.value)


@contextmanager
def server(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{running.server_port}/keys"
        finally:
            running.shutdown()


def respond(to: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    to.send_response(status)
    for name, value in headers.items():
        to.send_header(name, value)
    to.end_headers()
    to.wfile.write(body)


def test_a_real_server_is_asked() -> None:
    """Over HTTP, by the settings' own words."""
    with server(lambda to: respond(to, 200, document("one"))) as url:
        keys: Any = TokenVerifier("i", "a", ["ES256"], jwks=url)._key_for
        assert keys("one") is not None
        assert keys("two") is None


def test_what_a_server_must_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send us elsewhere, send without end, drip, or fail."""
    with server(lambda to: respond(to, 200, document("one"))) as elsewhere:

        def drip(to: BaseHTTPRequestHandler) -> None:
            to.send_response(200)
            to.end_headers()
            try:
                for _ in range(50):
                    to.wfile.write(b" ")
                    time.sleep(0.05)
            except OSError:
                pass

        bad = [
            lambda to: respond(to, 302, b"", Location=elsewhere),
            lambda to: respond(to, 307, b"", Location=elsewhere),
            lambda to: respond(to, 200, document("one") + b" " * jwks.MOST_BYTES),
            lambda to: respond(to, 404, document("one")),
            lambda to: respond(to, 500, document("one")),
            lambda to: to.wfile.write(b"no HTTP at all\r\n\r\n"),
            drip,
        ]
        monkeypatch.setattr(jwks, "TIMEOUT", 0.3)
        for answer in bad:
            with server(answer) as url, pytest.raises(jwks._FAILURES):
                jwks._fetch(url)
