"""The starter bundle, copies of it that a test may spoil, and an issuer of tokens good and bad."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vaultlayer.access.bundle import read_bundle
from vaultlayer.access.snapshot import Snapshot
from vaultlayer.access.tokens import TokenVerifier
from vaultlayer.errors import AccessDenied

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaultlayer.access.principal import Principal

STARTER = Path(__file__).parents[2] / "policies"


@pytest.fixture(scope="session")
def starter() -> Path:
    return STARTER


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy = tmp_path / "policies"
    shutil.copytree(STARTER, copy)
    return copy


@pytest.fixture
def with_rules(folder: Path) -> Callable[[str], Snapshot]:
    """A snapshot of the starter bundle with other rules and without its tests."""

    def build(rules: str) -> Snapshot:
        (folder / "roles.csv").write_text(rules, "utf-8")
        (folder / "tests.toml").unlink(missing_ok=True)
        return Snapshot(read_bundle(folder))

    return build


class Issuer:
    """Its keys lie in ``folder``: ec.pem, ec384.pem, ed.pem, rsa.pem and secret."""

    name, audience = "https://login.example.com/", "vaultlayer-app"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secret = b"a secret of more than thirty-two bytes"
        self.keys: dict[str, Any] = {
            "ec": ec.generate_private_key(ec.SECP256R1()),
            "ec384": ec.generate_private_key(ec.SECP384R1()),
            "ed": ed25519.Ed25519PrivateKey.generate(),
            "rsa": rsa.generate_private_key(65537, 2048),
        }
        for name, private in self.keys.items():
            (folder / f"{name}.pem").write_bytes(
                private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            )
        (folder / "secret").write_bytes(self.secret + b"\n")

    def verifier(self, algorithm: str = "ES256", **settings: Any) -> TokenVerifier:
        settings = settings or {"key": self.folder / "ec.pem"}
        return TokenVerifier(self.name, self.audience, [algorithm], **settings)

    def claims(self, **changes: Any) -> dict[str, Any]:
        """A good token's claims; a change to None leaves the claim out."""
        now = int(time.time())
        good = {"iss": self.name, "aud": self.audience, "sub": "ada", "exp": now + 60, "iat": now}
        changed = {**good, "roles": ["support"], **changes}
        return {name: value for name, value in changed.items() if value is not None}

    def mint(
        self, key: Any = None, alg: str = "ES256", header: dict[str, Any] | None = None, **c: Any
    ) -> str:
        return jwt.encode(self.claims(**c), key or self.keys["ec"], alg, headers=header)

    def sign(self, payload: object, header: dict[str, Any] | bytes | None = None) -> str:
        """A rightly signed ES256 token over exactly this, however odd."""
        head = header if isinstance(header, bytes) else {"alg": "ES256", **(header or {})}
        signed = f"{self.part(head)}.{self.part(payload)}"
        algorithm = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256)
        return f"{signed}.{self.part(algorithm.sign(signed.encode(), self.keys['ec']))}"

    def by_hand(self, header: dict[str, Any], mac_key: bytes | None = None) -> str:
        """Good claims under any header, with an HMAC or with no signature."""
        signed = f"{self.part(header)}.{self.part(self.claims())}"
        mac = hmac.digest(mac_key, signed.encode(), hashlib.sha256) if mac_key is not None else b""
        return f"{signed}.{self.part(mac)}"

    @staticmethod
    def part(content: object) -> str:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    @staticmethod
    def refused(verify: Callable[[str], Principal], token: Any, reason: str) -> None:
        """Refused for this reason, and neither texts nor frames keep the token."""
        with pytest.raises(AccessDenied) as caught:
            verify(token)
        error = caught.value
        assert error.reason == reason
        assert error.hint
        told = f"{error!r} {error} {error.__cause__!r} {error.__context__!r}"
        assert not [part for part in str(token).split(".") if len(part) > 8 and part in told]
        step = error.__traceback__
        while step is not None:
            if "vaultlayer/access" in step.tb_frame.f_code.co_filename:
                assert token not in step.tb_frame.f_locals.values()
            step = step.tb_next


@pytest.fixture(scope="session")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    return Issuer(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def verify(issuer: Issuer) -> Callable[[str], Principal]:
    return issuer.verifier().verify
