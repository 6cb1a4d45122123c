"""Processes that tell each other what changed: through Redis, through PostgreSQL, and alone."""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from contextlib import contextmanager, suppress
from importlib import import_module

import pytest

from vaultlayer.errors import ConfigurationError
from vaultlayer.settings import Settings
from vaultlayer.watch import EVERYTHING, MOST, Watch

REDIS = "redis://127.0.0.1:6379/0"


class Hearer:
    """What a process heard, with the time."""

    def __init__(self, watch, topic="key"):
        self.heard = []
        self._news = threading.Condition()
        watch.on(topic, self.hear)

    def hear(self, payload):
        with self._news:
            self.heard.append(payload)
            self._news.notify_all()

    def wait(self, payload, timeout=5):
        with self._news:
            return self._news.wait_for(lambda: payload in self.heard, timeout)


class Wire:
    """A door in front of a server, which can be shut."""

    def __init__(self, host, port):
        self._to = (host, port)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._pairs = []
        self.open = True
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            if not self.open:
                near.close()
                continue
            far = socket.create_connection(self._to)
            self._pairs.append((near, far))
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(source, target), daemon=True).start()

    def _copy(self, source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            end.close()

    def shut(self):
        self.open = False
        for pair in self._pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()

    def close(self):
        self.shut()
        self._server.close()


@pytest.fixture(params=["redis", "postgresql"])
def server(request, missing_part):
    """A server's URL, and where it listens."""
    if request.param == "redis":
        try:
            socket.create_connection(("127.0.0.1", 6379), timeout=2).close()
        except OSError:
            missing_part("Redis at 127.0.0.1:6379")
        return REDIS, ("127.0.0.1", 6379)
    engine = request.getfixturevalue("postgres_engine")
    if engine.url.host is None:
        return engine.url.render_as_string(hide_password=False), None
    url = engine.url.set(drivername="postgresql+psycopg")
    return url.render_as_string(hide_password=False), (url.host, url.port)


@contextmanager
def listening(url):
    watch = Watch.open(url)
    try:
        assert watch.listening.wait(5)
        yield watch
    finally:
        watch.close()


def test_another_process_hears_within_a_second(server):
    """A message arrives at every process, with its payload, in well under a second."""
    url, _ = server
    word = secrets.token_hex(8)
    with listening(url) as teller, listening(url) as other:
        hearers = [Hearer(teller), Hearer(other)]
        elsewhere = Hearer(other, "policy")
        started = time.monotonic()
        assert teller.publish("key", word)
        assert all(hearer.wait(word) for hearer in hearers)
        assert time.monotonic() - started < 1
        assert word not in elsewhere.heard
        for number in range(50):
            teller.publish("key", f"{word}-{number}")
        assert hearers[1].wait(f"{word}-49")
        mine = [payload for payload in hearers[1].heard if payload.startswith(f"{word}-")]
        assert mine == [f"{word}-{number}" for number in range(50)]


def test_what_may_have_been_missed_is_said(server):
    """After a broken connection a process is told to take everything for stale, and hears again."""
    url, place = server
    if place is None:
        pytest.skip("the server has no port to stand a door in front of")
    wire = Wire(*place)
    through = url.replace(f":{place[1]}", f":{wire.port}")
    try:
        with listening(url) as teller, listening(through) as behind:
            hearer = Hearer(behind)
            wire.shut()
            deadline = time.monotonic() + 10
            while behind.listening.is_set() and time.monotonic() < deadline:
                time.sleep(0.05)
            assert not behind.publish("key", "from behind the shut door")
            teller.publish("key", "missed")
            assert EVERYTHING not in hearer.heard
            wire.open = True
            assert hearer.wait(EVERYTHING, 10)
            word = secrets.token_hex(8)
            teller.publish("key", word)
            assert hearer.wait(word)
            assert "missed" not in hearer.heard
    finally:
        wire.close()


def test_a_long_payload_becomes_everything(server):
    """What the servers couldn't carry is sent as "look at everything"."""
    with listening(server[0]) as teller, listening(server[0]) as other:
        hearer = Hearer(other)
        assert teller.publish("key", "x" * MOST)
        assert hearer.wait("x" * MOST)
        assert teller.publish("key", "x" * (MOST + 1))
        assert hearer.wait(EVERYTHING)


def test_a_forked_child_hears_too(server):
    """The child has a connection of its own; the parent's goes on."""
    word = secrets.token_hex(8)
    with listening(server[0]) as watch:
        hearer = Hearer(watch)
        readable, writable = os.pipe()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                if watch.listening.wait(5):
                    os.write(writable, b"1")
                    code = 0 if hearer.wait(word, 10) else 2
            finally:
                os._exit(code)
        assert os.read(readable, 1) == b"1"
        with listening(server[0]) as teller:
            teller.publish("key", word)
            assert hearer.wait(word)
        assert os.waitpid(child, 0)[1] == 0
        os.close(readable)
        os.close(writable)


def test_strangers_on_the_channel_are_ignored(server):
    """Text that is no message of ours neither arrives nor ends the listening."""
    url, _ = server
    word = secrets.token_hex(8)
    with listening(url) as watch:
        hearer = Hearer(watch)
        _shout(url, ["no json", "1", "[]", '["key"]', '{"a": 1}', "null"])
        watch.publish("key", word)
        assert hearer.wait(word)
        time.sleep(0.1)
        assert {payload for payload in hearer.heard if payload} == {word}
        assert watch.listening.is_set()


def _shout(url, texts):
    if url.startswith("redis"):
        client = import_module("redis").Redis.from_url(url)
        for each in texts:
            client.publish("vaultlayer", each)
        client.close()
    else:
        psycopg = import_module("psycopg")
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
            for each in texts:
                connection.execute("SELECT pg_notify('vaultlayer', %s)", [each])


def test_trouble_in_a_callback_is_not_contagious(server):
    """One that raises ends neither the listening nor the others' hearing."""

    class Broken:
        def hear(self, payload):
            raise RuntimeError(payload)

    broken = Broken()
    with listening(server[0]) as watch, listening(server[0]) as teller:
        watch.on("policy", broken.hear)
        hearer = Hearer(watch)
        teller.publish("policy", "x")
        teller.publish("key", "y")
        assert hearer.wait("y")


def test_without_a_server_a_process_hears_itself():
    """publish() says that nobody else was told."""
    watch = Watch.open(None)
    hearer = Hearer(watch)
    assert not watch.publish("key", "x")
    assert hearer.heard == ["x"]


def test_a_listener_that_is_gone_is_not_kept():
    """Hearing keeps nobody alive."""
    watch = Watch.open(None)
    heard = []

    class Gone:
        def hear(self, payload):
            heard.append(payload)

    gone = Gone()
    watch.on("key", gone.hear)
    del gone
    watch.publish("key", "x")
    assert heard == []


def test_nobody_at_the_other_end_is_survived():
    """A server that isn't there delays nothing for long and breaks nothing."""
    watch = Watch.open("redis://127.0.0.1:1/0")
    try:
        hearer = Hearer(watch)
        assert not watch.publish("key", "x")
        assert hearer.heard == ["x"]
        assert not watch.listening.is_set()
    finally:
        watch.close()


@pytest.mark.parametrize("url", ["kafka://x", "x", "redis://host:notaport", "postgresql://h/?x"])
def test_a_url_that_cannot_work_is_refused(url):
    """At once, without repeating the URL, which may hold a password."""
    with pytest.raises(ConfigurationError) as caught:
        Watch.open(url)
    assert url == "x" or url not in str(caught.value)


def test_the_settings_name_it(tmp_path, monkeypatch):
    """[watch] url, or VAULTLAYER_WATCH; shown in no repr."""
    file = tmp_path / "vaultlayer.toml"
    base = '[vault]\npolicies = "p"\n[keys]\nprovider = "local:k"\n[audit]\ndirectory = "a"\n'
    file.write_text(base)
    monkeypatch.delenv("VAULTLAYER_WATCH", raising=False)
    assert Settings.load(file).watch is None
    file.write_text(base + '[watch]\nurl = "redis://:hunter2@host/0"\n')
    assert Settings.load(file).watch == "redis://:hunter2@host/0"
    assert "hunter2" not in repr(Settings.load(file))
    monkeypatch.setenv("VAULTLAYER_WATCH", "redis://other/0")
    assert Settings.load(file).watch == "redis://other/0"
