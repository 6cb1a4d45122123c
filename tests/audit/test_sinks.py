"""stdout, table and syslog receive what the log has."""

from __future__ import annotations

import json
import re
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from sqlalchemy import create_engine, select, text
from sqlalchemy.exc import SQLAlchemyError

from vaultlayer import AccessDenied, Principal, Vault
from vaultlayer.audit.sinks.opening import open_sink
from vaultlayer.audit.sinks.sink import Record
from vaultlayer.audit.sinks.table import TableSink, audit
from vaultlayer.keys.provider import MemoryProvider
from vaultlayer.settings import SinkSettings


@pytest.fixture
def lines(shop):
    """The lines of a log with a write, reads allowed and masked, and a refusal."""
    shop.add("Zenobia", "Åsa")
    shop.read("name", "phone", reason="ticket 4711: „ä“", request_id="r-1")
    with pytest.raises(AccessDenied):
        shop.read("name", as_=Principal("mona", ["marketer"]), purpose="direct_marketing")
    (path,) = (shop.vault.settings.audit_directory / "log").glob("*.jsonl")
    return path.read_bytes().splitlines()


def records(lines, form="native"):
    return [Record.of(line, form) for line in lines]


def test_natively_a_record_is_the_very_bytes_of_the_log(lines):
    """So a receiver can verify the chain too."""
    assert [record.body for record in records(lines)] == lines


def test_stdout_is_the_descriptor_not_sys_stdout(lines):
    """A line a record, whatever the program does with sys.stdout."""
    program = """if 1:
        import sys
        from vaultlayer.audit.sinks.opening import open_sink
        from vaultlayer.audit.sinks.sink import Record
        lines = sys.stdin.buffer.read().splitlines()
        sink = open_sink("stdout:")
        sys.stdout = None
        sink.send([Record.of(line, "native") for line in lines])
        sink.close()
    """
    told = subprocess.run(
        [sys.executable, "-c", program], input=b"\n".join(lines), capture_output=True, check=True
    )
    assert told.stdout.splitlines() == lines


@pytest.mark.parametrize("database", ["sqlite", "postgres_engine", "mariadb_engine"])
def test_the_table_has_each_record_once(database, request, lines, tmp_path):
    """Made where it is missing; records that come twice are there once."""
    if database == "sqlite":
        engine = create_engine(f"sqlite:///{tmp_path / 'siem.db'}")
    else:
        engine = request.getfixturevalue(database)
    url = engine.url.render_as_string(hide_password=False)
    sink = open_sink(f"table:{url}")
    sink.send(records(lines[:3]))
    sink.send(records(lines[1:], "ecs"))
    sink.close()
    with engine.connect() as connection:
        rows = connection.execute(select(audit).order_by(audit.c.seq)).all()
    assert [row.seq for row in rows] == list(range(len(lines)))
    assert [row.body.encode() for row in rows[:3]] == lines[:3]
    assert (rows[2].event, rows[2].actor, rows[2].decision) == ("read", "sam", "allow")
    assert json.loads(rows[4].body)["ecs"]["version"]
    engine.dispose()


def test_a_table_that_fails_half_way_is_whole_after_the_next_attempt(lines, tmp_path):
    """All of a batch or nothing; its error names no values and no password."""
    engine = create_engine(f"sqlite:///{tmp_path / 'siem.db'}")
    sink = TableSink(engine)
    sink.send(records(lines[:1]))
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE vaultlayer_audit RENAME TO away"))
    with pytest.raises(SQLAlchemyError) as caught:
        sink.send(records(lines))
    assert "sam" not in str(caught.value)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE away RENAME TO vaultlayer_audit"))
    sink.send(records(lines))
    with engine.connect() as connection:
        assert len(connection.execute(select(audit)).all()) == len(lines)
    sink.close()


MESSAGE = re.compile(
    rb"<(\d+)>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) (\S+) vaultlayer (\d+) (\S+) - "
    rb"\xef\xbb\xbf(.*)",
    re.DOTALL,
)


