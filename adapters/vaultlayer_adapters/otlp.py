"""OTLP: audit records as OpenTelemetry log records over HTTP (``otlp+http://host:4318``).

``otlp+https://`` is the same over TLS. The collector's answer acknowledges a batch; records it
rejects count as a failure, so they are sent again.
"""

from __future__ import annotations

from datetime import datetime
from http.client import HTTPConnection, HTTPSConnection
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from vaultlayer.errors import ConfigurationError
from vaultlayer.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from vaultlayer.audit.sinks.sink import Record

_PATH = "/v1/logs"
_TIMEOUT = 10.0  # seconds
_INFO, _WARN, _FATAL = 9, 13, 21  # SeverityNumber of the logs data model
_NAMED = ("shard", "seq", "purpose", "entity", "decision", "outcome", "reason_code", "access")


class OtlpSink:
    """Sends a batch in one request, over one connection that is kept."""

    def __init__(self, connection: HTTPConnection, path: str) -> None:
        self._connection, self._path = connection, path

    @classmethod
    def open(cls, url: str) -> Self:
        parts = urlsplit(url)
        kinds = {"otlp+http": HTTPConnection, "otlp+https": HTTPSConnection}
        if parts.scheme not in kinds or not parts.hostname:
            raise ConfigurationError(
                "the OTLP sink's url can't be used", hint="e.g. otlp+http://collector:4318"
            )
        connection = kinds[parts.scheme](parts.hostname, parts.port or 4318, timeout=_TIMEOUT)
        return cls(connection, parts.path.rstrip("/") or _PATH)

    def send(self, records: Sequence[Record]) -> None:
        body = _request(records).SerializeToString()
        headers = {"Content-Type": "application/x-protobuf"}
        self._connection.request("POST", self._path, body, headers)
        answer = self._connection.getresponse()
        told = answer.read()
        if answer.status != 200:
            raise ConnectionError(f"the collector answered {answer.status}")
        if ExportLogsServiceResponse.FromString(told).partial_success.rejected_log_records:
            raise ConnectionError("the collector rejected records")

    def close(self) -> None:
        self._connection.close()


def _request(records: Iterable[Record]) -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    _put(resource.resource.attributes, "service.name", "vaultlayer")
    scope = resource.scope_logs.add()
    scope.scope.name, scope.scope.version = "vaultlayer.audit", __version__
    scope.log_records.extend(map(_log_record, records))
    return request


def _log_record(record: Record) -> LogRecord:
    event = record.event
    made = LogRecord(
        time_unix_nano=round(datetime.fromisoformat(event["ts"]).timestamp() * 10**6) * 1000,
        severity_number=_severity(event),
        event_name=f"vaultlayer.{event['event']}",
        trace_id=bytes.fromhex(event.get("trace", "")),
    )
    made.body.string_value = record.body.decode()
    for name in _NAMED:
        if name in event:
            _put(made.attributes, f"vaultlayer.{name}", event[name])
    actor = (event.get("actor") or {}).get("sub")
    if actor:
        _put(made.attributes, "user.id", actor)
    return made


def _put(attributes: Any, name: str, value: str | int) -> None:
    one = attributes.add(key=name)
    if isinstance(value, int):
        one.value.int_value = value
    else:
        one.value.string_value = value


def _severity(event: Mapping[str, Any]) -> Any:
    if event["event"] == "alarm":
        return _FATAL
    return _WARN if event.get("outcome") in ("refused", "error") else _INFO
