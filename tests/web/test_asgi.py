"""What only a server with an event loop does: many at once, half-sent answers, sockets, outages."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn

from vaultlayer import AuditUnavailable, KeyUnavailable
from vaultlayer.access.tokens import Verifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest import MonkeyPatch

ASGI = ["starlette", "fastapi", "litestar"]


@pytest.mark.parametrize("framework", ASGI)
def test_concurrent_requests_never_see_each_others_access(
    sites: Callable[[str], Any], framework: str
) -> None:
    """Three kinds of callers, sync and async routes, all at once: each gets its own answer."""
    site = sites(framework)
    headers = {role: site.signed_in(role, sub=role) for role in ("support", "support_lead", "x")}
    phones = {"support": "***0193", "support_lead": "+44 20 7946 0193", "x": None}

    async def ask(client: httpx.AsyncClient, number: int) -> None:
        role = ("support", "support_lead", "x")[number % 3]
        path = ("/people/1", "/people/1/async", "/stream")[number // 3 % 3]
        answer = await client.get(path, headers=headers[role])
        if phones[role] is None:
            assert (answer.status_code, answer.json()["reason"]) == (403, "role")
        elif path == "/stream":
            assert answer.text == "Ada Lovelace\nGrace Hopper\n"
        else:
            assert answer.json() == {"name": "Ada Lovelace", "phone": phones[role]}

    async def all_at_once() -> None:
        async with site.client() as client:
            await asyncio.gather(*(ask(client, number) for number in range(90)))
        await site.async_engine.dispose()

    asyncio.run(all_at_once())
    for event in site.events():
        role = event["actor"]["sub"]
        expected = {"support": {"allow", "mask"}, "support_lead": {"allow"}, "x": {"deny"}}[role]
        assert event["decision"] in expected
    assert list(site.vault.accesses) == []


def test_an_executor_that_copies_no_context_is_served(sites: Callable[[str], Any]) -> None:
    """The session carries its access; and the access itself is at hand."""
    site = sites("fastapi")
    answer = site.get("/people/2/pool", site.signed_in())
    assert answer.json() == {"name": "Grace Hopper", "phone": "***0958"}
    assert site.get("/people/2/reveal", site.signed_in()).json() == ["Grace Hopper"]


@contextmanager
def served(app: Any) -> Iterator[str]:
    """The application under a real server."""
    config = uvicorn.Config(app, port=0, log_level="critical", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
        assert thread.is_alive()
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.mark.parametrize("framework", ASGI)
def test_a_stream_refused_after_its_first_values_breaks_off(
    sites: Callable[[str], Any], framework: str
) -> None:
    """What is sent is sent; the answer ends broken, never as if it were whole."""
    site = sites(framework)
    with served(site.app) as url, httpx.Client(base_url=url) as client:
        whole = client.get("/stream", headers=site.signed_in())
        assert whole.text == "Ada Lovelace\nGrace Hopper\n"
        with (
            pytest.raises(httpx.RemoteProtocolError),
            client.stream("GET", "/stream?late=true", headers=site.signed_in()) as answer,
        ):
            assert answer.status_code == 200
            for part in answer.iter_raw():
                assert b"4111" not in part
    refused = [event for event in site.events() if event["decision"] == "deny"]
    assert [event["fields"] for event in refused] == [["card"]]


def test_a_socket_acts_for_its_purpose_until_it_closes(sites: Callable[[str], Any]) -> None:
    """One access for its life; without a token or with a bad one it is not opened."""
    site = sites("fastapi")
    sent: list[dict[str, Any]] = []

    def connect(headers: dict[str, str], *texts: str) -> None:
        said = [{"type": "websocket.connect"}]
        said += [{"type": "websocket.receive", "text": text} for text in texts]
        sent.clear()

        async def receive() -> dict[str, Any]:
            return said.pop(0)

        async def send(message: dict[str, Any]) -> None:
            sent.append({**message, "accesses": len(list(site.vault.accesses))})

        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        scope = {
            "type": "websocket", "path": "/socket", "raw_path": b"/socket", "headers": raw,
            "query_string": b"", "scheme": "ws", "root_path": "", "subprotocols": [],
        }  # fmt: skip
        asyncio.run(site.app(scope, receive, send))

    connect(site.signed_in(), "1", "2", "end")
    accepted, *told, closed = sent
    assert accepted["type"] == "websocket.accept"
    assert [(each["text"], each["accesses"]) for each in told] == [
        ("Ada Lovelace", 1), ("Grace Hopper", 1),
    ]  # fmt: skip
    assert closed["type"] == "websocket.close"
    assert list(site.vault.accesses) == []
    for headers in ({}, {"Authorization": "Bearer x"}):
        connect(headers)
        assert [(each["type"], each["code"]) for each in sent] == [("websocket.close", 1008)]


@pytest.mark.parametrize("error", [AuditUnavailable("full"), KeyUnavailable("away")])
def test_a_part_that_is_away_is_503(site: Any, monkeypatch: MonkeyPatch, error: Exception) -> None:
    """Not the caller's fault, and worth another try."""

    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(site.vault.journal, "open_access", fail)
    answer = site.get("/people/1", site.signed_in())
    assert (answer.status_code, answer.json()["reason"]) == (503, error.code)  # type: ignore[attr-defined]
    assert int(answer.headers["retry-after"]) > 0


def test_fetching_an_issuers_keys_does_not_hold_up_the_loop(
    sites: Callable[[str], Any], monkeypatch: MonkeyPatch
) -> None:
    """A slow issuer delays its own tokens; requests whose keys are known go on meanwhile."""
    site = sites("fastapi")
    known, order = site.vault.tokens, []

    class Slow(Verifier):
        def ready(self, token: str) -> bool:
            return not token.endswith("slow")

        def outcome(self, token: str) -> Any:
            if token.endswith("slow"):
                time.sleep(0.3)
                return KeyUnavailable("the issuer is away", hint="later")
            return known.outcome(token)

    monkeypatch.setattr(site.vault, "tokens", Slow())

    async def ask(client: httpx.AsyncClient, headers: dict[str, str], name: str) -> None:
        order.append((name, (await client.get("/people/1", headers=headers)).status_code))

    async def both() -> None:
        async with site.client() as client:
            slow = [ask(client, {"Authorization": f"Bearer {n}slow"}, "slow") for n in range(4)]
            await asyncio.gather(*slow, ask(client, site.signed_in(), "known"))
        await site.async_engine.dispose()

    began = time.monotonic()
    asyncio.run(both())
    assert order == [("known", 200), *[("slow", 503)] * 4]
    assert time.monotonic() - began < 1.1


def test_the_application_without_the_middleware_says_so(sites: Callable[[str], Any]) -> None:
    """Its first request tells what is missing."""
    from fastapi import Depends, FastAPI
    from sqlalchemy.orm import sessionmaker

    from vaultlayer import ConfigurationError
    from vaultlayer_adapters.fastapi import acting

    bare = FastAPI(dependencies=[Depends(acting("survey", sessionmaker()))])
    bare.get("/")(lambda: None)

    async def ask() -> None:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(bare), base_url="http://app"
        ) as client:
            await client.get("/")

    with pytest.raises(ConfigurationError) as caught:
        asyncio.run(ask())
    assert "docs/web.md" in str(caught.value)
