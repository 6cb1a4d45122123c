"""The index and the questions: they find what the log says, and nothing else."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from vaultlayer.audit.query import questions
from vaultlayer.audit.query.index import FILE, Index
from vaultlayer.audit.query.scope import scope
from vaultlayer.audit.query.unusual import unusual
from vaultlayer.audit.slots import texts
from vaultlayer.audit.verify import verify
from vaultlayer.errors import AuditUnavailable


def brute(directory):
    """All records of a log that name people, read one by one."""
    files = sorted((directory / "log").glob("*.jsonl"))
    records = [json.loads(line) for file in files for line in file.read_bytes().splitlines()]
    return [record for record in records if record.get("refs")]


def ids(events):
    return sorted((event["shard"], event["seq"]) for event in events)


@pytest.fixture(scope="module")
def large(write_log, tmp_path_factory):
    """A log of 20,000 records, its people and, read one by one, what it says."""
    directory = tmp_path_factory.mktemp("large")
    refs = write_log(directory, 20_000, people=500, readers=20)
    assert verify(directory).findings == []
    return directory, refs, brute(directory)


def test_who_read_finds_every_record_about_a_person_and_no_other(large):
    """The same as reading the whole log; the newest first, and the sums by reader."""
    directory, refs, records = large
    with Index(directory) as index:
        for ref in refs[::100]:
            mine = [record for record in records if texts([ref])[0] in record["refs"]]
            answer = questions.who_read(index, [ref])
            assert ids(answer["events"]) == ids(mine)
            assert answer["total"] == len(mine)
            moments = [event["ts"] for event in answer["events"]]
            assert moments == sorted(moments, reverse=True)
            opened = Counter(r["actor"]["sub"] for r in mine if r["decision"] != "deny")
            assert {r["sub"]: r["opened"] for r in answer["readers"] if r["opened"]} == opened
            assert "count" not in answer["events"][0], "a record's count is of all its people"
        assert questions.who_read(index, [os.urandom(16)])["events"] == []


def test_since_and_limit_bound_the_answer(large):
    """Microseconds since 1970; the total is of all."""
    directory, refs, records = large
    mine = [record for record in records if texts(refs[:1])[0] in record["refs"]]
    half = sorted(record["ts"] for record in mine)[len(mine) // 2]
    from datetime import datetime

    since = int(datetime.fromisoformat(half).timestamp() * 10**6)
    with Index(directory) as index:
        answer = questions.who_read(index, refs[:1], since=since, limit=3)
    assert answer["total"] == sum(record["ts"] >= half for record in mine)
    assert len(answer["events"]) == 3


def test_what_did_sums_up_one_principal(large):
    """Values and records as in the log, by decision and by hour."""
    directory, _, records = large
    own = [record for record in records if record["actor"]["sub"] == "u-7"]
    with Index(directory) as index:
        answer = questions.what_did(index, "u-7", limit=10_000)
        assert questions.what_did(index, "nobody")["events"] == []
    told = {one["decision"]: (one["events"], one["values"]) for one in answer["sums"]}
    assert told == {
        decision: (len(some), sum(record["count"] for record in some))
        for decision in ("allow", "deny")
        if (some := [record for record in own if record["decision"] == decision])
    }
    by_hour = defaultdict(int)
    for record in own:
        by_hour[record["ts"][:13]] += record["count"]
    assert {one["hour"][:13]: one["values"] + one["refused"] for one in answer["hours"]} == by_hour
    assert ids(answer["events"]) == ids(own)


def test_scope_tells_whose_which_fields_were_opened(large):
    """Refused reads opened nothing; the fields are those of the records."""
    directory, _, records = large
    own = [r for r in records if r["actor"]["sub"] == "u-7" and r["decision"] != "deny"]
    with Index(directory) as index:
        answer = scope(index, sub="u-7", whose=lambda refs: {ref: ref for ref in list(refs)[:5]})
    assert {one["log_ref"] for one in answer["people"]} == {r for e in own for r in e["refs"]}
    assert {tuple(one["fields"]) for one in answer["people"]} == {
        ("customer.email", "customer.name")
    }
    assert (answer["events"], answer["values"]) == (len(own), 2 * len(own))
    assert sum(one["subject"] is not None for one in answer["people"]) == 5
    assert answer["without_subject"] == len(answer["people"]) - 5


def test_denials_are_those_of_the_log(large):
    """By principal and in all."""
    directory, _, records = large
    refused = [record for record in records if record["decision"] == "deny"]
    with Index(directory) as index:
        answer = questions.denials(index, limit=10_000)
    assert ids(answer["events"]) == ids(refused)
    by = Counter(record["actor"]["sub"] for record in refused)
    assert {one["sub"]: one["events"] for one in answer["principals"]} == by


def test_the_index_follows_a_log_that_grows(trail, refs):
    """Each opening reads only what is new, also of a shard that is being written."""
    known = refs(1)
    for round_ in range(1, 4):
        number, prefix = trail.reading("email")
        trail.journal.append_many(prefix, known)
        trail.journal.close_access(number)
        with Index(trail.directory) as index:
            assert questions.who_read(index, known)["total"] == round_
    read = []
    Index(trail.directory, progress=lambda done, _: read.append(done)).close()
    assert sum(read) == 0


def test_half_a_record_waits_for_its_end(trail, refs):
    """A line that is being written is taken when it is whole, once."""
    known = refs(1)
    number, prefix = trail.reading("email")
    trail.journal.append_many(prefix, known)
    trail.journal.close_access(number)
    whole = trail.log.path.read_bytes()
    trail.close()
    for cut in (len(whole) - 9, len(whole)):
        trail.log.directory.joinpath("log").mkdir(exist_ok=True)
        (path,) = (trail.directory / "log").glob("*.jsonl")
        path.write_bytes(whole[:cut])
        with Index(trail.directory) as index:
            assert questions.who_read(index, known)["total"] == (cut == len(whole))


@pytest.mark.parametrize("trouble", ["missing", "garbage", "truncated", "another version", "old"])
def test_an_index_that_is_no_good_is_made_anew(write_log, tmp_path, trouble):
    """Missing, damaged, of another version, or of another log: the answers are the same."""
    refs = write_log(tmp_path, 2000, people=20)
    path = tmp_path / FILE
    with Index(tmp_path) as index:
        right = questions.who_read(index, refs[:1])
    assert path.stat().st_mode & 0o777 == 0o600
    if trouble == "missing":
        path.unlink()
    elif trouble == "garbage":
        path.write_bytes(os.urandom(50_000))
    elif trouble == "truncated":
        path.write_bytes(path.read_bytes()[:20_000])
    elif trouble == "another version":
        with sqlite3.connect(path) as database:
            database.execute("PRAGMA user_version = 99")
        database.close()
    else:
        shard = sorted((tmp_path / "log").glob("*.jsonl"))[0]
        lines = shard.read_bytes().splitlines(keepends=True)
        shard.write_bytes(b"".join(lines[:100]))
        remaining = brute(tmp_path)
    with Index(tmp_path) as index:
        answer = questions.who_read(index, refs[:1])
    if trouble == "old":
        mine = [r for r in remaining if texts(refs[:1])[0] in r["refs"]]
        assert ids(answer["events"]) == ids(mine)
        assert len(mine) < right["total"]
    else:
        assert answer == right


def test_a_person_read_by_many_processes(write_log, tmp_path, monkeypatch):
    """Each left a shard; their records are read with few files open, and none twice."""
    monkeypatch.setattr("vaultlayer.audit.query.index._FILES", 3)
    (ref,) = write_log(tmp_path, 80, people=1, shards=40)
    before = len([*Path("/proc/self/fd").iterdir()])
    with Index(tmp_path) as index:
        places = index.database.execute(
            "SELECT shard.name, place, length FROM event JOIN shard ON shard.id = event.shard "
            "WHERE actor IS NOT NULL ORDER BY place, shard.id"
        ).fetchall()
        lines = index.lines(places)
        open_files = [len([*Path("/proc/self/fd").iterdir()]) for _ in lines]
        assert (len(open_files), max(open_files) - before <= 8) == (80, True)
        told = questions.who_read(index, [ref])["events"]
        assert len({(event["shard"], event["seq"]) for event in told}) == len(told) == 80


def test_a_shard_that_was_pruned_is_forgotten(write_log, tmp_path):
    """Its records are in no answer and in no sum any more."""
    write_log(tmp_path, 2000, people=20, readers=3)
    with Index(tmp_path) as index:
        before = questions.what_did(index, "u-1")["sums"]
    sorted((tmp_path / "log").glob("*.jsonl"))[1].unlink()
    with Index(tmp_path) as index:
        after = questions.what_did(index, "u-1", limit=10_000)
    own = [record for record in brute(tmp_path) if record["actor"]["sub"] == "u-1"]
    assert ids(after["events"]) == ids(own)
    assert sum(one["events"] for one in after["sums"]) == len(own)
    assert sum(one["events"] for one in before) > len(own)


def test_an_index_that_lies_makes_no_record_up(write_log, tmp_path):
    """Answers come from the log: a row that points at another person's record shows nothing."""
    refs = write_log(tmp_path, 200, people=5)
    with Index(tmp_path) as index:
        other = questions.who_read(index, refs[1:2])["total"]
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("UPDATE ref SET ref = ? WHERE ref = ?", (refs[0], refs[1]))
    database.close()
    with Index(tmp_path) as index:
        answer = questions.who_read(index, refs[:1])
    mine = [r for r in brute(tmp_path) if texts(refs[:1])[0] in r["refs"]]
    assert other > 0
    assert ids(answer["events"]) == ids(mine)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user to be")
