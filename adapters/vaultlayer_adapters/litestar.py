"""Litestar: a plugin, and a dependency that gives a session pinned to the access (extra
``litestar``).

::

    app = Litestar([show], plugins=[VaultPlugin(vault)])

    @get("/customers/{id:int}", dependencies={"session": acting("customer_service", Sessions)})
    async def show(id: int, session: AsyncSession) -> str: ...
"""

# Annotations are kept as they are: the framework reads those of a dependency at run time.
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from anyio import to_thread
from litestar import Request, Response
from litestar.di import Provide
from litestar.middleware import DefineMiddleware
from litestar.plugins import InitPlugin
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session

from vaultlayer_adapters.asgi import VaultMiddleware
from vaultlayer_adapters.web import REFUSALS, answer, visit_of

if TYPE_CHECKING:
    from litestar.config.app import AppConfig

    from vaultlayer import Vault

__all__ = ["VaultPlugin", "acting", "visit_of"]

Connection = Request[Any, Any, Any]
Reason = str | Callable[[Connection], str]


class VaultPlugin(InitPlugin):
    """Verifies the bearer token of each request, and answers what is refused."""

    def __init__(self, vault: "Vault") -> None:
        self._vault = vault

    def on_app_init(self, app_config: "AppConfig") -> "AppConfig":
        middleware = DefineMiddleware(VaultMiddleware, vault=self._vault)  # type: ignore[arg-type]
        app_config.middleware.insert(0, middleware)
        for refused in REFUSALS:
            app_config.exception_handlers.setdefault(refused, _answered)
        return app_config


def acting(purpose: str, sessions: Any, reason: Reason = "") -> Provide:
    """A dependency: a new session, through which the request's principal acts for ``purpose``.

    :param sessions: the (async) sessionmaker that the vault is attached to.
    :param reason: for the record: a text, or a function of the request.
    """

    def open_access(request: Connection, session: Any) -> None:
        why = reason if isinstance(reason, str) else reason(request)
        access = visit_of(request).open(purpose, reason=why, session=session)
        session.info["access"] = access.__enter__()  # the middleware ends it

    async def session_of(request: Connection) -> AsyncIterator[Session]:
        session = sessions()
        try:
            open_access(request, session)
            yield session
        finally:  # it may roll back, which waits for the database
            await to_thread.run_sync(session.close)

    async def async_session_of(request: Connection) -> AsyncIterator[AsyncSession]:
        async with sessions() as session:
            open_access(request, session)
            yield session

    return Provide(async_session_of if isinstance(sessions, async_sessionmaker) else session_of)


def _answered(request: Connection, refusal: Any) -> Response[bytes]:
    told = answer(refusal, visit_of(request).request_id)
    kind = dict(told.headers)["content-type"]
    return Response(told.body, status_code=told.status, headers=dict(told.headers), media_type=kind)
