"""WSGI: token → principal → access, for Flask (flask.py) and every other WSGI framework.

::

    application = VaultMiddleware(application, vault)
    …
    with visit_of(environ).open("customer_service"):
        …
"""

from __future__ import annotations

from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

from vaultlayer_adapters.web import KEY, REFUSALS, Visit, answer, bearer, begin, visit_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from vaultlayer import Principal, Vault
    from vaultlayer_adapters.web import Refusal

__all__ = ["VaultMiddleware", "visit_of"]

Environ = dict[str, Any]
_STATUS = {
    401: "401 Unauthorized",
    403: "403 Forbidden",
    503: "503 Service Unavailable",
}


class VaultMiddleware:
    """Verifies the bearer token of each request, and answers 401, 403 or 503 to what is refused.

    A request without a token goes on without a principal; one with a bad token goes nowhere. Each
    request runs in a context of its own, body included, so that no access is left in a worker's
    thread; its accesses end when the server closes the response.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]], vault: Vault) -> None:
        self.app, self.vault = app, vault

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        headers = _headers(environ)
        visit = begin(self.vault, headers)
        start_response = _naming(visit, start_response)
        try:
            visit.principal = self._principal(bearer(headers))
        except REFUSALS as refusal:
            return [_refuse(refusal, visit, start_response)]
        environ[KEY] = visit
        return _Body(self.app, environ, start_response, visit)

    def _principal(self, token: str | None) -> Principal | None:
        outcome = None if token is None else self.vault.tokens.outcome(token)
        del token
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class _Body:
    """The application's response, from its call to the server's ``close()``."""

    def __init__(self, app: Any, environ: Environ, start_response: Any, visit: Visit) -> None:
        self._visit, self._start_response = visit, start_response
        self._context: Context = copy_context()
        self._iterable: Any = ()
        try:
            self._iterable = self._context.run(app, environ, start_response)
            self._parts = self._context.run(iter, self._iterable)
        except REFUSALS as refusal:
            self._parts = iter([_refuse(refusal, visit, start_response)])
        except BaseException:
            self.close()
            raise
        self._begun = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            part: bytes = self._context.run(next, self._parts)
        except REFUSALS as refusal:
            if self._begun:
                raise
            part, self._parts = _refuse(refusal, self._visit, self._start_response), iter(())
        self._begun = True
        return part

    def close(self) -> None:
        try:
            if hasattr(self._iterable, "close"):
                self._context.run(self._iterable.close)
        finally:
            self._context.run(self._visit.end)


def _refuse(refusal: Refusal, visit: Visit, start_response: Any) -> bytes:
    told = answer(refusal, visit.request_id)
    # The third argument lets a server replace a start whose headers have not been sent (PEP 3333).
    start_response(_STATUS[told.status], told.headers, (type(refusal), refusal, None))
    return told.body


def _naming(visit: Visit, start_response: Any) -> Callable[..., Any]:
    def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
        return start_response(status, [*headers, ("X-Request-ID", visit.request_id)], *more)

    return start


def _headers(environ: Environ) -> list[tuple[str, str]]:
    names = ("authorization", "x-request-id", "traceparent")
    given = ((name, environ.get(f"HTTP_{name.upper().replace('-', '_')}")) for name in names)
    return [(name, value) for name, value in given if value is not None]
