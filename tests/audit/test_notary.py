"""The notary signs what was written, in time, and refuses when the log isn't what it signed."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import sys
import threading
import time

import pytest
from sqlalchemy import create_engine

from vaultlayer.audit import notary
from vaultlayer.audit.heads import Conflict, MemoryHeads
from vaultlayer.audit.heads_database import metadata
from vaultlayer.audit.recover import recover
from vaultlayer.audit.registry import read_registry
from vaultlayer.errors import AuditUnavailable, KeyUnavailable


def events(trail):
    return [record["event"] for record in read_registry(trail.directory)]


def test_what_is_written_is_signed_while_the_process_runs(signed, refs):
    """Tiles, head, store, checkpoint; and the registry lists the shard."""
    signed.read(refs(300))
    signed.signed()
    assert events(signed) == ["registry", "shard"]
    report = signed.verify()
    assert (report.findings, report.unsigned) == ([], 0)
    head = signed.head(signed.log.shard)
    (stored,) = [one for one in signed.heads.at("", signed.head().origin) if one.size == head.size]
    assert (stored.root, stored.origin) == (head.root, head.origin)


def test_a_process_that_ends_signs_its_shard_to_the_end(signed, refs):
    """The close record too; the store keeps the registry's head alone."""
    signed.read(refs(3))
    signed.close()
    assert events(signed)[-1] == "sealed"
    assert [head.origin for head in signed.heads.at("", signed.head().origin)] == [
        signed.head().origin
    ]
    report = signed.verify()
    assert (report.findings, report.unsigned, report.records) == ([], 0, 3)


def test_the_next_process_signs_for_one_that_was_killed(signed, refs):
    """Recovered first, sealed then."""
    signed.read(refs(3))
    signed.signed()
    _number, prefix = signed.reading("name")
    signed.journal.append_many(prefix, refs(4))
    signed.crash()
    signed.open()
    signed.read(refs(1))
    signed.signed()
    signed.close()
    assert events(signed) == ["registry", "shard", "sealed", "shard", "sealed"]
    report = signed.verify()
    assert (report.findings, report.unsigned) == ([], 0)
    assert signed.values() == 8


def test_an_idle_process_says_that_it_is_there(signed, refs, monkeypatch, until):
    """A heartbeat, so that silence can be told from nothing to say."""
    signed.read(refs(1))
    signed.signed()
    monkeypatch.setattr(notary, "HEARTBEAT", 0.05)
    until(lambda: len(signed.events("heartbeat")) > 2)
    signed.signed()
    assert signed.verify().findings == []


def test_silence_of_more_than_three_minutes_is_found(signed, refs, monkeypatch, until):
    """By a clock that the test sets: twenty idle minutes are no silence, a writer that hangs is."""
    past, now, passed = time.monotonic, time.time, [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: past() + passed[0])
    monkeypatch.setattr(time, "time", lambda: now() + passed[0])
    signed.read(refs(1))
    signed.signed()
    for minute in range(20):
        signed.signed()
        with signed.notary.working:  # between two rounds
            passed[0] += 61
        until(lambda least=minute: len(signed.events("heartbeat")) > least)
    signed.signed()
    with signed.notary.working:  # it hangs: no heartbeat any more
        assert signed.verify().findings == []
        passed[0] += 170
        assert signed.verify().findings == []
        passed[0] += 20
        (finding,) = signed.verify().findings
        assert "ago: heartbeats are due each minute" in finding.what
        signed.log.write("key", what="kek")
    signed.signed()
    passed[0] += 100  # the last record is young, and none of those whose time stands at their end
    (finding,) = signed.verify().findings
    assert "s of silence: heartbeats are due each minute" in finding.what


def test_a_large_shard_is_followed_by_the_next(signed, refs, monkeypatch, small_segments):
    """While accesses are open: nothing is lost, nothing told twice, both are sealed."""
    monkeypatch.setattr("vaultlayer.audit.log.SHARD_BYTES", 4000)
    told = []
    number, prefix = signed.reading("name")
    while len(signed.shards()) < 5:
        some = refs(20)
        told += some
        signed.journal.append_many(prefix, some[:10])
        signed.read(some[10:])
        time.sleep(0.005)
    signed.journal.close_access(number)
    signed.close()
    assert set(told) == signed.told().keys()
    assert signed.values() == len(told)
    report = signed.verify()
    assert (report.findings, report.unsigned) == ([], 0)
    assert events(signed).count("sealed") == report.shards > 3


