"""ASGI: token → principal → access, for Starlette and every other ASGI framework (extra
``starlette``).

::

    app = Starlette(
        routes=[Route("/customers/{id}", show, middleware=[Middleware(Purpose, "support")])],
        middleware=[Middleware(VaultMiddleware, vault=vault)],
    )
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from anyio import CapacityLimiter, to_thread

from vaultlayer_adapters.web import (
    KEY,
    Answer,
    Visit,
    answer,
    bearer,
    begin,
    refusal_in,
    visit_of,
)

if TYPE_CHECKING:
    from vaultlayer import Principal, Vault

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# Threads for verifying a token whose issuer's keys must be fetched first: apart from those that
# serve requests, so that made-up key ids can't use these up.
_FETCHING_THREADS = 4


class VaultMiddleware:
    """Verifies the bearer token of each request, and answers 401, 403 or 503 to what is refused.

    A request without a token goes on without a principal; one with a bad token goes nowhere. The
    accesses that the application opens for a request end when the last byte of the answer has
    been handed to the server, before background tasks run.
    """

    def __init__(self, app: App, vault: Vault) -> None:
        self.app, self.vault = app, vault
        self._fetching = CapacityLimiter(_FETCHING_THREADS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = _headers(scope)
        visit = begin(self.vault, headers)
        reply = _Reply(send, visit, websocket=scope["type"] == "websocket")
        try:
            visit.principal = await self._principal(bearer(headers))
            scope[KEY] = visit
            await self.app(scope, receive, reply.send)
            await reply.flush()
        except Exception as error:
            refusal = refusal_in(error)
            if refusal is None or reply.started:
                raise
            await reply.refuse(answer(refusal, visit.request_id))
        finally:
            visit.end()

    async def _principal(self, token: str | None) -> Principal | None:
        if token is None:
            return None
        tokens = self.vault.tokens
        if tokens.ready(token):
            outcome = tokens.outcome(token)
        else:
            outcome = await to_thread.run_sync(tokens.outcome, token, limiter=self._fetching)
        del token
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class Purpose:
    """Wraps a route: all that it does and sends, it does for this purpose.

    ``reason`` is for the record, a text or a function of the scope. Within, the access is the
    current one (a context variable), in threads too that copy their context, as Starlette's and
    ``asyncio.to_thread``'s do. It is also at ``request.state.access``.
    """

    def __init__(self, app: App, purpose: str, reason: str | Callable[[Scope], str] = "") -> None:
        self.app, self.purpose, self.reason = app, purpose, reason

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reason = self.reason if isinstance(self.reason, str) else self.reason(scope)
        with visit_of(scope).open(self.purpose, reason=reason) as access:
            scope.setdefault("state", {})["access"] = access
            await self.app(scope, receive, send)


class _Reply:
    """What goes to the server: the start waits for the first bytes, so that a stream which is
    refused at its first value can still be answered as refused."""

    def __init__(self, send: Send, visit: Visit, *, websocket: bool) -> None:
        self._send, self.visit, self._websocket = send, visit, websocket
        self._start: Message | None = None
        self.started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            name = (b"x-request-id", self.visit.request_id.encode())
            self._start = {**message, "headers": [*message.get("headers", ()), name]}
            if self.visit.principal is not None:  # else nothing in the body can be refused
                return
        await self.flush()
        if message["type"] != "http.response.start":
            self.started = self.started or message["type"] != "websocket.close"
            await self._send(message)
            if _is_last(message):
                self.visit.end()

    async def flush(self) -> None:
        if self._start is not None:
            start, self._start = self._start, None
            self.started = True
            await self._send(start)

    async def refuse(self, told: Answer) -> None:
        if self._websocket:
            await self._send({"type": "websocket.close", "code": 1008, "reason": "refused"})
            return
        headers = [*told.headers, ("x-request-id", self.visit.request_id)]
        raw = [(name.encode(), value.encode()) for name, value in headers if value]
        await self._send({"type": "http.response.start", "status": told.status, "headers": raw})
        await self._send({"type": "http.response.body", "body": told.body})


def _headers(scope: Scope) -> list[tuple[str, str]]:
    return [
        (name.decode("latin-1").lower(), value.decode("latin-1"))
        for name, value in scope["headers"]
    ]


def _is_last(message: Message) -> bool:
    kind = message["type"]
    return kind in ("http.response.pathsend", "websocket.close") or (
        kind == "http.response.body" and not message.get("more_body", False)
    )
