"""The same routes in each framework; what they return is what the tests compare.

Every application is made by a function of (vault, sync sessionmaker, async sessionmaker, noted),
where ``noted`` takes what background tasks saw.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import flask
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, WebSocket
from litestar import Litestar, Request, get
from litestar.background_tasks import BackgroundTask as LitestarTask
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Response as LitestarResponse
from litestar.response import Stream
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route
from web_models import Person

from vaultlayer import NoAccess, Principal
from vaultlayer_adapters import fastapi, litestar
from vaultlayer_adapters import flask as flask_
from vaultlayer_adapters.asgi import Purpose, VaultMiddleware

CARE, OFFERS = "customer_service", "direct_marketing"


def told(session: Any, number: int) -> dict[str, Any]:
    person = session.get_one(Person, number)
    return {"name": person.name, "phone": str(person.phone)}


def names(session: Any, *, last_refused: bool = False) -> Any:
    """A line a person, each opened when its turn comes; after them a field that is refused."""
    people = session.scalars(select(Person).order_by(Person.id)).all()
    for person in people:
        yield f"{person.name}\n".encode()
    if last_refused:
        yield people[0].card.encode()


def lines(sessions: Any, *, last_refused: bool = False) -> Any:
    """The same through a session that lives as long as the stream."""
    with sessions() as session:
        yield from names(session, last_refused=last_refused)


def late(session: Any, vault: Any, noted: list[str]) -> None:
    """A background task: the request's access is over, one of its own works."""
    person = session.get_one(Person, 1)
    try:
        noted.append(person.name)
    except NoAccess:
        noted.append("refused")
    mailer = Principal("mailer", ["service"])
    with vault.access(mailer, purpose="provide_service", reason="reminder", session=session):
        noted.append(person.name)


def starlette_app(vault: Any, sessions: Any, _: Any, noted: list[str]) -> Any:
    def show(request: Any) -> Any:  # in a thread of Starlette's
        with sessions() as session:
            return JSONResponse(told(session, request.path_params["number"]))

    async def show_async(request: Any) -> Any:
        return await asyncio.to_thread(show, request)

    async def stream(request: Any) -> Any:
        return StreamingResponse(lines(sessions, last_refused="late" in request.query_params))

    async def background(request: Any) -> Any:
        def task() -> None:
            with sessions() as session:
                late(session, vault, noted)

        return JSONResponse({}, background=BackgroundTask(task))

    def public(_: Any) -> Any:
        return JSONResponse({"open": True})

    def why(scope: Any) -> str:
        return f"ticket {scope['path_params']['number']}"

    def on(purpose: str, path: str, endpoint: Any, reason: Any = "") -> Route:
        return Route(path, endpoint, middleware=[Middleware(Purpose, purpose, reason)])

    routes = [
        on(CARE, "/people/{number:int}", show, why),
        on(CARE, "/people/{number:int}/async", show_async),
        on(CARE, "/stream", stream),
        on(OFFERS, "/offers", stream),
        on(CARE, "/background", background),
        Route("/public", public),
        Route("/forgotten/{number:int}", show),
    ]
    return Starlette(routes=routes, middleware=[Middleware(VaultMiddleware, vault=vault)])


def fastapi_app(vault: Any, sessions: Any, async_sessions: Any, noted: list[str]) -> Any:
    app = FastAPI()
    app.add_middleware(VaultMiddleware, vault=vault)
    app.include_router(fastapi_routes_of_its_own(sessions))

    def why(request: Any) -> str:
        return f"ticket {request.path_params['number']}"

    care = Annotated[Session, Depends(fastapi.acting(CARE, sessions))]
    ticket = Annotated[Session, Depends(fastapi.acting(CARE, sessions, why))]
    offers = Annotated[Session, Depends(fastapi.acting(OFFERS, sessions))]
    care_async = Annotated[AsyncSession, Depends(fastapi.acting(CARE, async_sessions))]

    @app.get("/people/{number}")
    def show(number: int, session: ticket) -> dict[str, Any]:
        return told(session, number)

    @app.get("/people/{number}/async")
    async def show_async(number: int, session: care_async) -> dict[str, Any]:
        person = await session.get_one(Person, number)
        await asyncio.sleep(0)
        return {"name": person.name, "phone": str(person.phone)}

    @app.get("/stream")
    async def stream(session: care, late: bool = False) -> Any:
        return StreamingResponse(names(session, last_refused=late))

    @app.get("/offers")
    def make_offers(session: offers) -> Any:
        return StreamingResponse(names(session))

    @app.get("/background")
    async def background(session: care, tasks: BackgroundTasks) -> dict[str, Any]:
        tasks.add_task(late, session, vault, noted)
        return {}

    @app.get("/public")
    async def public() -> dict[str, bool]:
        return {"open": True}

    @app.get("/forgotten/{number}")
    def forgotten(number: int) -> dict[str, Any]:
        with sessions() as session:
            return told(session, number)

    return app


