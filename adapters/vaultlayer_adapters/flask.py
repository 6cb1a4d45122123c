"""Flask: a view declares its purpose (extra ``flask``).

::

    app = Flask(__name__)
    protect(app, vault)

    @app.get("/customers/<int:id>")
    @purpose("customer_service")
    def show(id): ...
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from flask import Flask, Response, request

from vaultlayer_adapters.web import REFUSALS, answer, visit_of
from vaultlayer_adapters.wsgi import VaultMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaultlayer import Vault
    from vaultlayer.acting import Access

__all__ = ["access", "protect", "purpose", "visit_of"]

P = ParamSpec("P")
R = TypeVar("R")


def protect(app: Flask, vault: Vault) -> None:
    """Verify the token of every request, and answer what is refused; see `VaultMiddleware`."""
    app.wsgi_app = VaultMiddleware(app.wsgi_app, vault)  # type: ignore[method-assign]
    for refused in REFUSALS:
        app.register_error_handler(refused, _answered)


def purpose(
    name: str, reason: str | Callable[[Any], str] = ""
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorates a view: all that it does and sends, a stream included, it does for this purpose.

    ``reason`` is for the record: a text, or a function of the request.
    """

    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(view)
        def within(*args: P.args, **kwargs: P.kwargs) -> R:
            why = reason if isinstance(reason, str) else reason(request)
            visit_of(request).open(name, reason=why).__enter__()
            return view(*args, **kwargs)  # the middleware ends the access after the last byte

        return within

    return decorate


def access() -> Access:
    """The access of the view that runs now, for ``reveal()`` and its like."""
    return visit_of(request).accesses[-1]


def _answered(refusal: Any) -> Response:
    told = answer(refusal, visit_of(request).request_id)
    return Response(told.body, told.status, told.headers)
