"""From a note in the journal to an event in the log."""

from __future__ import annotations

import base64
import os
import signal
import threading
from collections import Counter
from pathlib import Path

import pytest

from vaultlayer.audit.journal import Journal
from vaultlayer.audit.log import Log
from vaultlayer.audit.slots import NO_REF
from vaultlayer.errors import AuditUnavailable, ConfigurationError


def ref_counts(events):
    """How often each ref stands in the events."""
    found = Counter(text for event in events for text in event["refs"])
    return Counter({base64.urlsafe_b64decode(text + "=="): n for text, n in found.items()})


def test_an_access_becomes_one_event_that_says_who_what_and_why(trail, refs):
    """Everything the record promises is in it, and nothing else."""
    number, prefix = trail.reading("email", access=trail.access(trace="t-9"))
    (ref,) = refs(1)
    trail.journal.append(prefix, ref)
    trail.journal.close_access(number)
    opened, event = trail.records()
    assert opened["event"] == "open"
    assert event == {
        "v": 1,
        "seq": 1,
        "ts": event["ts"],
        "shard": trail.log.shard,
        "event": "read",
        "actor": {
            "iss": "https://id.example",
            "sub": "u-17",
            "client": "desk",
            "roles": ["support"],
        },
        "purpose": "customer_service",
        "reason": "ticket 4711",
        "policy": "ab" * 32,
        "request": "r-1",
        "trace": "t-9",
        "access": f"{trail.log.shard}.{number}",
        "opened": event["opened"],
        "entity": "customer",
        "fields": ["email"],
        "refs": [base64.urlsafe_b64encode(ref).rstrip(b"=").decode()],
        "count": 1,
        "decision": "allow",
        "journal": {"shard": trail.log.shard, "segment": 0, "first": 0, "last": 0},
        "prev": event["prev"],
    }
    assert opened["ts"] <= event["opened"] <= event["ts"]


def test_refused_masked_and_written_are_told_apart(trail, refs):
    """One event per action, outcome and reason code; a refusal may concern no one yet."""
    number = trail.access()
    spec = trail.journal.spec
    for prefix in (
        spec(number, "customer", ["phone"], "read", "mask"),
        spec(number, "customer", ["phone"], "read", "deny", "role"),
        spec(number, "customer", ["phone"], "read", "deny", "consent_missing"),
        spec(number, "customer", ["phone"], "write", "allow"),
        spec(number, "customer", ["phone"], "search", "allow"),
    ):
        trail.journal.append(prefix, NO_REF)
    trail.journal.close_access(number)
    told = [(e["event"], e["decision"], e.get("reason_code")) for e in trail.records()[1:]]
    assert told == [
        ("read", "mask", None),
        ("read", "deny", "role"),
        ("read", "deny", "consent_missing"),
        ("write", "allow", None),
        ("search", "allow", None),
    ]


def test_the_same_spec_is_defined_once(trail):
    """Asking again costs nothing and gives the same prefix; another field another one."""
    number, prefix = trail.reading("email")
    assert trail.reading("email", access=number)[1] == prefix
    assert trail.reading("name", access=number)[1] != prefix
    assert trail.reading("email")[1] != prefix


def test_an_access_without_notes_leaves_no_record(trail):
    """Complete, not noisy."""
    number, _ = trail.reading("email")
    trail.journal.close_access(number)
    trail.journal.close_access(trail.access())
    assert trail.events() == []


def test_nested_and_overlapping_accesses_do_not_mix(trail, refs):
    """Each event names the access its notes were made under."""
    outer, one = trail.reading("email")
    inner, two = trail.reading("email")
    mine, others = refs(3), refs(2)
    for prefix, ref in [(one, mine[0]), (two, others[0]), (one, mine[1]), (two, others[1])]:
        trail.journal.append(prefix, ref)
    trail.journal.close_access(inner)
    trail.journal.append(one, mine[2])
    trail.journal.close_access(outer)
    by_access = {e["access"].rpartition(".")[2]: ref_counts([e]) for e in trail.events()}
    assert by_access == {str(inner): Counter(others), str(outer): Counter(mine)}


@pytest.mark.parametrize("sizes", [[1], [63, 1, 65], [64], [1000, 3], [5] * 40])
def test_reading_goes_on_through_any_number_of_segments(small_segments, trail, refs, sizes):
    """Free-running: every note is logged once, and full segments are gone from the disk."""
    number, prefix = trail.reading("email")
    expected = Counter()
    for size in sizes:
        some = refs(size)
        expected.update(some)
        trail.journal.append_many(prefix, some)
        for ref in some:
            trail.journal.append(prefix, ref)
        expected.update(some)
    trail.journal.close_access(number)
    assert trail.values() == expected.total()
    assert set(ref_counts(trail.events())) == set(expected)
    assert len(trail.journal_files()) == 2


def test_an_append_kept_from_an_older_segment_stays_correct(small_segments, trail, refs):
    """A thread may hold on to ``journal.append`` for as long as it likes."""
    number, prefix = trail.reading("email")
    append, some = trail.journal.append, refs(500)
    for ref in some:
        append(prefix, ref)
    trail.journal.close_access(number)
    assert ref_counts(trail.events()).keys() == set(some)
    assert trail.values() == 500


