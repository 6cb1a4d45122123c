"""Threads, forks and syncs: who shares a journal loses nothing."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from vaultlayer.audit.journal import Journal
from vaultlayer.audit.log import Log


def test_threads_lose_and_double_nothing(small_segments, trail, refs):
    """Eight threads, one journal, many segments: every note is in the log exactly once."""
    per_thread, failures = 1500, []
    given = [refs(per_thread) for _ in range(8)]

    def work(some):
        try:
            for start in range(0, per_thread, 100):
                number, prefix = trail.reading("email")
                for ref in some[start : start + 50]:
                    trail.journal.append(prefix, ref)
                trail.journal.append_many(prefix, some[start + 50 : start + 100])
                trail.journal.close_access(number)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(some,)) for some in given]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trail.close()
    assert failures == []
    assert trail.told() == Counter(ref for some in given for ref in some)
    assert trail.values() == 8 * per_thread


def test_a_note_made_after_the_access_was_closed_is_logged_too(trail, refs):
    """Another thread may be in the middle of a read when an access closes."""
    number, prefix = trail.reading("email")
    first, late = refs(2)
    trail.journal.append(prefix, first)
    trail.journal.close_access(number)
    trail.journal.append(prefix, late)
    trail.close()
    assert trail.told() == Counter([first, late])
    assert {event["access"].rpartition(".")[2] for event in trail.events()} == {str(number)}


def test_a_retired_segment_takes_no_note_and_the_next_one_does(small_segments, trail, refs):
    """Whoever still holds its ``put`` hears of it, and ``append`` goes elsewhere."""
    number, prefix = trail.reading("email")
    segment, put = trail.journal._segment, trail.journal.put
    trail.journal.append_many(prefix, refs(100))
    assert trail.journal._segment is not segment
    (ref,) = refs(1)
    with pytest.raises(ValueError):
        put(ref + prefix)
    trail.journal.append(prefix, ref)
    trail.journal.close_access(number)
    assert trail.values() == 101


def test_a_segment_being_logged_takes_no_more(small_segments, trail, refs, monkeypatch):
    """It is unmapped before it is read: what is not in what was read can't be put into it."""
    _, prefix = trail.reading("email")
    segment, real, refused = trail.journal._segment, trail.log.write_all, []

    def write_all(events):
        with pytest.raises(ValueError, match="closed"):
            segment.map[0:24] = bytes(24)
        refused.append(True)
        real(events)

    monkeypatch.setattr(trail.log, "write_all", write_all)
    trail.journal.append_many(prefix, refs(65))
    assert refused == [True]


def test_threads_that_ask_for_one_spec_get_one(trail, refs):
    """Two threads at the same moment: one definition, one prefix, nothing left behind."""
    number, prefixes = trail.access(), []
    threads = [
        threading.Thread(target=lambda: prefixes.append(trail.reading("email", access=number)[1]))
        for _ in range(4)
    ]
    with trail.journal._changing:
        for thread in threads:
            thread.start()
        time.sleep(0.05)  # all of them wait for the guard
    for thread in threads:
        thread.join()
    assert len(prefixes) == 4
    assert len(set(prefixes)) == 1


@pytest.mark.parametrize("durability", ["process", "power"])
def test_a_forked_child_goes_on_in_its_own_files(new_trail, refs, durability):
    """Both sides of a fork log all they noted, in shards of their own, open access included."""
    trail = new_trail(durability=durability)
    number, prefix = trail.reading("email")
    before, parents, childs = refs(3), refs(20), refs(20)
    trail.journal.append_many(prefix, before)
    append, shard = trail.journal.append, trail.log.shard
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for ref in childs[:10]:
                append(prefix, ref)  # an append bound before the fork
            trail.journal.append_many(prefix, childs[10:])
            trail.journal.close_access(number)
            trail.close()
            status = 0
        finally:
            os._exit(status)
    trail.journal.append_many(prefix, parents)
    assert os.waitpid(child, 0)[1] == 0
    trail.journal.close_access(number)
    trail.close()
    assert trail.told(shard=shard) == Counter(before + parents)
    (other,) = {event["shard"] for event in trail.events()} - {shard}
    assert trail.told(shard=other) == Counter(childs)
    assert len({event["access"] for event in trail.events()}) == 1


def test_a_child_that_reads_nothing_leaves_no_files(trail):
    """Worker processes that never touch personal data make no empty shards."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    assert len(list((trail.directory / "log").iterdir())) == 1


def test_a_killed_child_does_not_hold_the_parents_lock(new_trail, refs, tmp_path):
    """A forked child lets go of the parent's shard at once."""
    import fcntl

    trail = new_trail()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, b".")
        signal.pause()
        os._exit(0)
    try:
        os.read(read, 1)
        path = trail.log.path
        trail.journal.release()
        trail.log.release()
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(read)
        os.close(write)


@pytest.mark.parametrize("durability", ["process", "power"])
def test_both_durabilities_log_the_same(new_trail, refs, durability):
    """Durability changes when a note is safe, not what is told."""
    trail = new_trail(durability=durability)
    number, prefix = trail.reading("email")
    some = refs(30)
    for ref in some[:10]:
        trail.journal.append(prefix, ref)
    trail.journal.append_many(prefix, some[10:])
    trail.journal.close_access(number)
    assert trail.told() == Counter(some)


def test_power_durability_syncs_before_it_returns(new_trail, refs, monkeypatch):
    """Definitions, notes and log records are on the disk before the caller goes on."""
    trail = new_trail(durability="power")
    synced = []
    real = os.fdatasync
    monkeypatch.setattr(
        "vaultlayer.audit.files._sync_data",
        lambda fd: (synced.append(str(Path(f"/proc/self/fd/{fd}").readlink())), real(fd)),
    )

    def suffixes():
        found = [name.rpartition(".")[2] if "/journal/" in name else "log" for name in synced]
        synced.clear()
        return found

    number, prefix = trail.reading("email")
    assert suffixes() == ["jsonl"]
    trail.journal.append(prefix, refs(1)[0])
    assert suffixes() == ["slots"]
    trail.journal.append_many(prefix, refs(5))
    assert suffixes() == ["slots"]
    trail.journal.close_access(number)
    assert suffixes() == ["log"]


def test_journals_of_one_directory_do_not_meet(tmp_path, refs):
    """Two vaults in one process, one audit directory: two shards, nothing shared."""
    logs = [Log(tmp_path) for _ in range(2)]
    journals = [Journal(tmp_path, log=log) for log in logs]
    assert logs[0].shard != logs[1].shard
    for journal, log in zip(journals, logs, strict=True):
        journal.close()
        log.close()