@pytest.mark.parametrize("step", ["begin_next", "turn"])
def test_killed_while_it_goes_over_to_the_next_shard(
    new_signed, refs, monkeypatch, in_child, step, tmp_path
):
    """Each note is told, in the shard it was made for."""
    some = refs(30)

    def work():
        signed = new_signed()
        _number, prefix = signed.reading("email")
        signed.journal.append_many(prefix, some)
        real = getattr(signed.log, step)

        def die():
            real()
            os.kill(os.getpid(), signal.SIGKILL)

        monkeypatch.setattr(signed.log, step, die)
        signed.journal.rotate()

    child = in_child(work)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    signed = new_signed()
    signed.close()
    assert signed.told().keys() == set(some)
    assert signed.values() == 30
    assert signed.verify().findings == []


# --- the log is taken back, removed, copied -------------------------------------------------


def test_yesterdays_copy_of_the_directory_is_refused_at_start(signed, refs, tmp_path):
    """Put back whole, it is a consistent log: only its head elsewhere knows that it isn't all."""
    signed.read(refs(3))
    signed.close()
    shutil.copytree(signed.directory, tmp_path / "yesterday")
    signed.open()
    signed.read(refs(3))
    signed.close()
    shutil.rmtree(signed.directory)
    (tmp_path / "yesterday").rename(signed.directory)
    assert signed.verify(stored=False).findings == []
    assert "cut off" in signed.verify().findings[0].what
    with pytest.raises(Conflict) as caught:
        signed.open()
    assert "accept-loss" in caught.value.hint


def test_a_removed_directory_is_refused_at_start(signed, refs):
    """Even though an empty one looks like a new beginning."""
    signed.read(refs(3))
    signed.close()
    shutil.rmtree(signed.directory)
    with pytest.raises(Conflict):
        signed.open()
    signed.directory.mkdir()
    with pytest.raises(Conflict):
        signed.open()
    assert "it was removed" in signed.verify().findings[0].what


def test_a_shard_cut_and_gone_on_with_is_refused_at_start(signed, refs):
    """The journald trick: truncate a sealed log of a crashed process, then resume sealing."""
    for _ in range(3):
        signed.read(refs(3))
    signed.signed()
    signed.crash()
    (path,) = signed.shards()
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    recover(signed.directory)  # ends it with a close record, chained and all
    with pytest.raises(Conflict):
        signed.open()
    assert any("signed" in finding.what for finding in signed.verify(stored=False).findings)


def test_a_log_cut_under_a_running_process_stops_it(signed, refs):
    """Truncate, then resume, without a restart."""
    signed.read(refs(3))
    signed.signed()
    with signed.log.path.open("r+b") as file:
        file.truncate(file.seek(0, os.SEEK_END) - 10)
    with pytest.raises(AuditUnavailable):
        signed.read(refs(1))


def test_an_edit_before_it_was_signed_stops_the_process(signed, refs, monkeypatch, until):
    """The last second is watched too: the writer knows what it wrote."""
    signed.read(refs(3))
    signed.signed()
    monkeypatch.setattr(signed.log, "sync", lambda: time.sleep(0.3))  # time to edit
    signed.read(refs(3))
    time.sleep(0.1)
    data = signed.log.path.read_bytes()
    at = data.rindex(b'"customer"')
    with signed.log.path.open("r+b") as file:
        file.seek(at + 1)
        file.write(b"C")
    with pytest.raises(AuditUnavailable):
        until(lambda: signed.read(refs(1)))


def test_two_processes_with_one_log_are_stopped(signed, refs, tmp_path, new_signed, until):
    """A cloned directory: whoever comes second finds the head swapped."""
    signed.read(refs(2))
    signed.close()
    shutil.copytree(signed.directory, tmp_path / "clone")
    signed.open()
    signed.read(refs(2))
    signed.signed()
    with pytest.raises(AuditUnavailable):
        clone = new_signed(tmp_path, name="clone")
        until(lambda: clone.read(refs(1)))


def test_two_processes_in_one_directory_sign_a_shard_each(signed, refs, new_signed, in_child):
    """No one waits for the other, and the registry lists both."""

    def work():
        other = new_signed()
        for _ in range(20):
            other.read(refs(5))
        other.close()

    children = [in_child(work) for _ in range(3)]
    for _ in range(20):
        signed.read(refs(5))
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    signed.close()
    report = signed.verify()
    assert (report.findings, report.unsigned, report.shards) == ([], 0, 4)
    assert signed.values() == 400


def test_a_forked_child_has_a_shard_and_a_notary_of_its_own(signed, refs, in_child):
    """The parent's thread isn't in the child."""
    signed.read(refs(2))

    def work():
        signed.read(refs(3))
        signed.signed()
        signed.close()

    child = in_child(work)
    assert os.waitpid(child, 0)[1] == 0
    signed.read(refs(1))
    signed.close()
    report = signed.verify()
    assert (report.findings, report.unsigned, report.shards) == ([], 0, 2)
    assert signed.values() == 6


