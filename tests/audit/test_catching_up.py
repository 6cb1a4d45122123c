"""What a killed process had not sent, and what was recovered of it, reaches the sinks later."""

from __future__ import annotations

import json
import os
import threading

import pytest

from vaultlayer.audit.recover import recover
from vaultlayer.audit.sinks.delivery import Delivery
from vaultlayer.audit.sinks.group import Sinks
from vaultlayer.audit.trail import Trail
from vaultlayer.errors import AuditUnavailable


class File:
    """A sink that appends the records to a file, which outlives its process."""

    def __init__(self, path, gate):
        self.path, self.gate = path, gate

    def send(self, records):
        self.gate.wait()
        with self.path.open("ab") as file:
            file.write(b"".join(record.body + b"\n" for record in records))

    def close(self):
        pass


class Receiving:
    """Trails in one directory, each with one sink that is shut or open."""

    def __init__(self, signed, tmp_path):
        self.signed, self.path = signed, tmp_path / "received"
        self.gate = threading.Event()
        self.gate.set()

    def open(self, *, required=False):
        sinks = Sinks([Delivery("1-file", lambda: File(self.path, self.gate), required=required)])
        self.signed.trail = Trail(self.signed.settings, self.signed.provider, sinks)
        self.signed.log, self.signed.journal, self.signed.notary = (
            self.signed.trail.log, self.signed.trail.journal, self.signed.trail.notary
        )  # fmt: skip

    def got(self):
        lines = self.path.read_bytes().splitlines() if self.path.exists() else []
        return {(event["shard"], event["seq"]) for event in map(json.loads, lines)}

    def logged(self, *, since=""):
        records = self.signed.records()
        return {(each["shard"], each["seq"]) for each in records if each["shard"] >= since}

    def left(self):
        return [path.name for path in (self.signed.directory / "sinks").iterdir()]


@pytest.fixture
def receiving(signed, tmp_path):
    signed.close()
    made = Receiving(signed, tmp_path)
    yield made
    made.gate.set()


def killed(receiving, in_child, work, **options):
    """A process that does this with its sinks, and is killed."""

    def child():
        receiving.open(**options)
        work()
        os.kill(os.getpid(), 9)

    os.waitpid(in_child(child), 0)


@pytest.mark.parametrize("required", [False, True])
def test_recovered_records_reach_the_sink(receiving, refs, in_child, until, required):
    """The notes of an access that a kill interrupted."""
    some = refs(3)

    def work():
        _, prefix = receiving.signed.reading("email")
        receiving.signed.journal.append_many(prefix, some)

    killed(receiving, in_child, work, required=required)
    shard = receiving.signed.shards()[-1].stem
    receiving.open(required=required)
    until(lambda: receiving.got() >= receiving.logged(since=shard))
    receiving.signed.close()
    assert set(some) <= receiving.signed.told().keys()
    assert receiving.left() == []


def test_what_sat_in_a_killed_processes_queue_reaches_the_sink(
    receiving, refs, in_child, until
):
    """The sink hung while they were written; nothing the sink had is sent twice."""

    def work():
        receiving.signed.read(refs(2))
        until(lambda: len(receiving.got()) > 1)
        receiving.gate.clear()
        receiving.signed.read(refs(3))

    killed(receiving, in_child, work)
    before = receiving.got()
    shard = receiving.signed.shards()[-1].stem
    receiving.open()
    until(lambda: receiving.got() >= receiving.logged(since=shard))
    receiving.signed.close()
    lines = receiving.path.read_bytes().splitlines()
    assert len(lines) == len(set(lines)) > len(before)
    assert receiving.left() == []


def test_what_a_closing_vault_could_not_send_is_sent_by_the_next(
    receiving, refs, until, monkeypatch
):
    """Its sink was away when it closed."""
    monkeypatch.setattr("vaultlayer.audit.sinks.group.DEADLINE", 0.1)
    receiving.open()
    receiving.gate.clear()
    receiving.signed.read(refs(3))
    shard = receiving.signed.log.shard
    receiving.signed.close()
    assert receiving.left() == [f"{shard}.1-file"]
    receiving.gate.set()
    receiving.open()
    until(lambda: receiving.got() >= receiving.logged(since=shard))
    receiving.signed.close()
    assert receiving.left() == []


def test_recovery_by_hand_leaves_delivery_to_the_next_vault(receiving, refs, in_child, until):
    """`vaultlayer audit recover` has no sinks."""

    def work():
        _, prefix = receiving.signed.reading("email")
        receiving.signed.journal.append_many(prefix, refs(3))

    killed(receiving, in_child, work)
    assert len(recover(receiving.signed.directory)) == 1
    shard = receiving.signed.shards()[-1].stem
    receiving.open()
    until(lambda: receiving.got() >= receiving.logged(since=shard))
    receiving.signed.close()
    assert receiving.left() == []


def test_a_living_process_sends_its_own(receiving, refs, in_child):
    """Another one that opens beside it leaves its queue alone."""
    receiving.open()
    receiving.gate.clear()
    receiving.signed.read(refs(3))

    def beside():
        other = Receiving(receiving.signed, receiving.path.parent)
        other.path = receiving.path.with_name("others")
        other.open()
        other.signed.close()
        assert other.got()
        assert mine not in {shard for shard, _ in other.got()}

    mine = receiving.signed.log.shard
    assert os.waitpid(in_child(beside), 0)[1] == 0


def test_a_position_that_cannot_be_kept_refuses(receiving, refs):
    """A file lies where the folder should be: the vault doesn't open."""
    (receiving.signed.directory / "sinks").write_text("")
    with pytest.raises(AuditUnavailable):
        receiving.open()