def test_a_copy_one_may_only_read_can_be_asked(write_log):
    """An auditor's copy: the index is then a temporary one."""
    with TemporaryDirectory() as name:
        copy = Path(name, "copy")
        refs = write_log(copy, 200, people=5)
        copy.parent.chmod(0o755)
        program = f"""if 1:
            import os, sqlite3
            from pathlib import Path
            from vaultlayer.audit.query.index import Index
            from vaultlayer.audit.query import questions
            os.setuid(65534)
            with Index(Path({str(copy)!r})) as index:
                print(questions.who_read(index, [bytes.fromhex({refs[0].hex()!r})])["total"])
        """
        told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        expected = sum(texts(refs[:1])[0] in r["refs"] for r in brute(copy))
        assert told.stdout.strip() == str(expected), told.stderr
        assert not (copy / FILE).exists()


def test_several_processes_may_ask_at_once(write_log, tmp_path):
    """The first brings the index up to date, the others wait."""
    refs = write_log(tmp_path, 4000, people=20)
    program = f"""if 1:
        from pathlib import Path
        from vaultlayer.audit.query.index import Index
        from vaultlayer.audit.query import questions
        with Index(Path({str(tmp_path)!r})) as index:
            print(questions.who_read(index, [bytes.fromhex({refs[0].hex()!r})])["total"])
    """
    command = [sys.executable, "-c", program]
    asking = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    told = {process.communicate(timeout=60)[0] for process in asking}
    expected = sum(texts(refs[:1])[0] in r["refs"] for r in brute(tmp_path))
    assert told == {b"%d\n" % expected}


