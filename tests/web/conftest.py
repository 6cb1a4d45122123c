"""Each framework's application over one database and vault, and tokens for its callers."""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import jwt
import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import sessionmaker

from vaultlayer import Principal, Vault
from vaultlayer.access.tokens import TokenVerifier
from vaultlayer.testing import audit_events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
SECRET = b"a secret for tests alone, of more than 32 bytes"
PEOPLE = [("Ada Lovelace", "+44 20 7946 0193"), ("Grace Hopper", "+44 20 7946 0958")]


class Site:
    """One application as its callers see it, and what the vault recorded."""

    def __init__(self, make: Callable[..., Any], folder: Path, policies: Path, models: Any) -> None:
        self.vault = Vault.ephemeral(policies=policies)
        (folder / "secret").write_bytes(SECRET)
        self.vault.tokens = TokenVerifier(
            "https://id.example", "app", ["HS256"], secret_file=folder / "secret"
        )
        url = f"{folder}/app.db"
        self.engine = create_engine(f"sqlite:///{url}", pool_size=0)  # a stream holds its own
        self.async_engine = create_async_engine(f"sqlite+aiosqlite:///{url}")
        sessions, async_sessions = sessionmaker(self.engine), async_sessionmaker(self.async_engine)
        self.vault.attach(sessions)
        self.vault.attach(async_sessions)
        self.vault.create_tables(self.engine)
        models.Base.metadata.create_all(self.engine)
        with (
            sessions() as session,
            self.vault.access(Principal("setup", ["service"]), purpose="provide_service"),
        ):
            for name, phone in PEOPLE:
                session.add(models.Person(name=name, phone=phone, card="4111 1111 1111 1111"))
            session.commit()
        self.noted: list[str] = []
        self.before = 0
        self.app = make(self.vault, sessions, async_sessions, self.noted)

    def token(self, role: str = "support", sub: str = "sam", **claims: Any) -> str:
        claims = {
            "iss": "https://id.example", "aud": "app", "sub": sub, "roles": [role],
            "exp": int(time.time()) + 60, **claims,
        }  # fmt: skip
        return jwt.encode(claims, SECRET, "HS256")

    def signed_in(self, role: str = "support", **claims: Any) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(role, **claims)}"}

    def get(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        """One request, in an event loop of its own where the application has one."""
        import asyncio

        async def ask() -> httpx.Response:
            async with self.client() as client:
                answer = await client.get(path, headers=headers)
            await self.async_engine.dispose()
            return answer

        if self.is_wsgi:
            transport = httpx.WSGITransport(self.app, raise_app_exceptions=False)
            with httpx.Client(transport=transport, base_url="http://app") as client:
                return client.get(path, headers=headers)
        return asyncio.run(ask())

    def client(self) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://app")

    @property
    def is_wsgi(self) -> bool:
        return type(self.app).__name__ == "Flask"

    def events(self, event: str = "read") -> list[dict[str, Any]]:
        """What the log tells since the test began."""
        return [each for each in audit_events(self.vault)[self.before :] if each["event"] == event]

    def close(self) -> None:
        self.vault.close()
        self.engine.dispose()


def _module(name: str) -> Any:
    sys.path.insert(0, str(HERE))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(HERE))


@pytest.fixture(scope="session")
def sites(
    tmp_path_factory: pytest.TempPathFactory, policies: Path
) -> Iterator[Callable[[str], Site]]:
    """The application of a framework, by its name: made once, and told where a test begins."""
    made: dict[str, Site] = {}

    def site_of(framework: str) -> Site:
        if framework not in made:
            models, apps = _module("web_models"), _module("web_apps")
            folder = tmp_path_factory.mktemp(framework)
            made[framework] = Site(apps.APPS[framework], folder, policies, models)
        site = made[framework]
        site.before, site.noted[:] = len(audit_events(site.vault)), []
        return site

    yield site_of
    for site in made.values():
        site.close()


@pytest.fixture(params=["starlette", "fastapi", "litestar", "flask"])
def site(sites: Callable[[str], Site], request: pytest.FixtureRequest) -> Site:
    return sites(request.param)
