"""Sinks: each gets every record, and none holds up a read but the one that is required."""

from __future__ import annotations

import json
import os
import threading
import time

import pytest

from vaultlayer import AuditUnavailable, ConfigurationError, Principal, Vault
from vaultlayer.audit.sinks import delivery
from vaultlayer.audit.sinks.delivery import Delivery
from vaultlayer.audit.sinks.group import Sinks
from vaultlayer.audit.sinks.opening import open_sink
from vaultlayer.audit.verify import verify
from vaultlayer.settings import Settings, SinkSettings
from vaultlayer.testing import check_events

LINES = [b'{"seq":%d}' % n for n in range(5)]


class Receiver:
    """A sink whose ``works`` can be switched, and whose ``gate`` can be shut to let it hang."""

    acknowledges = True

    def __init__(self):
        self.works, self.got, self.closed, self.pause = True, [], 0, 0.0
        self.gate = threading.Event()
        self.gate.set()

    def send(self, records):
        self.gate.wait()
        time.sleep(self.pause * len(records))
        if not self.works:
            raise ConnectionError("zenobia@example.org")
        self.got += [dict(record.event) for record in records]

    def close(self):
        self.closed += 1

    def events(self, name):
        return [event for event in self.got if event["event"] == name]


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.gate.set()


@pytest.fixture
def short(monkeypatch):
    """Deadlines of a fifth of a second."""
    monkeypatch.setattr(delivery, "DEADLINE", 0.2)
    monkeypatch.setattr(delivery, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(delivery, "LONGEST_WAIT", 0.05)


@pytest.fixture
def shop_with(shop, receiver, tmp_path, policies, monkeypatch, short):
    """A shop whose vault has the receiver for its one sink."""
    opened = []

    def make(*, required, most=delivery.QUEUE):
        sinks = Sinks([Delivery("1-test", lambda: receiver, required=required, most=most)])
        monkeypatch.setattr("vaultlayer.vault.open_sinks", lambda _: sinks)
        vault = Vault.ephemeral(policies=policies)
        opened.append(vault)
        return type(shop)(vault, shop.engine)

    yield make
    receiver.gate.set()
    receiver.works = True
    for vault in opened:
        vault.close()


def until(true, seconds=5.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it didn't happen"
        time.sleep(0.005)


def log_of(shop):
    logs = sorted((shop.vault.settings.audit_directory / "log").glob("*.jsonl"))
    return [json.loads(line) for path in logs for line in path.read_bytes().splitlines()]


def test_a_sink_gets_the_log_record_by_record(shop_with, receiver):
    """All of it, in order, from the open record to the close record."""
    shop = shop_with(required=False)
    shop.add("Zenobia", "Ada")
    shop.read("name", "phone")
    directory = shop.vault.settings.audit_directory
    shop.vault.close()
    assert receiver.got == log_of(shop)
    assert receiver.got[-1]["event"] == "close"
    assert verify(directory).findings == []
    assert receiver.closed == 1


def test_a_required_sink_knows_of_an_access_before_it_opens_anything(shop_with, receiver):
    """The record of who begins and for what has arrived when the first value is released."""
    shop = shop_with(required=True)
    shop.add("Zenobia")
    seen = []
    with (
        shop.sessions() as session,
        shop.vault.access(
            Principal("sam", ["support"]), purpose="customer_service", reason="ticket 4711"
        ),
    ):
        row = session.query(shop.Customer).one()
        assert row.name == "Zenobia"
        seen = receiver.events("access")[-1]
        assert receiver.events("read") == []
    assert (seen["actor"]["sub"], seen["purpose"]) == ("sam", "customer_service")
    assert [event["access"] for event in receiver.events("read")] == [seen["access"]]
    check_events(log_of(shop))


@pytest.mark.parametrize("trouble", ["refuses", "hangs"])
def test_a_required_sink_that_fails_refuses_the_read(shop_with, receiver, trouble):
    """Nothing is released meanwhile; when it is back, it gets what it missed and reads go on."""
    shop = shop_with(required=True)
    shop.add("Zenobia")
    receiver.works = trouble != "refuses"
    if trouble == "hangs":
        receiver.gate.clear()
    began = time.monotonic()
    for _ in range(2):
        with pytest.raises(AuditUnavailable, match="1-test") as caught:
            shop.read("name")
        assert "zenobia@example.org" not in str(caught.value)
    assert time.monotonic() - began < 10
    assert shop.vault.audit.sinks()[0].failing
    receiver.works = True
    receiver.gate.set()
    until(lambda: not shop.vault.audit.sinks()[0].queued)
    assert shop.read("name") == ["Zenobia"]
    shop.vault.close()
    told = [(event["shard"], event["seq"]) for event in receiver.got]
    assert sorted(set(told)) == [(event["shard"], event["seq"]) for event in log_of(shop)]
    check_events(log_of(shop))
    assert [e["event"] for e in log_of(shop) if "sink" in e] == ["sink_failed", "sink_recovered"]


def test_an_access_that_is_open_is_refused_too_once_the_sink_is_known_to_fail(shop_with, receiver):
    """Fields it has read before are no exception; its records are in the log all the same."""
    shop = shop_with(required=True)
    shop.add("Zenobia", "Ada")
    access = shop.vault.access(Principal("sam", ["support"]), purpose="customer_service")
    with shop.sessions() as session, pytest.raises(AuditUnavailable), access:
        rows = session.query(shop.Customer).all()
        assert rows[0].name == "Zenobia"
        receiver.works = False
        with pytest.raises(AuditUnavailable):
            shop.vault.log.write("access", access="x")
        released = []
        with pytest.raises(AuditUnavailable):
            released.append(rows[1].name)
        assert released == []
    reads = [event for event in log_of(shop) if event["event"] == "read"]
    assert [len(event["refs"]) for event in reads] == [1]


def test_a_required_sink_must_be_there_at_the_start(receiver, shop_with):
    """The vault doesn't open without it."""
    receiver.works = False
    with pytest.raises(AuditUnavailable, match="required audit sink 1-test"):
        shop_with(required=True)


@pytest.mark.parametrize("trouble", ["refuses", "hangs", "is slow"])
def test_an_optional_sink_that_fails_is_reported_and_holds_up_nobody(shop_with, receiver, trouble):
    """Reads take no longer; the log, the states and the records it lost tell of it."""
    shop = shop_with(required=False, most=20)
    shop.add("Zenobia")
    receiver.works = trouble != "refuses"
    receiver.pause = 0.3 if trouble == "is slow" else 0  # a record: 18 s for those below
    if trouble == "hangs":
        receiver.gate.clear()
    began = time.monotonic()
    for _ in range(60):
        assert shop.read("name") == ["Zenobia"]
    assert time.monotonic() - began < 10
    until(lambda: shop.vault.audit.sinks()[0].lost > 20)
    (state,) = shop.vault.audit.sinks()
    assert (state.name, state.required, state.queued <= 20) == ("1-test", False, True)
    assert state.lag > 0
    if trouble == "refuses":
        assert state.failing == "ConnectionError"
        assert state.failures > 1
        until(lambda: [e for e in log_of(shop) if e["event"] == "sink_failed"])
    receiver.works, receiver.pause = True, 0
    receiver.gate.set()
    until(lambda: not shop.vault.audit.sinks()[0].queued)
    shop.vault.close()
    places = [(event["shard"], event["seq"]) for event in receiver.got]
    assert places == sorted(set(places)), "in order, with a gap, none twice"
    assert len(places) == len(log_of(shop)) - shop.vault.audit.sinks()[0].lost
    check_events(log_of(shop))


def test_a_connection_that_grew_old_is_replaced_without_a_failure(receiver):
    """The first attempt with an old connection may fail; the next is made with a new one."""
    opened = []

    def connect():
        opened.append(1)
        receiver.works = True
        return receiver

    one = Delivery("1-test", connect, required=True)
    one.put(LINES[:1])
    one.settle(time.monotonic() + 5)
    receiver.works = False
    one.put(LINES[1:])
    one.settle(time.monotonic() + 5)
    assert len(opened) == 2
    assert receiver.got == [{"seq": n} for n in range(5)]
    assert one.state().failures == 0
    one.close(time.monotonic() + 5)


def test_one_slow_sink_does_not_hold_up_another(receiver):
    """Each has its own thread."""
    slow = Receiver()
    slow.gate.clear()
    sinks = Sinks([Delivery("slow", lambda: slow), Delivery("quick", lambda: receiver)])
    sinks.put(LINES)
    until(lambda: len(receiver.got) == 5)
    assert slow.got == []
    slow.gate.set()
    sinks.close()
    assert len(slow.got) == 5


def test_a_forked_child_delivers_its_own_records_only(shop_with, receiver, in_child, tmp_path):
    """What the parent has queued is the parent's to send."""
    shop = shop_with(required=False)
    receiver.gate.clear()
    shop.add("Zenobia")

    def child():
        receiver.got, receiver.gate = [], threading.Event()
        receiver.gate.set()
        shop.vault.log.write("close")
        until(lambda: receiver.events("close"))
        (tmp_path / "child").write_text(json.dumps(receiver.got))

    _, status = os.waitpid(in_child(child), 0)
    assert status == 0
    receiver.gate.set()
    shop.vault.close()
    child_got = json.loads((tmp_path / "child").read_text())
    assert {event["shard"] for event in child_got}.isdisjoint(e["shard"] for e in receiver.got)
    assert [event["event"] for event in child_got] == ["open", "close"]


def test_what_comes_while_the_sink_is_busy_is_not_lost_with_the_overflow(receiver):
    """Records on their way when the queue overflows are sent once, and not counted lost."""
    receiver.gate.clear()
    one = Delivery("1-test", lambda: receiver, most=3)
    one.put(LINES[:1])
    until(lambda: one._sending == 1)
    one.put(LINES[1:])
    assert one.lost == 2
    receiver.gate.set()
    one.close(time.monotonic() + 5)
    assert [event["seq"] for event in receiver.got] == [0, 3, 4]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            '[[audit.sinks]]\nurl = "stdout:"\nrequired = true\nformat = "ecs"',
            ("stdout:", True, "ecs"),
        ),
        ('[[audit.sinks]]\nurl = "syslog:/dev/log"', ("syslog:/dev/log", False, "native")),
        ('[audit.sinks]\nurl = "stdout:"', "two brackets"),
        ('[[audit.sinks]]\nurl = "stdout:"\ncolour = "red"', "url ="),
        ('[[audit.sinks]]\nurl = "table:x://u:hunter2@h"\nformat = "xml"', "url ="),
        ('[[audit.sinks]]\nrequired = "yes"\nurl = "stdout:"', "url ="),
        ("[[audit.sinks]]", "url ="),
    ],
)
def test_settings_name_the_sinks(tmp_path, text, told):
    """url, required and format; anything else is refused without being repeated."""
    file = tmp_path / "vaultlayer.toml"
    file.write_text(
        '[vault]\npolicies = "p"\n[keys]\nprovider = "memory:"\n[audit]\ndirectory = "audit"\n'
        + text
    )
    if isinstance(told, tuple):
        assert Settings.load(file).sinks == (SinkSettings(*told),)
        assert told[0] not in repr(Settings.load(file))
        return
    with pytest.raises(ConfigurationError, match=told) as caught:
        Settings.load(file)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["carrier-pigeon:", "stdout", "", "table:nonsense:hunter2", "syslog+tcp:", "syslog+x://h"],
)
def test_a_url_that_no_sink_serves_is_refused(url):
    """At the start, with what there is, and without the URL."""
    with pytest.raises(ConfigurationError) as caught:
        open_sink(url)
    assert "hunter2" not in str(caught.value)
    assert caught.value.hint


def test_udp_can_not_be_required(tmp_path, policies):
    """It never tells whether anything arrived."""
    from vaultlayer.audit.sinks.opening import open_sinks

    def settings(**sink):
        one = SinkSettings(**sink)
        return Settings(tmp_path, None, policies, "memory:", tmp_path / "audit", sinks=(one,))

    open_sinks(settings(url="syslog://127.0.0.1:5140"))
    with pytest.raises(ConfigurationError, match="can't be required"):
        open_sinks(settings(url="syslog://127.0.0.1:5140", required=True))
