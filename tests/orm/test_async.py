"""AsyncSession: loading brings the keys, reading does no I/O, what can't be had says what to do."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, insert, select, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import MissingGreenlet, StatementError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, defer, load_only, selectinload
from sqlalchemy.pool import NullPool

from vaultlayer.errors import KeyUnavailable, NoAccess, UnsupportedQuery, VaultLayerError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# What a driver leaves behind when SQLAlchemy finds that it isn't being awaited.
UNAWAITED = pytest.mark.filterwarnings(
    "ignore:coroutine .* was never awaited:RuntimeWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
ADA = "Ada Geheim"


class AsyncWorld:
    """The populated world, on the same database, through an async driver."""

    def __init__(self, world: Any, engine: AsyncEngine) -> None:
        self.world = world
        self.m = world.m
        self.engine = engine
        self.Session = async_sessionmaker(engine)
        self.access = world.access
        self.keys = world.vault.keys
        world.vault.attach(self.Session)
        event.listen(engine.sync_engine, "before_cursor_execute", world._note)


@pytest.fixture
def run(
    world: Any, request: pytest.FixtureRequest, tmp_path: Any
) -> Callable[[Callable[[AsyncWorld], Awaitable[None]]], None]:
    """Runs a coroutine function on the world, and checks that it left nothing plain."""

    def run(work: Callable[[AsyncWorld], Awaitable[None]]) -> None:
        if world.engine.dialect.name == "sqlite":
            file = tmp_path / "async.db"
            source = world.engine.raw_connection().driver_connection
            file.write_bytes(source.serialize())
            url = make_url(f"sqlite+aiosqlite:///{file}")
        else:
            url = world.engine.url.set(drivername="postgresql+asyncpg")

        async def main() -> None:
            engine = create_async_engine(url, poolclass=NullPool)
            world.vault.keys.cached.clear()
            try:
                await work(AsyncWorld(world, engine))
            finally:
                await engine.dispose()

        asyncio.run(main())
        gc.collect()  # so that what was left behind is told in its own test
        world.assert_sealed()

    return run


def test_what_was_loaded_is_read_without_io(run):
    """Entities, children, columns and streams; each key came with its rows."""

    async def work(w: AsyncWorld) -> None:
        m = w.m
        async with w.Session() as session:
            with w.access():
                statement = select(m.Customer).options(selectinload(m.Customer.invoices))
                ada = (await session.scalars(statement.order_by(m.Customer.id))).first()
                w.world.sent.clear()
                assert (ada.name, ada.email) == (ADA, "ada@geheim.example")
                assert [each.address for each in ada.invoices] == ["12 Geheim St", None]
                assert w.world.sent == []
                names = await session.scalars(select(m.Customer.name).order_by(m.Customer.id))
                assert names.all() == [ADA, "Grace Geheim"]
                found = select(m.Customer).where(m.Customer.email == "GRACE@geheim.example")
                assert (await session.scalars(found)).one().name == "Grace Geheim"
                visits = await session.stream_scalars(select(m.Visit))
                assert [each.page async for each in visits] == ["/geheim"]
                pages = await session.stream(select(m.Visit.page, m.Visit.id))
                assert [tuple(row) async for row in pages] == [("/geheim", 1)]
                assert (await session.get(m.Setting, "theme")).value == "geheim theme"

    run(work)


def test_writing(run):
    """Add, assign, bulk insert and update by key, commit, and read again."""

    async def work(w: AsyncWorld) -> None:
        m = w.m
        async with w.Session(expire_on_commit=False) as session:
            with w.access():
                eve = m.Customer(name="Eve Geheim", invoices=[m.Invoice(address="geheim 9")])
                session.add(eve)
                await session.commit()
                assert (eve.name, eve.invoices[0].address) == ("Eve Geheim", "geheim 9")
                await session.execute(insert(m.Customer), [{"name": "Bob Geheim"}])
                await session.execute(update(m.Customer), [{"id": 1, "name": "Ada King Geheim"}])
                made = await session.scalars(
                    insert(m.Customer).values(name="Zoe Geheim").returning(m.Customer)
                )
                assert made.one().name == "Zoe Geheim"
                ada = await session.get(m.Customer, 1)
                await session.refresh(ada)
                assert ada.name == "Ada King Geheim"
                ada.phone = "+44 7946"
                await session.commit()
        w.keys.cached.clear()
        async with w.Session() as session:
            with w.access():
                rows = await session.execute(
                    select(m.Customer.name, m.Customer.phone).order_by(m.Customer.id)
                )
                assert rows.all()[0] == ("Ada King Geheim", "+44 7946")

    run(work)


@UNAWAITED
def test_expired_and_deferred_attributes_need_an_awaitable(run):
    """As in SQLAlchemy they can't be loaded by reading; refresh() and awaitable attributes can."""

    async def work(w: AsyncWorld) -> None:
        async with w.Session() as session:
            with w.access():
                ada = await session.get(w.m.Customer, 1, options=[defer(w.m.Customer.name)])
                with pytest.raises((MissingGreenlet, StatementError)):
                    assert ada.name
                await session.refresh(ada, ["name"])
                assert ada.name == ADA
                await session.commit()
                await session.refresh(ada, ["name", "subject_id"])
                assert ada.name == ADA
                assert await session.run_sync(lambda _: ada.letter) == "Dear geheim"

    run(work)