# --- the files go away under an open access -------------------------------------------------


@pytest.mark.parametrize("how", ["removed", "moved", "replaced", "journal"])
def test_reads_stop_when_the_directory_goes(new_signed, refs, how, tmp_path, until):
    """Notes are stores to memory, yet a field already read is refused within two seconds."""
    signed = new_signed()
    _number, prefix = signed.reading("email")
    signed.journal.append(prefix, refs(1)[0])
    if how == "removed":
        while signed.directory.exists():  # what is being written meanwhile too
            shutil.rmtree(signed.directory, ignore_errors=True)
    elif how == "journal":
        shutil.rmtree(signed.directory / "journal")
    else:
        signed.directory.rename(tmp_path / "away")
    if how == "replaced":
        for name in ("log", "journal"):
            (signed.directory / name).mkdir(parents=True)
    began = time.monotonic()
    with pytest.raises(AuditUnavailable):
        until(lambda: signed.journal.append(prefix, refs(1)[0]))
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("how", ["rename", "copytruncate"])
def test_logrotate_is_not_followed_silently(signed, refs, how, tmp_path, until):
    """A shard that was renamed or truncated by a tool is a shard that was tampered with."""
    _number, prefix = signed.reading("email")
    signed.journal.append(prefix, refs(1)[0])
    path = signed.log.path
    shutil.copy(path, tmp_path / "rotated")
    if how == "rename":
        path.rename(path.with_suffix(".jsonl.1"))
    else:
        os.truncate(path, 0)
    with pytest.raises(AuditUnavailable):
        until(lambda: signed.journal.append(prefix, refs(1)[0]))


# --- the store of heads, and the disk under the tiles ----------------------------------------


def test_without_tables_an_access_is_refused_with_the_remedy(signed, refs):
    """Not a log that nobody vouches for."""
    signed.close()
    metadata.drop_all(create_engine(signed.url))
    signed.open()
    with pytest.raises(AuditUnavailable) as caught:
        signed.read(refs(1))
    assert "create_tables" in caught.value.hint
    metadata.create_all(create_engine(signed.url))
    signed.heads.signer(signed.provider)


def test_tables_that_went_after_the_start_are_missed_at_once(signed, refs):
    """Not after the time that a busy database is given, and each time anew."""
    metadata.drop_all(create_engine(signed.url))
    began = time.monotonic()
    for _ in range(3):
        with pytest.raises(AuditUnavailable) as caught:
            signed.read(refs(1))
        assert "create_tables" in caught.value.hint
    assert time.monotonic() - began < 3
    metadata.create_all(create_engine(signed.url))
    signed.read(refs(1))
    signed.signed()
    assert signed.verify().findings == []


def test_a_provider_that_is_away_at_the_start_is_told_at_once(signed, refs, monkeypatch):
    """With its own remedy; and the first access after it came back is served."""

    def away(*_):
        raise KeyUnavailable("the key service can't be reached", "look whether it is up")

    with monkeypatch.context() as patch:
        patch.setattr(signed.provider, "wrap", away)
        began = time.monotonic()
        for _ in range(3):
            with pytest.raises(AuditUnavailable, match="key service") as caught:
                signed.read(refs(1))
            assert caught.value.hint == "look whether it is up"
        assert time.monotonic() - began < 3
    signed.read(refs(1))
    signed.signed()
    assert signed.verify().findings == []


def test_heads_that_stay_unreachable_refuse_accesses_in_the_end(signed, refs, monkeypatch, until):
    """First they wait: a database that is away for a moment stops nobody."""
    signed.read(refs(1))
    signed.signed()

    def away(*_):
        raise AuditUnavailable("the audit log's heads can't be reached (OperationalError)")

    monkeypatch.setattr(signed.notary.heads, "swap", away)
    signed.read(refs(1))
    time.sleep(0.1)
    signed.read(refs(1))
    monkeypatch.setattr(notary, "MAX_LAG", 0.1)
    time.sleep(0.15)
    with pytest.raises(AuditUnavailable, match="wasn't signed for"):
        signed.read(refs(1))
    monkeypatch.undo()
    monkeypatch.setattr(notary, "ROUND", 0.02)
    until(lambda: signed.notary._trouble is None)
    signed.read(refs(1))
    signed.signed()
    assert signed.verify().findings == []


