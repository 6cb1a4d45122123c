"""From a note in the journal to an event in the log."""

from __future__ import annotations

import base64
from collections import Counter

import pytest

from vaultlayer.audit.slots import NO_REF
from vaultlayer.errors import AuditUnavailable, ConfigurationError


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
        "outcome": "success",
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
    assert trail.told(access=f"{trail.log.shard}.{inner}") == Counter(others)
    assert trail.told(access=f"{trail.log.shard}.{outer}") == Counter(mine)


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
    assert set(trail.told()) == set(expected)
    assert len(trail.journal_files()) == 2


def test_an_append_kept_from_an_older_segment_stays_correct(small_segments, trail, refs):
    """A thread may hold on to ``journal.append`` for as long as it likes."""
    number, prefix = trail.reading("email")
    append, some = trail.journal.append, refs(500)
    for ref in some:
        append(prefix, ref)
    trail.journal.close_access(number)
    assert trail.told().keys() == set(some)
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
    assert len(trail.journal.numbers.known) < 60
    assert len(trail.journal.numbers.accesses) < 60
    assert len(trail.journal.numbers.kinds) == 1


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
