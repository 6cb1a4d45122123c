"""FastAPI: a dependency that yields a session pinned to the request's access (extra ``fastapi``).

::

    app = FastAPI()
    app.add_middleware(VaultMiddleware, vault=vault)
    Support = Annotated[Session, Depends(acting("customer_service", SessionFactory))]

    @app.get("/customers/{id}")
    def show(id: int, session: Support) -> str:
        return session.get_one(Customer, id).name

A pinned session carries its access into any thread and task that it is handed to; a context
variable would not: FastAPI runs synchronous dependencies and routes in different threads.
"""

# Annotations are kept as they are: the framework reads those of a dependency at run time.
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, overload

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker
from starlette.requests import HTTPConnection

from vaultlayer_adapters.asgi import VaultMiddleware
from vaultlayer_adapters.web import visit_of

__all__ = ["VaultMiddleware", "acting", "visit_of"]

Reason = str | Callable[[HTTPConnection], str]


@overload
def acting(
    purpose: str, sessions: sessionmaker[Session], reason: Reason = ""
) -> Callable[[HTTPConnection], Iterator[Session]]: ...


@overload
def acting(
    purpose: str, sessions: async_sessionmaker[AsyncSession], reason: Reason = ""
) -> Callable[[HTTPConnection], AsyncIterator[AsyncSession]]: ...


def acting(purpose: str, sessions: Any, reason: Reason = "") -> Callable[[HTTPConnection], Any]:
    """A dependency for ``Depends()``: a new session, through which the request's principal acts
    for ``purpose``; closed after the response.

    :param sessions: the (async) sessionmaker that the vault is attached to.
    :param reason: for the record: a text, or a function of the request.
    """

    def open_access(connection: HTTPConnection, session: Any) -> None:
        why = reason if isinstance(reason, str) else reason(connection)
        access = visit_of(connection).open(purpose, reason=why, session=session)
        session.info["access"] = access.__enter__()  # the middleware ends it

    def session_of(connection: HTTPConnection) -> Iterator[Session]:
        with sessions() as session:
            open_access(connection, session)
            yield session

    async def async_session_of(connection: HTTPConnection) -> AsyncIterator[AsyncSession]:
        async with sessions() as session:
            open_access(connection, session)
            yield session

    return async_session_of if isinstance(sessions, async_sessionmaker) else session_of