@pytest.mark.parametrize("persisted", [True, False])
@pytest.mark.parametrize("step", ["store", "swap", "publish"])
def test_a_step_that_fails_is_done_again_whether_it_had_worked_or_not(
    signed, refs, monkeypatch, step, persisted, until
):
    """Sunlight's matrix: each step of signing fails once, its effect there or not."""
    signed.read(refs(1))
    signed.signed()
    owner = {
        "store": notary.Follower.__init__.__globals__["Tree"],
        "swap": type(signed.notary.heads),
        "publish": None,
    }[step]
    failed = []

    def fail(real):
        def once(*args, **kwargs):
            if failed:
                return real(*args, **kwargs)
            failed.append(step)
            if persisted:
                real(*args, **kwargs)
            if step == "swap":
                raise AuditUnavailable("the audit log's heads can't be reached (TimeoutError)")
            raise OSError(5, "Input/output error")

        return once

    if owner is None:
        module = sys.modules["vaultlayer.audit.follow"]
        monkeypatch.setattr(module, "publish", fail(module.publish))
    else:
        monkeypatch.setattr(owner, step, fail(getattr(owner, step)))
    signed.read(refs(400))
    signed.signed()
    until(lambda: failed)
    signed.close()
    assert failed == [step]
    report = signed.verify()
    assert (report.findings, report.unsigned) == ([], 0)


def test_signing_waits_for_no_one_who_holds_the_database(signed, refs):
    """An application's long transaction on SQLite delays a signature, and no read."""
    signed.read(refs(1))
    signed.signed()
    other = sqlite3.connect(signed.folder / "heads.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    for _ in range(20):
        signed.read(refs(10))
    assert time.monotonic() - began < 1
    other.execute("ROLLBACK")
    other.close()
    signed.signed()
    signed.close()
    assert signed.verify().findings == []


def test_a_lost_provider_key_means_a_new_signing_key_and_both_verify(signed, refs):
    """The old signatures stay good: the public keys are kept."""
    signed.read(refs(1))
    signed.close()
    signed.provider.rotate()
    old = signed.provider.versions()[0]
    signed.open()
    signed.read(refs(1))
    signed.close()
    assert len(signed.heads.keys()) == 1  # wrapped anew under the newest version
    signed.provider.destroy(old)
    signed.open()
    signed.read(refs(1))
    signed.close()
    assert len(signed.heads.keys()) == 1
    signed.provider = type(signed.provider)(name="other:")
    signed.open()
    signed.read(refs(1))
    signed.close()
    assert len(signed.heads.keys()) == 2
    assert signed.verify().findings == []


def test_an_ephemeral_store_works_alike():
    """Compare and swap, in memory."""
    heads = MemoryHeads()
    key = heads.signer(None).public
    assert heads.keys() == [key]


def test_a_hung_sink_of_a_round_hangs_nobody(signed, refs, monkeypatch):
    """A store that never answers: reads go on until the lag is too long, close doesn't wait."""
    signed.read(refs(1))
    signed.signed()
    stuck = threading.Event()
    monkeypatch.setattr(signed.notary.heads, "swap", lambda *_: stuck.wait(30))
    began = time.monotonic()
    for _ in range(10):
        signed.read(refs(10))
    assert time.monotonic() - began < 1
    monkeypatch.setattr("vaultlayer.audit.notary.DEADLINE", 0.2)
    signed.close()
    assert time.monotonic() - began < 3
    stuck.set()


def _ended(child):
    """Ask it to stop, again where Python lost the exception: what a collector's callback raises is
    ignored, and another library may have one."""
    os.kill(child, signal.SIGTERM)
    time.sleep(0.2)
    return os.waitpid(child, os.WNOHANG)[0] == child


def test_sigterm_in_a_group_write_loses_nothing(new_signed, refs, tmp_path, in_child, until):
    """The handler's exception arrives while many events are written."""
    released = tmp_path / "released"

    def stop(*_):
        raise SystemExit

    def work():
        signal.signal(signal.SIGTERM, stop)
        trail = new_signed()
        file = os.open(released, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        while True:
            number, prefix = trail.reading("email")
            some = refs(3000)
            trail.journal.append_many(prefix, some)
            os.write(file, b"".join(some))
            trail.journal.close_access(number)

    for _ in range(5):
        size = released.stat().st_size if released.exists() else 0
        child = in_child(work)
        until(lambda size=size: released.exists() and released.stat().st_size > size)
        until(lambda child=child: _ended(child))
    trail = new_signed()
    trail.read(refs(1))
    trail.close()
    data = released.read_bytes()
    assert {data[at : at + 16] for at in range(0, len(data), 16)} <= trail.told().keys()
    assert trail.verify().findings == []
