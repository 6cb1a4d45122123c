"""OTLP and NATS JetStream receive the log; Prometheus and OpenTelemetry read the figures."""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from vaultlayer import AccessDenied, ConfigurationError, Principal
from vaultlayer.audit.sinks.opening import open_sink
from vaultlayer.audit.sinks.sink import Record
from vaultlayer.metrics import figures


@pytest.fixture
def busy(shop):
    """A shop after a write of four values, reads of six, and a refusal of two."""
    shop.add("Zenobia", "Ada")
    shop.read("name", "phone", reason="ticket 4711")
    shop.read("name")
    for _ in range(2):
        with pytest.raises(AccessDenied):
            shop.read("name", as_=Principal("mona", ["marketer"]), purpose="direct_marketing")
    return shop


@pytest.fixture
def records(busy):
    (path,) = (busy.vault.settings.audit_directory / "log").glob("*.jsonl")
    return [Record.of(line, "native") for line in path.read_bytes().splitlines()]


class Collector(BaseHTTPRequestHandler):
    """Takes OTLP requests; ``server.reject`` and ``server.status`` say how it answers."""

    def do_POST(self):
        from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs

        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = logs.ExportLogsServiceResponse()
        answer.partial_success.rejected_log_records = self.server.reject
        told = answer.SerializeToString()
        if self.server.status == 200 and not self.server.reject:
            request = logs.ExportLogsServiceRequest.FromString(body)
            self.server.got.append((self.path, request))
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, *_):
        pass


@pytest.fixture
def collector():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    server.got, server.reject, server.status = [], 0, 200
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_otlp_sends_log_records_and_heeds_the_answer(records, collector):
    """One request a batch; a refusal of the whole or of a part is a failure."""
    with closing(open_sink(f"otlp+http://127.0.0.1:{collector.server_address[1]}")) as sink:
        for collector.status, collector.reject in ((503, 0), (200, 1)):
            with pytest.raises(ConnectionError):
                sink.send(records)
        collector.status, collector.reject = 200, 0
        sink.send(records[:2])
        sink.send(records[2:])
    assert [path for path, _ in collector.got] == ["/v1/logs"] * 2
    told = [
        record
        for _, request in collector.got
        for record in request.resource_logs[0].scope_logs[0].log_records
    ]
    assert [record.body.string_value.encode() for record in told] == [r.body for r in records]
    assert [r.event_name for r in told] == [f"vaultlayer.{r.event['event']}" for r in records]
    refused = next(r for r in told if '"deny"' in r.body.string_value)
    assert refused.severity_number == 13
    assert {a.key: a.value.string_value for a in refused.attributes}["user.id"] == "mona"
    assert all(record.time_unix_nano > 10**18 for record in told)


@pytest.fixture
def stream(missing_part):
    """A JetStream stream of the test's own: its subject, and what it holds."""
    nats = pytest.importorskip("nats")
    name = f"vaultlayer-{secrets.token_hex(6)}"

    async def run(work):
        client = await nats.connect("nats://127.0.0.1:4222", connect_timeout=2)
        try:
            return await work(client.jetstream(timeout=2))
        finally:
            await client.close()

    async def read(js):
        told = await js.stream_info(name)
        got = [await js.get_msg(name, seq) for seq in range(1, told.state.messages + 1)]
        return [message.data for message in got]

    try:
        asyncio.run(run(lambda js: js.add_stream(name=name, subjects=[f"{name}.audit"])))
    except Exception:
        missing_part("NATS JetStream at 127.0.0.1:4222")
    yield f"{name}.audit", lambda: asyncio.run(run(read))
    asyncio.run(run(lambda js: js.delete_stream(name)))


def test_nats_jetstream_has_each_record_once(records, stream):
    """Acknowledged by the stream, which drops what is sent twice."""
    subject, held = stream
    with closing(open_sink(f"nats://127.0.0.1:4222/{subject}")) as sink:
        sink.send(records[:3])
        sink.send(records[1:])
    assert held() == [record.body for record in records]