@UNAWAITED
def test_rows_loaded_before_the_access_name_the_remedy(run):
    """Their keys aren't at hand; prefetch() in run_sync brings them."""

    async def work(w: AsyncWorld) -> None:
        async with w.Session() as session:
            ada = await session.get(w.m.Customer, 1)
            with w.access() as access:
                with pytest.raises(KeyUnavailable) as refused:
                    assert ada.name
                assert "prefetch" in refused.value.hint
                await session.run_sync(lambda _: access.prefetch([ada]))
                assert ada.name == ADA

    run(work)


@UNAWAITED
def test_rows_loaded_without_their_place_name_the_remedy(run):
    """load_only() of personal fields leaves out the subject, which reading can't fetch."""

    async def work(w: AsyncWorld) -> None:
        async with w.Session() as session:
            with w.access():
                only = load_only(w.m.Customer.name)
                ada = (await session.scalars(select(w.m.Customer).options(only))).first()
                with pytest.raises(KeyUnavailable) as refused:
                    assert ada.name
                assert "refresh" in refused.value.hint
                await session.refresh(ada, ["subject_id"])
                assert ada.name == ADA

    run(work)


def test_without_an_access_and_what_cannot_work(run):
    """The same refusals as in a Session."""

    async def work(w: AsyncWorld) -> None:
        m = w.m
        async with w.Session() as session:
            ada = await session.get(m.Customer, 1)
            with pytest.raises(NoAccess):
                assert ada.name
            with pytest.raises(NoAccess):
                await session.scalars(select(m.Customer.name))
            with pytest.raises(NoAccess):
                await session.execute(insert(m.Customer).values(name="Eve Geheim"))
            with w.access(), pytest.raises(UnsupportedQuery):
                await session.execute(update(m.Customer).values(name="Geheim"))

    run(work)


def test_tasks_act_for_their_own_principal(run):
    """Tasks that take turns on one loop don't see each other's access."""

    async def work(w: AsyncWorld) -> None:
        async def phone(role: str) -> set[str]:
            seen = set()
            for _ in range(5):
                async with w.Session() as session:
                    with w.access(role):
                        ada = await session.get(w.m.Customer, 1)
                        await asyncio.sleep(0)
                        seen.add(ada.phone)
            return seen

        seen = await asyncio.gather(*[phone(role) for role in ("service", "support") * 3])
        assert seen == [{"+44 20 7946 0000"}, {"***0000"}] * 3

    run(work)


def test_a_pinned_access(run):
    """vault.access(session=...) takes the AsyncSession."""

    async def work(w: AsyncWorld) -> None:
        async with w.Session() as session, w.Session() as other:
            with w.access(session=session):
                ada = await session.get(w.m.Customer, 1)
                assert ada.name == ADA
                with pytest.raises(NoAccess):
                    await other.scalars(select(w.m.Customer.name))

    run(work)


def test_every_target_can_be_attached(vault, m):
    """A sessionmaker's class, one AsyncSession, an engine; other factories stay untouched."""
    engine = create_async_engine("sqlite+aiosqlite://")

    async def work() -> None:
        for factory in (
            async_sessionmaker(engine),
            async_sessionmaker(engine, class_=type("Own", (AsyncSession,), {})),
            async_sessionmaker(engine, sync_session_class=type("Own", (Session,), {})),
        ):
            vault.attach(factory)
            assert len(factory().sync_session.dispatch.before_flush) == 1
        untouched = async_sessionmaker(engine)
        assert len(untouched().sync_session.dispatch.before_flush) == 0
        one = untouched()
        vault.attach(one)
        assert len(one.sync_session.dispatch.before_flush) == 1
        vault.attach(engine)
        assert len(AsyncSession(engine).sync_session.dispatch.before_flush) == 0
        with pytest.raises(VaultLayerError):
            vault.attach(object())
        await engine.dispose()

    asyncio.run(work())
