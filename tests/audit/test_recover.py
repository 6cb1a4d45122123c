"""What a dead process left is finished: told, marked, and closed."""

from __future__ import annotations

import os

import pytest

from vaultlayer.audit.log import Log
from vaultlayer.audit.recover import recover, recoverable
from vaultlayer.audit.slots import texts
from vaultlayer.audit.verify import verify
from vaultlayer.errors import AuditUnavailable


def newest(trail):
    return max((trail.directory / "log").iterdir())


def test_recovered_events_say_so_and_name_their_notes(new_trail, refs):
    """The same event as ever, marked, in the dead process's own shard, which is then closed."""
    trail = new_trail()
    _, prefix = trail.reading("email")
    some = refs(3)
    trail.journal.append_many(prefix, some)
    shard = trail.log.shard
    trail.crash()
    (recovered,) = recover(trail.directory)
    assert (recovered.shard, recovered.notes, recovered.torn) == (shard, 3, 0)
    opened, note, event, closed = trail.records()
    assert [opened["event"], note["event"], closed["event"]] == ["open", "recover", "close"]
    assert event["recovered"] is True
    assert event["refs"] == texts(some)
    assert event["actor"]["sub"] == "u-17"
    assert event["journal"]["shard"] == event["shard"] == shard


def test_open_accesses_are_defined_in_every_segment(small_segments, new_trail, refs, check_whole):
    """A crash in the third segment of a long access loses neither who nor what."""
    trail = new_trail()
    access, prefix = trail.reading("email")
    _, other = trail.reading("name", access=access)
    some = refs(150)
    trail.journal.append_many(prefix, some[:140])
    trail.journal.append_many(other, some[140:])
    trail.crash()
    recover(trail.directory)
    check_whole(trail.directory, some)
    assert {event["actor"]["sub"] for event in trail.events()} == {"u-17"}


def test_living_processes_are_left_alone(trail, refs):
    """Recovery beside a working vault touches nothing of it."""
    _, prefix = trail.reading("email")
    trail.journal.append(prefix, refs(1)[0])
    before = trail.journal_files(), trail.log.path.read_bytes()
    assert recover(trail.directory) == []
    assert (trail.journal_files(), trail.log.path.read_bytes()) == before
    assert verify(trail.directory).findings == []


def test_many_recoveries_at_once_agree(new_trail, refs, tmp_path, in_child, check_whole):
    """Six processes recover the same orphans: each note is told once."""
    directory, given = tmp_path / "audit", []
    for _ in range(5):
        trail = new_trail(directory)
        _, prefix = trail.reading("email")
        given += refs(30)
        trail.journal.append_many(prefix, given[-30:])
        trail.journal.release()
        trail.log.release()
    for child in [in_child(lambda: recover(directory)) for _ in range(6)]:
        os.waitpid(child, 0)
    recover(directory)
    check_whole(directory, given)


def test_a_journal_whose_log_is_gone_is_recovered_into_a_new_shard(new_trail, refs, check_whole):
    """Someone removed the log of a crashed process: what the journal knows is still told."""
    trail = new_trail()
    _, prefix = trail.reading("email")
    some = refs(3)
    trail.journal.append_many(prefix, some)
    trail.crash()
    newest(trail).unlink()
    recover(trail.directory)
    check_whole(trail.directory, some)


def test_notes_whose_definition_was_lost_are_told_as_damaged(new_trail, refs, check_whole):
    """A power cut took the definitions: the refs are in the log, under journal_damaged."""
    trail = new_trail()
    _, prefix = trail.reading("email")
    some = refs(3)
    trail.journal.append_many(prefix, some)
    (definitions,) = (trail.directory / "journal").glob("*.jsonl")
    trail.crash()
    definitions.write_bytes(b"\0" * 300)
    recover(trail.directory)
    (event,) = trail.events("journal_damaged")
    assert event["refs"] == texts(some)
    check_whole(trail.directory, some, event="journal_damaged")


def test_a_damaged_last_record_does_not_stop_recovery(new_trail, refs):
    """Zeros where the power cut hit the log: recovery goes on behind them, verify reports them."""
    trail = new_trail()
    _, prefix = trail.reading("email")
    trail.journal.append_many(prefix, refs(3))
    trail.crash()
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


def test_files_that_could_not_be_removed_do_not_lengthen_an_ended_shard(
    signed, refs, monkeypatch
):
    """Their notes were told: they go, and what was signed to its end stays as it is."""

    real = os.unlink

    def fails(path, *rest, **more):
        if str(path).endswith(".slots"):
            raise OSError(5, "Input/output error")
        real(path, *rest, **more)

    signed.read(refs(3))
    with monkeypatch.context() as broken:
        broken.setattr("os.unlink", fails)
        signed.close()
    assert len(signed.journal_files()) == 2
    signed.open()
    signed.close()
    assert signed.journal_files() == []
    report = signed.verify()
    assert (report.findings, report.unsigned) == ([], 0)


def test_nothing_to_recover_makes_nothing(tmp_path):
    """Recovery of a directory that is not there is no error and makes no folders."""
    assert recover(tmp_path / "audit") == []
    assert not (tmp_path / "audit").exists()


def test_an_unreadable_directory_is_an_error(tmp_path):
    """Recovery that can't look must not say that all is well."""
    (tmp_path / "log").write_text("a file where the folder should be")
    with pytest.raises(AuditUnavailable):
        recover(tmp_path)


def test_shards_that_were_sealed_are_not_looked_at_again(signed, refs, monkeypatch):
    """However many processes there have been, the next start costs what the last one left."""
    for _ in range(3):
        signed.read(refs(1))
        signed.close()
        signed.open()
    signed.read(refs(2))
    signed.signed()
    left = signed.log.shard
    signed.crash()
    looked, real = [], Log.resume
    monkeypatch.setattr(Log, "resume", lambda *given: looked.append(given[1]) or real(*given))
    assert recoverable(signed.directory)[0].shard == left
    assert [one.shard for one in recover(signed.directory)] == looked == [left]
    signed.open()
    assert signed.verify().findings == []
