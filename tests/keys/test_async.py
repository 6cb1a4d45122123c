"""The same keys through asyncio drivers, one of which doesn't say how many rows went in."""

from __future__ import annotations

import asyncio
import os

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import create_async_engine

from vaultlayer.keys import tables


@pytest.mark.parametrize("driver", ["sqlite+aiosqlite", "postgresql+asyncpg", "postgresql+psycopg"])
def test_keys_through_an_asyncio_driver(request, driver):
    """Made, found again, raced for and fetched as through any other driver."""
    database = "postgres" if driver.startswith("postgresql") else "sqlite"
    engine = request.getfixturevalue(f"{database}_engine")
    world = type(request.getfixturevalue("world"))(engine)
    subjects = [os.urandom(16) for _ in range(1200)]

    def work(connection):
        made = world.keys.active(connection, "", subjects[:1100], fresh=True)
        more = world.keys.active(connection, "", subjects, fresh=True)
        assert all(more[subject].key_id == key.key_id for subject, key in made.items())
        return [key.key_id for key in more.values()]

    async def main():
        asynchronous = create_async_engine(engine.url.set(drivername=driver))
        async with asynchronous.begin() as connection:
            ids = await connection.run_sync(work)
        async with asynchronous.connect() as connection:
            fetched = await connection.run_sync(world.process().fetch, ids)
        await asynchronous.dispose()
        return set(fetched) == set(ids)

    assert asyncio.run(main())
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(tables.subject_key)) == 1200
