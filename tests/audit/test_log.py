"""The log's chain, and that nothing outside can drop or edit a record."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import structlog

from vaultlayer.audit.event import canonical
from vaultlayer.audit.files import File
from vaultlayer.audit.journal import Journal
from vaultlayer.audit.log import Log
from vaultlayer.audit.shard import GENESIS
from vaultlayer.audit.verify import verify
from vaultlayer.errors import AuditUnavailable, ConfigurationError


def test_each_line_carries_the_hash_of_the_line_before(trail):
    """prev is SHA-256 over the former line's bytes; seq counts from 0; lines are canonical."""
    for number in range(5):
        trail.log.write("key", action="rotate", generation=number)
    path = trail.log.path
    trail.close()
    prev = GENESIS
    for seq, line in enumerate(path.read_bytes().splitlines()):
        record = json.loads(line)
        assert (record["seq"], record["prev"]) == (seq, prev)
        assert canonical(record) == line
        prev = hashlib.sha256(line).hexdigest()
    assert [r["event"] for r in trail.records()] == ["open", *["key"] * 5, "close"]
    assert verify(trail.directory).findings == []


def test_the_applications_structlog_setup_changes_nothing(trail):
    """Neither configure(), nor capture_logs(), nor context variables reach the log's records."""

    def drop(*_):
        raise structlog.DropEvent

    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, drop],
        wrapper_class=structlog.make_filtering_bound_logger(50),
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=True,
    )
    try:
        with (
            structlog.contextvars.bound_contextvars(event="forged", actor="nobody", extra=1),
            structlog.testing.capture_logs() as captured,
        ):
            trail.log.write("policy", digest="cd")
            number, prefix = trail.reading("email")
            trail.journal.append(prefix, os.urandom(16))
            trail.journal.close_access(number)
            trail.log.write("policy", digest="ef")
    finally:
        structlog.reset_defaults()
    assert captured == []
    assert [record["event"] for record in trail.records()] == ["open", "policy", "read", "policy"]
    assert not any("extra" in record for record in trail.records())
    assert trail.events()[0]["actor"]["sub"] == "u-17"


def test_importing_and_logging_leave_structlog_unconfigured(trail):
    """The library never calls structlog.configure()."""
    trail.log.write("key")
    assert not structlog.is_configured()


