"""The clinic as its callers see it: every kind of route, and the access is right in each."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import jwt
import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from vaultlayer import Vault
from vaultlayer.access.tokens import TokenVerifier
from vaultlayer.testing import assert_no_plaintext, audit_events

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
SECRET = b"for the tests of the clinic alone, 32 bytes and more"

sys.path.insert(0, str(HERE))
import clinic  # noqa: E402


class Site:
    def __init__(self, folder: Path) -> None:
        (folder / "secret").write_bytes(SECRET)
        self.vault = Vault.ephemeral(policies=HERE / "policies")
        self.vault.tokens = TokenVerifier(
            "https://id.example", "clinic", ["HS256"], secret_file=folder / "secret"
        )
        self.engine = create_engine(f"sqlite:///{folder}/clinic.db")
        self.async_engine = create_async_engine(f"sqlite+aiosqlite:///{folder}/clinic.db")
        self.app = clinic.create_app(self.vault, self.engine, async_sessionmaker(self.async_engine))

    def headers(self, role: str) -> dict[str, str]:
        claims = {
            "iss": "https://id.example", "aud": "clinic", "sub": f"{role} 1", "roles": [role],
            "exp": int(time.time()) + 60,
        }  # fmt: skip
        return {"Authorization": f"Bearer {jwt.encode(claims, SECRET, 'HS256')}"}

    def ask(self, *requests: tuple[str, str, str], **more: Any) -> list[httpx.Response]:
        """(role, method, path) each, all at once."""

        async def one(client: httpx.AsyncClient, role: str, method: str, path: str) -> Any:
            return await client.request(method, path, headers=self.headers(role), **more)

        async def everything() -> list[httpx.Response]:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://clinic") as client:
                found = await asyncio.gather(*(one(client, *each) for each in requests))
            await self.async_engine.dispose()
            return found

        return asyncio.run(everything())


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    clinic.SENT.clear()
    site = Site(tmp_path)
    for name, phone in (("Ada Lovelace", "+44 20 7946 0193"), ("Grace Hopper", "+44 20 7946 0958")):
        [made] = site.ask(("desk", "POST", "/patients"), json={"name": name, "phone": phone})
        assert made.status_code == 200
    [done] = site.ask(("doctor", "PUT", "/patients/1/diagnosis?found=measles"))
    assert done.status_code == 200
    yield site
    site.vault.close()
    site.engine.dispose()


def test_each_role_sees_its_part(site: Site) -> None:
    """Sync, async, in a thread and streamed; the desk sees no diagnosis in any of them."""
    [card] = site.ask(("desk", "GET", "/patients/1"))
    assert card.json() == {"name": "Ada Lovelace", "phone": "***0193"}
    paths = ("/patients/1/diagnosis", "/patients/1/letter", "/patients.csv")
    told = [answer.text for answer in site.ask(*(("doctor", "GET", path) for path in paths))]
    assert told == [
        '"measles"', '"Dear Ada Lovelace, measles."', "Ada Lovelace,measles\nGrace Hopper,\n",
    ]  # fmt: skip
    for answer in site.ask(*(("desk", "GET", path) for path in paths)):
        assert (answer.status_code, answer.json()["reason"]) == (403, "role")


def test_many_at_once_stay_apart(site: Site) -> None:
    """Forty callers of two roles, mixed: each gets its own answer."""
    requests = [
        (("desk", "GET", "/patients/2"), ("doctor", "GET", "/patients/1/diagnosis"))[n % 2]
        for n in range(40)
    ]
    for (role, _, _), answer in zip(requests, site.ask(*requests), strict=True):
        mine = {"name": "Grace Hopper", "phone": "***0958"} if role == "desk" else "measles"
        assert answer.json() == mine


def test_a_reminder_is_the_mailers_own_doing(site: Site) -> None:
    """In the background, after the answer, under its own name and reason."""
    [answer] = site.ask(("desk", "POST", "/patients/1/reminder"))
    assert answer.text == '"Ada Lovelace will be reminded"'
    assert clinic.SENT == ["To +44 20 7946 0193: Ada Lovelace, see you tomorrow"]
    reads = [event for event in audit_events(site.vault) if event["event"] == "read"]
    assert {e["reason"] for e in reads if e["actor"]["sub"] == "mailer"} == {"reminder"}
    assert {e["actor"]["sub"] for e in reads} == {"desk 1", "mailer"}


def test_nobody_without_a_token_and_nothing_in_plain_sight(site: Site, tmp_path: Path) -> None:
    """Health needs none; the file holds nobody's name."""
    transport = httpx.ASGITransport(site.app)

    async def ask() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=transport, base_url="http://clinic") as client:
            return [await client.get(path) for path in ("/health", "/patients/1")]

    health, card = asyncio.run(ask())
    assert (health.status_code, card.status_code) == (200, 401)
    assert_no_plaintext(tmp_path / "clinic.db", ["Ada Lovelace", "7946 0193", "measles"])
