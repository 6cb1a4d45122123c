"""A provider that isn't ours: its discovery, its published keys, its access tokens (RFC 9068)."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from vaultlayer.access.jwks import PAUSE
from vaultlayer.access.tokens import TokenVerifier
from vaultlayer.errors import AccessDenied

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def provider() -> Iterator[httpx.Client]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = [sys.executable, str(Path(__file__).with_name("issuer.py")), str(port)]
    process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            deadline = time.monotonic() + 20
            while True:
                try:
                    client.get("/keys")
                    break
                except httpx.TransportError:
                    assert time.monotonic() < deadline and process.poll() is None
                    time.sleep(0.05)
            yield client
    finally:
        process.terminate()
        process.wait(10)


def test_a_providers_tokens_open_what_their_roles_may(
    provider: httpx.Client, sites: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by discovery, verified by its published keys, mapped; a rotation is followed, and the
    withdrawn key is refused."""
    found = provider.get("/.well-known/openid-configuration").json()
    now = [1000.0]
    verifier = TokenVerifier(
        found["issuer"], "app", ["ES256"], jwks=found["jwks_uri"], typ="at+jwt",
        roles_claim=["realm_access", "roles"], tenant_claim="org",
    )  # fmt: skip
    keys: Any = verifier._key_for
    keys._clock = lambda: now[0]
    site = sites("fastapi")
    monkeypatch.setattr(site.vault, "tokens", verifier)

    def token_for(client: str) -> str:
        answer = provider.post(
            "/token",
            data={"grant_type": "client_credentials", "scope": "api"},
            auth=(client, client),
        )
        return str(answer.json()["access_token"])

    def ask(token: str) -> httpx.Response:
        answer: httpx.Response = site.get("/people/1", {"Authorization": f"Bearer {token}"})
        return answer

    old = token_for("support")
    assert ask(old).json() == {"name": "Ada Lovelace", "phone": "***0193"}
    principal = verifier.verify(old)
    assert (principal.sub, principal.client, principal.tenant) == ("support", "support", "acme")
    assert ask(token_for("marketer")).json()["reason"] == "role"

    provider.post("/rotate")
    now[0] += PAUSE
    assert ask(token_for("support_lead")).json()["phone"] == "+44 20 7946 0193"
    refused = ask(old)
    assert (refused.status_code, refused.json()["reason"]) == (401, "token_signature")
    with pytest.raises(AccessDenied):
        TokenVerifier(found["issuer"], "another app", ["ES256"], jwks=found["jwks_uri"]).verify(
            token_for("support")
        )