def test_threads_write_whole_lines_in_one_chain(trail):
    """Eight threads: no line is torn, doubled, lost or out of the chain."""
    threads = [
        threading.Thread(target=lambda n=n: [trail.log.write("key", n=n, i=i) for i in range(100)])
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    written = [(record["n"], record["i"]) for record in trail.events("key")]
    assert sorted(written) == [(n, i) for n in range(8) for i in range(100)]
    trail.close()
    assert verify(trail.directory).findings == []


def test_a_batch_is_written_whole_or_not_at_all(trail, monkeypatch):
    """A write that the disk cuts short is taken back, and the chain goes on."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[: len(data) // 2]))
    with pytest.raises(AuditUnavailable):
        trail.log.write_all([{"event": "key", "n": n} for n in range(3)])
    monkeypatch.undo()
    trail.log.write("key", n=9)
    trail.close()
    assert [record["n"] for record in trail.events("key")] == [9]
    assert verify(trail.directory).findings == []


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_an_interrupted_write_leaves_a_sound_chain(trail, monkeypatch, part):
    """Ctrl-C in the middle of a write: whole lines stay, a part of one is taken back."""
    real = os.write

    def interrupted(fd, data):
        if part:
            real(fd, data[: int(len(data) * part)])
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trail.log.write("key", n=1)
    monkeypatch.undo()
    trail.log.write("key", n=2)
    trail.close()
    assert [record["n"] for record in trail.events("key")] == ([1, 2] if part == 1 else [2])
    assert verify(trail.directory).findings == []


def test_a_second_writer_is_noticed(trail):
    """A line someone else appended to a living shard stops the log instead of forking it."""
    trail.log.write("key")
    with trail.log.path.open("ab") as other:
        other.write(b'{"event":"forged"}\n')
    with pytest.raises(AuditUnavailable):
        trail.log.write("key")
    with pytest.raises(AuditUnavailable):
        trail.access()


def test_a_new_shard_that_a_recovery_takes_for_an_orphan_gets_another_name(tmp_path, monkeypatch):
    """Between making its file and locking it a log looks dead; losing the file is no harm."""
    real, taken = File.lock, []

    def lock(file, *, wait):
        if not taken:
            (path,) = (tmp_path / "log").iterdir()
            path.unlink()
            taken.append(path)
        return real(file, wait=wait)

    monkeypatch.setattr(File, "lock", lock)
    log = Log(tmp_path)
    assert log.path != taken[0]
    log.close()
    assert verify(tmp_path).findings == []


def test_a_removed_shard_is_noticed(trail):
    """A log file that is deleted under its process takes no further records, nor new accesses."""
    trail.log.path.unlink()
    with pytest.raises(AuditUnavailable):
        trail.log.write("key")
    with pytest.raises(AuditUnavailable):
        trail.access()


def test_a_closed_log_refuses(trail):
    """After close() nothing is written, and closing again is harmless."""
    trail.close()
    size = sum(path.stat().st_size for path in (trail.directory / "log").iterdir())
    with pytest.raises(AuditUnavailable):
        trail.log.write("key")
    trail.log.close()
    assert sum(path.stat().st_size for path in (trail.directory / "log").iterdir()) == size


@pytest.mark.parametrize("value", [0.5, b"bytes", {"deep": [2**60]}, {1, 2}])
def test_values_without_a_canonical_form_are_refused(trail, value):
    """A record that can't be written exactly is not written."""
    with pytest.raises(ConfigurationError):
        trail.log.write("key", value=value)
    assert trail.events("key") == []


def test_files_are_private(trail):
    """The audit folders are 0700, its files 0600."""
    for path in [trail.directory, *trail.directory.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_missing_parent_directory_is_refused_with_a_hint(tmp_path):
    """The audit directory itself is made, its parents are not."""
    Log(tmp_path / "audit").close()
    with pytest.raises(AuditUnavailable) as caught:
        Log(tmp_path / "no" / "such" / "audit")
    assert caught.value.hint


def test_a_process_that_ends_normally_ends_its_shard(tmp_path):
    """Without an explicit close, the exit handler logs the notes and closes the shard."""
    program = """if True:
        import os, sys
        from pathlib import Path
        from vaultlayer.audit.journal import Journal
        from vaultlayer.audit.log import Log
        log = Log(Path(sys.argv[1]))
        journal = Journal(Path(sys.argv[1]), log=log)
        number = journal.open_access({"actor": {"sub": "u"}, "purpose": "p"})
        prefix = journal.spec(number, "customer", ["email"], "read", "allow")
        journal.append(prefix, os.urandom(16))
    """
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    (shard,) = (tmp_path / "log").iterdir()
    assert [json.loads(line)["event"] for line in shard.read_text().splitlines()] == [
        "open",
        "read",
        "close",
    ]
    assert list((tmp_path / "journal").iterdir()) == []
    assert verify(tmp_path).findings == []


def test_trails_nobody_closed_are_collected_with_their_files(new_trail, tmp_path):
    """A suite that opens a vault a test and closes none does not run out of descriptors."""
    gc.collect()  # what earlier tests left behind is not of this one
    number, before = 20, sum(1 for _ in Path("/dev/fd").iterdir())
    for n in range(number):
        journal = Journal(tmp_path / str(n), log=Log(tmp_path / str(n)))
        journal.open_access({"actor": {"sub": "u"}, "purpose": "p"})
    del journal
    gc.collect()
    assert sum(1 for _ in Path("/dev/fd").iterdir()) <= before