def test_many_definitions_move_the_journal_on_too(monkeypatch, new_trail, refs):
    """The file of definitions stays bounded, and open accesses are defined in the next one."""
    monkeypatch.setattr("vaultlayer.audit.segment.MAX_DEFINITIONS", 4096)
    trail = new_trail()
    held, prefix = trail.reading("email")
    for _ in range(100):
        number, short = trail.reading("name")
        trail.journal.append(short, refs(1)[0])
        trail.journal.close_access(number)
    trail.journal.append(prefix, refs(1)[0])
    files = trail.journal_files()
    assert len(files) <= 4
    assert not any(name.startswith(f"{trail.log.shard}.0.") for name in files)
    assert trail.values() == 100
    trail.journal.close_access(held)
    assert trail.values() == 101


def test_memory_of_closed_accesses_is_freed(small_segments, trail, refs):
    """Flat memory: what is closed and logged is forgotten."""
    for _ in range(300):
        number, prefix = trail.reading("name")
        trail.journal.append_many(prefix, refs(3))
        trail.journal.close_access(number)
    assert len(trail.journal._accesses) < 60
    assert len(trail.journal._specs) < 60


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
    assert ref_counts(trail.events()) == Counter(ref for some in given for ref in some)
    assert trail.values() == 8 * per_thread


def test_a_note_made_after_the_access_was_closed_is_logged_too(trail, refs):
    """Another thread may be in the middle of a read when an access closes."""
    number, prefix = trail.reading("email")
    first, late = refs(2)
    trail.journal.append(prefix, first)
    trail.journal.close_access(number)
    trail.journal.append(prefix, late)
    trail.close()
    assert ref_counts(trail.events()) == Counter([first, late])
    assert {event["access"].rpartition(".")[2] for event in trail.events()} == {str(number)}


def test_a_slot_taken_but_not_filled_when_its_access_closes_is_logged_later(trail, refs):
    """A thread that was paused between taking a slot and filling it loses nothing."""
    number, prefix = trail.reading("email")
    early, late = refs(2)
    segment = trail.journal._segment
    offset = segment.take()
    trail.journal.append(prefix, early)
    trail.journal.close_access(number)
    segment.map[offset : offset + 20] = late + prefix
    trail.close()
    assert ref_counts(trail.events()) == Counter([early, late])


def test_a_slot_taken_in_a_segment_that_retires_meanwhile_goes_elsewhere(
    small_segments, trail, refs, monkeypatch
):
    """A retired segment can't be written to any more: the paused thread takes a new slot."""
    number, prefix = trail.reading("email")
    segment, append = trail.journal._segment, trail.journal.append
    segment.take()
    trail.journal.append_many(prefix, refs(100))
    assert trail.journal._segment is not segment
    append(prefix, refs(1)[0])
    trail.journal.close_access(number)
    assert trail.values() == 101


def test_a_closed_journal_refuses(trail, refs):
    """After close: no note, no definition, no access is taken, by any way in."""
    number, prefix = trail.reading("email")
    append = trail.journal.append
    trail.close()
    some = refs(2)
    for attempt in (
        lambda: append(prefix, some[0]),
        lambda: trail.journal.append(prefix, some[0]),
        lambda: trail.journal.append_many(prefix, some),
        lambda: trail.journal.spec(number, "customer", ["born"], "read", "allow"),
        lambda: trail.access(),
    ):
        with pytest.raises(AuditUnavailable):
            attempt()
    trail.journal.close()
    assert trail.journal_files() == []


def test_closing_the_journal_logs_open_accesses(trail, refs):
    """A clean shutdown leaves no journal behind and ends the shard."""
    _, prefix = trail.reading("email")
    trail.journal.append_many(prefix, refs(5))
    trail.close()
    assert [record["event"] for record in trail.records()] == ["open", "read", "close"]
    assert trail.journal_files() == []


def test_an_access_that_is_not_open_takes_no_spec(trail):
    """A spec needs its access; an outcome is one of three."""
    number = trail.access()
    with pytest.raises(ConfigurationError):
        trail.journal.spec(number, "customer", ["email"], "read", "perhaps")
    trail.journal.close_access(number)
    for wrong in (number, number + 1000):
        with pytest.raises(ConfigurationError):
            trail.journal.spec(wrong, "customer", ["email"], "read", "allow")


@pytest.mark.parametrize("wrong", [None, "text", 7])
def test_a_wrong_ref_is_refused(trail, wrong):
    """What can't be noted raises an error of ours."""
    _, prefix = trail.reading("email")
    with pytest.raises(ConfigurationError):
        trail.journal.append(prefix, wrong)
    with pytest.raises(ConfigurationError):
        trail.journal.append_many(prefix, [wrong])
    with pytest.raises(ConfigurationError):
        trail.journal.append_many(prefix, [b"short"])


@pytest.mark.parametrize("durability", ["process", "power"])
def test_a_forked_child_goes_on_in_its_own_files(new_trail, refs, durability):
    """Both sides of a fork log all they noted, in shards of their own, open access included."""
    trail = new_trail(durability=durability)
    number, prefix = trail.reading("email")
    before, parents, childs = refs(3), refs(20), refs(20)
    trail.journal.append_many(prefix, before)
    append = trail.journal.append
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
    by_shard = {}
    for event in trail.events():
        by_shard.setdefault(event["shard"], Counter()).update(ref_counts([event]))
    assert by_shard.pop(trail.log.shard) == Counter(before + parents)
    assert list(by_shard.values()) == [Counter(childs)]
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
    assert ref_counts(trail.events()) == Counter(some)


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