def test_nats_without_a_stream_is_a_failure(records, stream):
    """A subject nobody keeps acknowledges nothing."""
    subject, held = stream
    with (
        closing(open_sink(f"nats://127.0.0.1:4222/{subject}.nobody")) as sink,
        pytest.raises(Exception, match="no response from stream"),
    ):
        sink.send(records)
    assert held() == []


@pytest.mark.parametrize("url", ["otlp://h:1", "otlp+http:", "nats:", "nats://h", "nats://h/a.*"])
def test_wrong_urls_are_refused(url):
    """Before anything is sent."""
    with pytest.raises(ConfigurationError):
        open_sink(url)


def test_figures_come_from_what_was_logged(busy):
    """Decisions and refusals by kind, the key cache, no lag; no name of anybody in a label."""
    told = {(f.name, *f.labels.values()): f.value for f in figures(busy.vault)}
    assert told["vaultlayer_values_total", "write", "allow"] == 4
    assert told["vaultlayer_values_total", "read", "allow"] == 4
    assert told["vaultlayer_values_total", "read", "mask"] == 2
    assert told["vaultlayer_values_total", "read", "deny"] == 2
    assert told["vaultlayer_refusals_total", "read", "consent_missing"] == 2
    assert told["vaultlayer_journal_lag_seconds",] == 0
    assert told["vaultlayer_keys_cached",] >= 2
    assert "sam" not in str(told)
    with (
        busy.sessions() as session,
        busy.vault.access(Principal("sam", ["support"]), purpose="customer_service"),
    ):
        assert session.query(busy.Customer).first().name
        lag = {f.name: f.value for f in figures(busy.vault)}["vaultlayer_journal_lag_seconds"]
        assert 0 < lag < 60


def test_the_key_caches_hits_can_be_told(busy):
    """Keys that records needed, and those of them that had to be fetched."""

    def keys():
        told = {figure.name: figure.value for figure in figures(busy.vault)}
        return told["vaultlayer_keys_used_total"], told["vaultlayer_keys_opened_total"]

    used, opened = keys()
    busy.read("name")
    assert keys() == (used + 2, opened), "two people, both at hand"
    busy.vault.keys.cached.clear()
    busy.read("name")
    assert keys() == (used + 4, opened + 2)


def test_prometheus_scrapes_them(busy):
    """In the text format, as its own client writes and reads it."""
    prometheus = pytest.importorskip("prometheus_client")
    from prometheus_client.parser import text_string_to_metric_families

    from vaultlayer_adapters.prometheus import VaultCollector

    registry = prometheus.CollectorRegistry()
    registry.register(VaultCollector(busy.vault))
    text = prometheus.generate_latest(registry).decode()
    samples = {
        (s.name, *sorted(s.labels.items())): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }
    now = {(f.name, *sorted(f.labels.items())): f.value for f in figures(busy.vault)}
    assert samples == now


def test_opentelemetry_reads_them(busy):
    """Through observable instruments of the application's own meter provider."""
    sdk = pytest.importorskip("opentelemetry.sdk.metrics")
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    from vaultlayer_adapters.opentelemetry import COUNTERS, GAUGES, observe

    reader = InMemoryMetricReader()
    observe(busy.vault, sdk.MeterProvider([reader]))
    told = json.loads(reader.get_metrics_data().to_json())
    metrics = told["resource_metrics"][0]["scope_metrics"][0]["metrics"]
    points = {m["name"]: m["data"]["data_points"] for m in metrics}
    values = {p["attributes"]["decision"]: p["value"] for p in points["vaultlayer.values"]
              if p["attributes"]["event"] == "read"}  # fmt: skip
    assert values == {"allow": 4, "mask": 2, "deny": 2}
    assert points["vaultlayer.keys_cached"][0]["value"] >= 2
    known = {f.name for f in figures(busy.vault)}
    offered = {f"vaultlayer_{n}_total" for n in COUNTERS} | {f"vaultlayer_{n}" for n in GAUGES}
    assert known <= offered