def fastapi_routes_of_its_own(sessions: Any) -> APIRouter:
    app = APIRouter()
    care = Annotated[Session, Depends(fastapi.acting(CARE, sessions))]

    @app.get("/people/{number}/pool")
    async def show_pool(number: int, session: care) -> dict[str, Any]:
        with ThreadPoolExecutor(1) as pool:  # it copies no context: the session carries the access
            return await asyncio.get_running_loop().run_in_executor(pool, told, session, number)

    @app.get("/people/{number}/reveal")
    def reveal(number: int, session: care) -> list[str]:
        person = session.get_one(Person, number)
        return session.info["access"].reveal([person], Person.name)

    @app.websocket("/socket")
    async def socket(socket: WebSocket, session: care) -> None:
        await socket.accept()
        while (number := await socket.receive_text()) != "end":
            await socket.send_text(session.get_one(Person, int(number)).name)
        await socket.close()

    return app


def litestar_app(vault: Any, sessions: Any, async_sessions: Any, noted: list[str]) -> Any:
    def why(request: Any) -> str:
        return f"ticket {request.path_params['number']}"

    care = {"session": litestar.acting(CARE, sessions)}

    @get(
        "/people/{number:int}",
        dependencies={"session": litestar.acting(CARE, sessions, why)},
        sync_to_thread=True,
    )
    def show(number: FromPath[int], session: NamedDependency[Session]) -> dict[str, Any]:
        return told(session, number)

    @get(
        "/people/{number:int}/async",
        dependencies={"session": litestar.acting(CARE, async_sessions)},
    )
    async def show_async(
        number: FromPath[int], session: NamedDependency[AsyncSession]
    ) -> dict[str, Any]:
        person = await session.get_one(Person, number)
        return {"name": person.name, "phone": str(person.phone)}

    def acting_lines(request: Request[Any, Any, Any], purpose: str, last_refused: bool) -> Any:
        # Litestar closes a dependency before a stream begins: the stream has a session of its own.
        with sessions() as session, litestar.visit_of(request).open(purpose, session=session):
            yield from names(session, last_refused=last_refused)

    @get("/stream")
    async def stream(request: Request[Any, Any, Any], late: FromQuery[bool] = False) -> Stream:
        return Stream(acting_lines(request, CARE, late))

    @get("/offers")
    async def offers(request: Request[Any, Any, Any]) -> Stream:
        return Stream(acting_lines(request, OFFERS, False))

    @get("/background", dependencies=care)
    async def background(session: NamedDependency[Session]) -> LitestarResponse[dict[str, Any]]:
        return LitestarResponse({}, background=LitestarTask(late, session, vault, noted))

    @get("/public")
    async def public() -> dict[str, bool]:
        return {"open": True}

    @get("/forgotten/{number:int}", sync_to_thread=True)
    def forgotten(number: FromPath[int]) -> dict[str, Any]:
        with sessions() as session:
            return told(session, number)

    return Litestar(
        [show, show_async, stream, offers, background, public, forgotten],
        plugins=[litestar.VaultPlugin(vault)],
    )


def flask_app(vault: Any, sessions: Any, _: Any, noted: list[str]) -> Any:
    app = flask.Flask(__name__)
    flask_.protect(app, vault)

    @app.get("/people/<int:number>")
    @flask_.purpose(CARE, lambda request: f"ticket {request.view_args['number']}")
    def show(number: int) -> Any:
        with sessions() as session:
            return told(session, number)

    @app.get("/people/<int:number>/async")
    @flask_.purpose(CARE)
    def reveal(number: int) -> Any:
        with sessions() as session:
            person = session.get_one(Person, number)
            return {
                "name": flask_.access().reveal(person, Person.name)[0],
                "phone": str(person.phone),
            }

    @app.get("/stream")
    @flask_.purpose(CARE)
    def stream() -> Any:
        return flask.Response(lines(sessions, last_refused="late" in flask.request.args))

    @app.get("/offers")
    @flask_.purpose(OFFERS)
    def offers() -> Any:
        return flask.Response(lines(sessions))

    @app.get("/public")
    def public() -> Any:
        return {"open": True}

    @app.get("/forgotten/<int:number>")
    def forgotten(number: int) -> Any:
        with sessions() as session:
            return told(session, number)

    return app


APPS = {
    "starlette": starlette_app,
    "fastapi": fastapi_app,
    "litestar": litestar_app,
    "flask": flask_app,
}
