"""Consent with asyncio: brought along when rows are loaded, so that reading does no I/O."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from vaultlayer import AccessDenied, Principal, Vault

MONA = Principal("mona", ["marketer"])
SHOP = Principal("shop", ["service"])


@pytest.fixture
def run(bundle, tmp_path, shop):
    """Runs a coroutine function with a vault and sessions of a database of its own."""
    pytest.importorskip("aiosqlite")

    def start(work):
        async def main():
            engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/async.db")
            sessions = async_sessionmaker(engine)
            with Vault.ephemeral(policies=bundle) as vault:
                vault.attach(sessions)
                async with engine.begin() as connection:
                    await connection.run_sync(vault.create_tables)
                    await connection.run_sync(shop.Buyer.metadata.create_all)
                await work(vault, sessions)
            await engine.dispose()

        asyncio.run(main())

    return start


def test_loading_brings_consents_along(run, shop):
    """Attributes, reveal and columns; a change within the access asks for a new load."""
    async def work(vault, sessions):
        async with sessions() as session:
            with vault.access(SHOP, purpose="provide_service"):
                buyers = [shop.Buyer(name=f"Ada {n}", email=f"{n}@example.com") for n in range(3)]
                session.add_all(buyers)
                await session.commit()
                found = await session.scalars(select(shop.Buyer).order_by(shop.Buyer.id))
                people = [buyer.subject_id for buyer in found]

        async def say(said, person):
            async with sessions() as session:
                with vault.access(SHOP, purpose="provide_service"):
                    await session.run_sync(
                        lambda s: getattr(vault.consent, said)(
                            person, "direct_marketing", session=s
                        )
                    )
                    await session.commit()

        await say("grant", people[0])
        await say("grant", people[1])
        await say("withdraw", people[1])

        async with sessions() as session:
            with vault.access(MONA, purpose="direct_marketing") as access:
                rows = (await session.scalars(select(shop.Buyer).order_by(shop.Buyer.id))).all()
                told = [shop.outcome(row) for row in rows]
                assert told == ["Ada 0", "consent_withdrawn", "consent_missing"]
                assert access.can(shop.Buyer.name, rows[0])
                with pytest.raises(AccessDenied):
                    await session.scalars(select(shop.Buyer.name))
                one = select(shop.Buyer.name).where(shop.Buyer.id == rows[0].id)
                assert (await session.scalars(one)).all() == ["Ada 0"]
                await say("withdraw", people[0])
                await session.refresh(rows[0])
                assert shop.outcome(rows[0]) == "consent_withdrawn"

        vault.keys.forget()
        async with sessions() as session:
            with vault.access(SHOP, purpose="provide_service"):
                rows = (await session.scalars(select(shop.Buyer).order_by(shop.Buyer.id))).all()
                assert [row.name for row in rows] == ["Ada 0", "Ada 1", "Ada 2"]

    run(work)