def parsed(messages):
    """(facility, severity, MSGID, JSON) of RFC 5424 messages, each checked for its form."""
    matches = [MESSAGE.fullmatch(message) for message in messages]
    assert all(matches)
    return [(int(m[1]) // 8, int(m[1]) % 8, m[5].decode(), json.loads(m[6])) for m in matches]


def check_messages(messages, lines):
    told = parsed(messages)
    assert [body for *_, body in told] == [json.loads(line) for line in lines]
    assert {facility for facility, *_ in told} == {13}
    assert [name for _, _, name, _ in told] == [json.loads(line)["event"] for line in lines]
    severities = {body.get("outcome"): severity for _, severity, _, body in told}
    assert severities == {None: 6, "success": 6, "refused": 4}


@pytest.mark.parametrize("local", [True, False])
def test_syslog_datagrams(lines, tmp_path, local):
    """One message a datagram, over UDP and to a local socket."""
    family = socket.AF_UNIX if local else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "log") if local else ("127.0.0.1", 0))
        server.settimeout(5)
        host = f"syslog:{tmp_path / 'log'}" if local else None
        sink = open_sink(host or f"syslog://127.0.0.1:{server.getsockname()[1]}")
        sink.send(records(lines))
        check_messages([server.recv(65536) for _ in lines], lines)
        sink.close()


class Collector(socketserver.ThreadingTCPServer):
    """Takes RFC 6587 frames until the connection ends."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, context=None):
        self.frames, self.context, self.connections = [], context, []
        super().__init__(("127.0.0.1", 0), None)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def get_request(self):
        connection, address = super().get_request()
        wrapped = (
            self.context.wrap_socket(connection, server_side=True) if self.context else connection
        )
        self.connections.append(wrapped)
        return wrapped, address

    def finish_request(self, request, client_address):
        stream = request.makefile("rb")
        while digits := b"".join(iter(lambda: stream.read(1).strip(b" "), b"")):
            self.frames.append(stream.read(int(digits)))

    def wait_for(self, count):
        for _ in range(500):
            if len(self.frames) >= count:
                return self.frames
            threading.Event().wait(0.01)
        raise AssertionError(f"{len(self.frames)} frames came")


def test_syslog_over_tcp_counts_octets_and_notices_a_lost_receiver(lines):
    """RFC 6587 frames; when the receiver has closed, send raises and doesn't lose records."""
    with Collector() as server:
        sink = open_sink(f"syslog+tcp://127.0.0.1:{server.server_address[1]}")
        sink.send(records(lines[:2]))
        server.wait_for(2)
        server.connections[0].shutdown(socket.SHUT_RDWR)
        for _ in range(100):
            try:
                sink.send(records(lines[2:]))
            except OSError:
                break
            threading.Event().wait(0.01)
        else:
            pytest.fail("the lost receiver went unnoticed")
        sink.close()
        again = open_sink(f"syslog+tcp://127.0.0.1:{server.server_address[1]}")
        again.send(records(lines[2:]))
        frames = server.wait_for(len(lines))
        again.close()
        check_messages(frames[:2] + frames[-len(lines) + 2 :], lines)
        server.shutdown()


def certify(folder):
    """cert.pem and key.pem for localhost, signed by themselves."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )


def test_syslog_over_tls_checks_the_certificate(lines, tmp_path, monkeypatch):
    """A receiver that can't prove its name gets nothing."""
    certify(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with Collector(context) as server:
        server.handle_error = lambda *_: None
        url = f"syslog+tls://localhost:{server.server_address[1]}"
        with pytest.raises(ssl.SSLCertVerificationError):
            open_sink(url).send(records(lines))
        assert server.frames == []
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        sink = open_sink(url)
        sink.send(records(lines))
        check_messages(server.wait_for(len(lines)), lines)
        sink.close()
        server.shutdown()


def test_the_sinks_of_the_settings_are_opened_by_the_vault(shop, tmp_path, policies):
    """From [[audit.sinks]] to rows in a table, through Vault.open's own way."""
    url = f"sqlite:///{tmp_path / 'siem.db'}"
    sinks = (SinkSettings(f"table:{url}", required=True, format="ocsf"),)
    settings = replace(shop.vault.settings, audit_directory=tmp_path / "trail", sinks=sinks)
    with Vault(settings, MemoryProvider()) as vault:
        own = type(shop)(vault, create_engine(f"sqlite:///{tmp_path / 'own.db'}"))
        own.add("Zenobia")
        assert own.read("name") == ["Zenobia"]
        engine = create_engine(url)
        with engine.connect() as connection:
            rows = connection.execute(
                select(audit.c.event, audit.c.body).order_by(audit.c.seq)
            ).all()
        assert [row.event for row in rows] == ["open", "access", "write", "access", "read"]
        assert {json.loads(row.body)["class_uid"] for row in rows} == {6005}
    engine.dispose()
    own.engine.dispose()