def test_a_log_that_is_not_there_is_an_error_not_an_empty_answer(tmp_path):
    """An index of nothing would say that nobody read anything."""
    with pytest.raises(AuditUnavailable):
        Index(tmp_path)


def reads(directory, actor, moment, people, *, decision="allow"):
    """One record in a shard of its own."""
    from base64 import urlsafe_b64encode

    from vaultlayer.audit.event import canonical, timestamp

    refs = [urlsafe_b64encode(os.urandom(16))[:22].decode() for _ in range(people)]
    told = {
        "v": 1, "seq": 0, "event": "read", "ts": timestamp(moment), "decision": decision,
        "actor": {"sub": actor, "roles": []}, "refs": refs, "count": people, "entity": "customer",
        "fields": ["name"],
    }  # fmt: skip
    (directory / "log").mkdir(exist_ok=True)
    path = directory / "log" / f"shard-{time.monotonic_ns()}.jsonl"
    path.write_bytes(canonical(told) + b"\n")


DAY = 86_400
NOON = 1_750_032_000 // DAY * DAY + 12 * 3600


@pytest.mark.parametrize(
    ("what", "moment", "people", "decision"),
    [
        ("bulk", NOON + 12 * DAY, 150, "allow"),
        ("hours", NOON + 12 * DAY + 14 * 3600, 3, "allow"),
        ("refusals", NOON + 12 * DAY, 25, "deny"),
    ],
)
def test_what_is_unlike_a_principals_habit_is_found(tmp_path, what, moment, people, decision):
    """Bulk, an unwonted hour, a spike of refusals; the same by somebody used to it is not."""
    for day in range(12):
        reads(tmp_path, "sam", NOON + day * DAY, 5)
        reads(tmp_path, "batch", moment - day * DAY, people, decision=decision)
        if what == "refusals":
            reads(tmp_path, "sam", NOON + day * DAY, 1, decision="deny")
    with Index(tmp_path) as index:
        assert [f for f in unusual(index)["findings"] if f["sub"] == "sam"] == []
    reads(tmp_path, "sam", moment, people, decision=decision)
    with Index(tmp_path) as index:
        answer = unusual(index)
        (finding,) = [f for f in answer["findings"] if f["sub"] == "sam"]
        assert finding["what"] == what
        assert finding.get("people", finding.get("values")) == people
        assert unusual(index, since=int((moment + DAY) * 10**6))["findings"] == []
