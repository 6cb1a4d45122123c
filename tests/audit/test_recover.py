"""After any crash: what was released is in the log, once, and the log is whole."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time

import pytest

from vaultlayer.audit.log import Log
from vaultlayer.audit.recover import recover
from vaultlayer.audit.segment import Segment
from vaultlayer.audit.slots import texts
from vaultlayer.audit.verify import verify
from vaultlayer.errors import AuditUnavailable

ROUNDS = int(os.environ.get("VAULTLAYER_KILL_ROUNDS", "40"))
READERS = 2


def run_in_child(work):
    """Run ``work`` in a forked child; its process id."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return child


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def read_for_ever(trail, released):
    """Readers that note each release in a file after the journal has it."""

    def work():
        while True:
            number, prefix = trail.reading("email")
            for _ in range(random.randrange(60)):
                ref = os.urandom(16)
                trail.journal.append(prefix, ref)
                os.write(released, ref)
            some = [os.urandom(16) for _ in range(random.randrange(1, 9))]
            trail.journal.append_many(prefix, some)
            os.write(released, b"".join(some))
            trail.journal.close_access(number)

    threads = [threading.Thread(target=work) for _ in range(READERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def told(directory):
    """Every ref in the log, as often as it is told."""
    return [
        text
        for path in sorted((directory / "log").glob("*.jsonl"))
        for line in path.read_bytes().splitlines()
        for text in json.loads(line).get("refs", ())
    ]


def check_whole(directory, released):
    """Released ⊆ logged; nothing told twice; no leftovers; the log verifies."""
    refs = told(directory)
    assert set(texts(released)) <= set(refs)
    assert len(refs) == len(set(refs))
    assert list((directory / "journal").iterdir()) == []
    assert verify(directory).findings == []
    assert recover(directory) == []


def test_released_is_a_subset_of_logged_whenever_the_process_is_killed(
    small_segments, new_trail, tmp_path
):
    """kill -9 at random moments, readers in two threads: not one release is missing."""
    seed = random.randrange(2**32)
    moments = random.Random(seed)
    for number in range(ROUNDS):
        directory = tmp_path / f"round{number}"
        path = tmp_path / f"released{number}"
        released = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        child = run_in_child(lambda d=directory, f=released: read_for_ever(new_trail(d), f))
        time.sleep(moments.uniform(0.005, 0.06))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(released)
        data = path.read_bytes()
        refs = [data[at : at + 16] for at in range(0, len(data), 16)]
        recover(directory)
        check_whole_or_never_began(directory, refs, seed)


def check_whole_or_never_began(directory, refs, seed):
    if (directory / "log").is_dir() and any((directory / "log").iterdir()):
        extra = len(told(directory)) - len(refs)
        check_whole(directory, refs)
        assert 0 <= extra <= READERS * 8, f"seed {seed}"
    else:
        assert refs == []


def crash(trail, monkeypatch, owner, name, *, before=True):
    """Kill this process when ``owner.name`` is called, or after its work is done."""
    real = getattr(owner, name)

    def point(*args, **kwargs):
        if not before:
            real(*args, **kwargs)
        die()

    monkeypatch.setattr(owner, name, point)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(
    ("owner", "name"),
    [(Log, "write_all"), (Segment, "clear"), (Segment, "retire"), (Segment, "delete")],
)
def test_a_crash_at_any_step_of_logging_neither_loses_nor_doubles(
    small_segments, new_trail, refs, tmp_path, monkeypatch, owner, name, before
):
    """Between writing the events and clearing the slots, before, and after."""
    directory, some = tmp_path / "audit", refs(100)

    def work():
        trail = new_trail(directory)
        number, prefix = trail.reading("email")
        _, other = trail.reading("name")
        for ref in some[:20]:
            trail.journal.append(prefix, ref)
        trail.journal.append(other, some[20])
        crash(trail, monkeypatch, owner, name, before=before)
        if name in ("retire", "delete"):
            trail.journal.append_many(prefix, some[21:])
        trail.journal.close_access(number)

    child = run_in_child(work)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    recover(directory)
    check_whole(directory, some[:64] if name in ("retire", "delete") else some[:21])


@pytest.mark.parametrize("steps", range(12))
def test_recovery_itself_may_be_killed_and_run_again(
    small_segments, new_trail, refs, tmp_path, monkeypatch, steps
):
    """A recovery killed at its n-th write or removal leaves a state the next one finishes."""
    trail = new_trail(tmp_path / "audit")
    number, prefix = trail.reading("email")
    _, other = trail.reading("name", access=number)
    some = refs(50)
    trail.journal.append_many(prefix, some)
    trail.journal.append_many(other, some[:10])
    trail.journal.release()
    trail.log.release()
    with trail.log.path.open("ab") if trail.log.shard else newest(trail).open("ab") as file:
        file.write(b'{"event":"read","refs":["half')
    real_write, real_unlink, left = os.write, os.unlink, [steps]

    def counted(real):
        def call(*args):
            if not left[0]:
                die()
            left[0] -= 1
            return real(*args)

        return call

    def work():
        monkeypatch.setattr(os, "write", counted(real_write))
        monkeypatch.setattr(os, "unlink", counted(real_unlink))
        recover(trail.directory)

    os.waitpid(run_in_child(work), 0)
    recover(trail.directory)
    check_whole(trail.directory, some)
    assert trail.values() == 60


def newest(trail):
    return max((trail.directory / "log").iterdir())


def test_recovered_events_say_so_and_name_their_notes(new_trail, refs):
    """The same event as ever, marked, in the dead process's own shard, which is then closed."""
    trail = new_trail()
    _, prefix = trail.reading("email")
    some = refs(3)
    trail.journal.append_many(prefix, some)
    shard = trail.log.shard
    trail.journal.release()
    trail.log.release()
    (recovered,) = recover(trail.directory)
    assert (recovered.shard, recovered.notes, recovered.torn) == (shard, 3, 0)
    opened, note, event, closed = trail.records()
    assert [opened["event"], note["event"], closed["event"]] == ["open", "recover", "close"]
    assert event["recovered"] is True
    assert event["refs"] == texts(some)
    assert event["actor"]["sub"] == "u-17"
    assert event["journal"]["shard"] == event["shard"] == shard


@pytest.mark.parametrize("part", [0.01, 0.5, 0.99])
def test_a_line_torn_by_a_crash_is_reported_as_torn_and_taken_off_by_recover(
    new_trail, refs, tmp_path, monkeypatch, part
):
    """Not tampering, and not lost: its notes come from the journal."""
    directory, some = tmp_path / "audit", refs(4)

    def work():
        trail = new_trail(directory)
        number, prefix = trail.reading("email")
        trail.journal.append_many(prefix, some)
        real = os.write

        def torn(descriptor, data):
            real(descriptor, data[: int(len(data) * part)])
            die()

        monkeypatch.setattr(os, "write", torn)
        trail.journal.close_access(number)

    os.waitpid(run_in_child(work), 0)
    findings = verify(directory).findings
    assert ["torn" in finding.what for finding in findings] == [True, False]
    (recovered,) = recover(directory)
    assert recovered.torn > 0
    (shard,) = (directory / "log").iterdir()
    note = json.loads(shard.read_bytes().splitlines()[1])
    assert (note["event"], note["torn"]) == ("recover", recovered.torn)
    assert len(note["torn_sha256"]) == 64
    check_whole(directory, some)


def test_living_processes_are_left_alone(trail, refs):
    """Recovery beside a working vault touches nothing of it."""
    _, prefix = trail.reading("email")
    trail.journal.append(prefix, refs(1)[0])
    before = trail.journal_files(), trail.log.path.read_bytes()
    assert recover(trail.directory) == []
    assert (trail.journal_files(), trail.log.path.read_bytes()) == before
    assert verify(trail.directory).findings == []


def test_many_recoveries_at_once_agree(new_trail, refs, tmp_path):
    """Six processes recover the same orphans: each note is told once."""
    directory, given = tmp_path / "audit", []
    for _ in range(5):
        trail = new_trail(directory)
        _, prefix = trail.reading("email")
        given += refs(30)
        trail.journal.append_many(prefix, given[-30:])
        trail.journal.release()
        trail.log.release()
    for child in [run_in_child(lambda: recover(directory)) for _ in range(6)]:
        os.waitpid(child, 0)
    recover(directory)
    check_whole(directory, given)


def test_a_journal_whose_log_is_gone_is_recovered_into_a_new_shard(new_trail, refs):
    """Someone removed the log of a crashed process: what the journal knows is still told."""
    trail = new_trail()
    _, prefix = trail.reading("email")
    some = refs(3)
    trail.journal.append_many(prefix, some)
    trail.journal.release()
    trail.log.release()
    newest(trail).unlink()
    recover(trail.directory)
    check_whole(trail.directory, some)


def test_notes_whose_definition_was_lost_are_told_as_damaged(new_trail, refs):
    """A power cut took the definitions: the refs are in the log, under journal_damaged."""
    trail = new_trail()
    _, prefix = trail.reading("email")
    some = refs(3)
    trail.journal.append_many(prefix, some)
    (definitions,) = (trail.directory / "journal").glob("*.jsonl")
    trail.journal.release()
    trail.log.release()
    definitions.write_bytes(b"\0" * 300)
    recover(trail.directory)
    (event,) = trail.events("journal_damaged")
    assert event["refs"] == texts(some)
    check_whole(trail.directory, some)


def test_a_damaged_last_record_does_not_stop_recovery(new_trail, refs):
    """Zeros where the power cut hit the log: recovery goes on behind them, verify reports them."""
    trail = new_trail()
    _, prefix = trail.reading("email")
    trail.journal.append_many(prefix, refs(3))
    trail.journal.release()
    trail.log.release()
    with newest(trail).open("ab") as file:
        file.write(b"\0" * 100 + b"\n")
    (recovered,) = recover(trail.directory)
    assert recovered.notes == 3
    assert [finding.line for finding in verify(trail.directory).findings] == [2]


def test_a_process_that_died_at_once_leaves_nothing(tmp_path):
    """An empty shard never began; recovery removes it."""
    (tmp_path / "log").mkdir(parents=True)
    (tmp_path / "log" / "20260101T000000.000000Z-00000000.jsonl").touch()
    assert recover(tmp_path) == []
    assert list((tmp_path / "log").iterdir()) == []


def test_nothing_to_recover_makes_nothing(tmp_path):
    """Recovery of a directory that is not there is no error and makes no folders."""
    assert recover(tmp_path / "audit") == []
    assert not (tmp_path / "audit").exists()


def test_an_unreadable_directory_is_an_error(tmp_path):
    """Recovery that can't look must not say that all is well."""
    (tmp_path / "log").write_text("a file where the folder should be")
    with pytest.raises(AuditUnavailable):
        recover(tmp_path)
