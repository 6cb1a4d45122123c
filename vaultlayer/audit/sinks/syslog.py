"""``syslog`` — RFC 5424 messages over UDP, TCP, TLS or a local socket.

``syslog:/dev/log``, ``syslog://host:514`` (UDP, RFC 5426), ``syslog+tcp://host:601`` (RFC 6587,
octet counting), ``syslog+tls://host:6514`` (RFC 5425). None of them acknowledges: a required sink
is refused over UDP, and over TCP a record counts as delivered once the kernel has it.
"""

from __future__ import annotations

import os
import socket
import ssl
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from vaultlayer.audit.files import DEADLINE
from vaultlayer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vaultlayer.audit.sinks.sink import Record

_AUDIT = 13  # the facility "log audit"
_ALERT, _WARNING, _INFO = 1, 4, 6
_PORTS = {"syslog": 514, "syslog+tcp": 601, "syslog+tls": 6514}
_BOM = b"\xef\xbb\xbf"  # RFC 5424 section 6.4: what follows is UTF-8


class SyslogSink:
    """One message a record: facility 13, MSGID the event, the JSON as its text."""

    def __init__(self, scheme: str, host: str, port: int, path: str) -> None:
        self._scheme, self._host, self._port, self._path = scheme, host, port, path
        self._is_stream = scheme != "syslog"
        self._socket: socket.socket | None = None
        name = socket.gethostname().encode("ascii", "replace").decode() or "-"
        self._origin = f"{name} vaultlayer {os.getpid()}"

    @classmethod
    def open(cls, url: str) -> Self:
        try:
            parts = urlsplit(url)
            port = parts.port or _PORTS[parts.scheme]
        except (KeyError, ValueError):
            parts, port = urlsplit(""), 0
        if not port or not (parts.hostname or (parts.scheme == "syslog" and parts.path)):
            raise ConfigurationError(
                "the syslog sink's url can't be used",
                hint="syslog:/dev/log, syslog://host:514, syslog+tcp://host or syslog+tls://host",
            )
        return cls(parts.scheme, parts.hostname or "", port, parts.path)

    @property
    def acknowledges(self) -> bool:
        """Whether a failure is seen at all: not over UDP."""
        return self._is_stream or not self._host

    def send(self, records: Sequence[Record]) -> None:
        self._socket = self._socket or self._connect()
        messages = [self._message(record) for record in records]
        if self._is_stream:
            self._check_peer(self._socket)
            self._socket.sendall(b"".join(b"%d %b" % (len(each), each) for each in messages))
        else:
            for message in messages:
                self._socket.send(message)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def _connect(self) -> socket.socket:
        if not self._host:
            local = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            local.connect(self._path)
            return local
        if not self._is_stream:
            family, kind, protocol, _, address = socket.getaddrinfo(
                self._host, self._port, type=socket.SOCK_DGRAM
            )[0]
            datagrams = socket.socket(family, kind, protocol)
            datagrams.connect(address)
            return datagrams
        stream = socket.create_connection((self._host, self._port), timeout=DEADLINE)
        if self._scheme == "syslog+tls":
            context = ssl.create_default_context()
            return context.wrap_socket(stream, server_hostname=self._host)
        return stream

    def _check_peer(self, stream: socket.socket) -> None:
        """Notice a receiver that has gone: it never writes, so what can be read is its farewell."""
        stream.setblocking(False)
        try:
            if stream.recv(1) == b"":
                raise ConnectionResetError
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        finally:
            stream.settimeout(DEADLINE)

    def _message(self, record: Record) -> bytes:
        event = record.event
        priority = _AUDIT * 8 + _severity(event)
        head = f"<{priority}>1 {event['ts']} {self._origin} {event['event'][:32]} - "
        return head.encode("ascii", "replace") + _BOM + record.body


def _severity(event: Mapping[str, Any]) -> int:
    if event["event"] == "alarm":
        return _ALERT
    return _WARNING if event.get("outcome") in ("refused", "error") else _INFO
