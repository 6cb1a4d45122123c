"""When the record can't be kept, nothing is released: an error, never a hang or a skip."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import threading
import time
from contextlib import contextmanager

import pytest

from vaultlayer.audit.recover import recover
from vaultlayer.audit.slots import texts
from vaultlayer.audit.verify import verify
from vaultlayer.errors import AuditUnavailable


@contextmanager
def file_size_limit(size):
    """No file may grow beyond ``size`` bytes: what a full disk or a quota does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def read_only(path):
    """Nobody may make a file in ``path``; root, who may, becomes nobody meanwhile."""
    euid, mode = os.geteuid(), path.stat().st_mode
    path.chmod(0o555)
    for parent in path.parents:
        if parent.stat().st_uid == euid and str(parent) not in ("/", "/tmp"):
            parent.chmod(parent.stat().st_mode | 0o055)
    if euid == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(euid)
        path.chmod(mode)


def refs_told(trail):
    """The refs in the log, as it writes them."""
    return {text for event in trail.events() for text in event["refs"]}


def fill(trail, prefix, refs):
    for ref in refs:
        trail.journal.append(prefix, ref)


def test_a_full_disk_refuses_new_definitions(trail, refs):
    """A field that can't be defined can't be read; what was noted before is kept and logged."""
    number, prefix = trail.reading("email")
    trail.journal.append_many(prefix, refs(5))
    with file_size_limit(trail.log.path.stat().st_size):
        with pytest.raises(AuditUnavailable) as caught:
            for n in range(100):
                trail.reading(f"field{n}", access=number)
        assert caught.value.hint
        with pytest.raises(AuditUnavailable):
            trail.journal.close_access(number)
    trail.close()
    assert trail.values() == 5
    assert verify(trail.directory).findings == []


def test_a_definition_cut_short_by_a_full_disk_harms_no_other(trail, refs, small_segments):
    """The part of a line that fitted is removed before the next definition follows."""
    number, prefix = trail.reading("email")
    definitions = next((trail.directory / "journal").glob("*.jsonl"))
    with file_size_limit(definitions.stat().st_size + 20), pytest.raises(AuditUnavailable):
        trail.reading("name", access=number)
    _, other = trail.reading("phone", access=number)
    trail.journal.append(prefix, refs(1)[0])
    trail.journal.append(other, refs(1)[0])
    trail.journal.release()
    trail.log.release()
    (recovered,) = recover(trail.directory)
    assert recovered.notes == 2
    assert sorted(event["fields"] for event in trail.events()) == [["email"], ["phone"]]


def test_a_full_disk_refuses_the_next_segment(small_segments, trail, refs):
    """Slots are claimed on the disk beforehand: the note that has no place is refused."""
    number, prefix = trail.reading("email")
    fill(trail, prefix, refs(64))
    with file_size_limit(600):
        for _ in range(3):
            with pytest.raises(AuditUnavailable):
                trail.journal.append(prefix, refs(1)[0])
            with pytest.raises(AuditUnavailable):
                trail.journal.append_many(prefix, refs(2))
    trail.journal.append(prefix, refs(1)[0])
    trail.journal.close_access(number)
    assert trail.values() == 65


def test_a_failing_log_keeps_the_notes_and_soon_refuses_reads(
    small_segments, trail, refs, monkeypatch
):
    """While the log can't be written the journal holds at most two segments, then refuses."""
    number, prefix = trail.reading("email")
    real, failing, noted = os.write, trail.log._file.descriptor, []

    def write(descriptor, data):
        if descriptor == failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        for ref in refs(64 * 4):
            try:
                trail.journal.append(prefix, ref)
                noted.append(ref)
            except AuditUnavailable:
                pass
        assert 64 <= len(noted) <= 128
        with pytest.raises(AuditUnavailable):
            trail.journal.append(prefix, refs(1)[0])
    trail.journal.close_access(number)
    assert set(texts(noted)) <= refs_told(trail)


def test_a_log_that_fails_at_close_gets_the_notes_later(trail, refs):
    """An access whose events could not be written raises; its notes are logged at the end."""
    number, prefix = trail.reading("email")
    fill(trail, prefix, refs(10))
    with (
        file_size_limit(trail.log.path.stat().st_size + 10),
        pytest.raises(AuditUnavailable),
    ):
        trail.journal.close_access(number)
    trail.journal.close_access(number)
    trail.close()
    assert trail.values() == 10
    assert verify(trail.directory).findings == []


def test_a_read_only_folder_refuses(small_segments, trail, refs):
    """Permissions taken away while running: the next segment can't be made."""
    number, prefix = trail.reading("email")
    fill(trail, prefix, refs(64))
    with read_only(trail.directory / "journal"), pytest.raises(AuditUnavailable) as caught:
        trail.journal.append(prefix, refs(1)[0])
    assert "Permission denied" in str(caught.value)
    trail.journal.close_access(number)
    assert trail.values() == 64


def test_a_read_only_directory_opens_no_trail(tmp_path, new_trail):
    """A vault that could not record anything does not open."""
    tmp_path.joinpath("audit").mkdir()
    with read_only(tmp_path / "audit"), pytest.raises(AuditUnavailable):
        new_trail()


def test_a_removed_directory_refuses(trail, refs):
    """After `rm -r audit` no access opens and no field is defined any more."""
    number, prefix = trail.reading("email")
    trail.journal.append(prefix, refs(1)[0])
    for path in sorted(trail.directory.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    with pytest.raises(AuditUnavailable):
        trail.reading("name", access=number)
    with pytest.raises(AuditUnavailable):
        trail.journal.close_access(number)
    with pytest.raises(AuditUnavailable):
        trail.access()


def test_a_descriptor_closed_by_others_refuses(trail, refs):
    """Files closed behind our back, or replaced by another under the same number: refused."""
    number, prefix = trail.reading("email")
    trail.journal.append(prefix, refs(1)[0])
    os.close(trail.log._file.descriptor)
    stranger = os.open(os.devnull, os.O_WRONLY)
    try:
        with pytest.raises(AuditUnavailable):
            trail.journal.close_access(number)
    finally:
        trail.log._file.descriptor = -1
        os.close(stranger)
    definitions = trail.journal._segment._definitions
    os.close(definitions.descriptor)
    definitions.descriptor = -1
    with pytest.raises(AuditUnavailable):
        trail.reading("name", access=trail.journal.open_access(trail.context))


@pytest.mark.parametrize("name", ["_changing", "_settling"])
def test_a_stuck_thread_delays_others_only_until_the_deadline(trail, refs, monkeypatch, name):
    """What would wait for ever is refused after the deadline, here cut to 0.05 s."""
    monkeypatch.setattr("vaultlayer.audit.files.DEADLINE", 0.05)
    number, prefix = trail.reading("email")
    trail.journal.append(prefix, refs(1)[0])
    with getattr(trail.journal, name):
        began = time.monotonic()
        with pytest.raises(AuditUnavailable):
            if name == "_changing":
                trail.reading("name", access=number)
            else:
                trail.journal.close_access(number)
        assert time.monotonic() - began < 1
    trail.close()
    assert trail.values() == 1


def test_a_failed_sync_is_final_for_its_file(new_trail, refs, monkeypatch):
    """After a failed fdatasync the note is refused and the journal goes on in a new segment."""
    trail = new_trail(durability="power")
    number, prefix = trail.reading("email")
    first, failed, third = refs(3)
    trail.journal.append(prefix, first)

    def broken(_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr("vaultlayer.audit.files._sync_data", broken)
        with pytest.raises(AuditUnavailable):
            trail.journal.append(prefix, failed)
    before = trail.journal._segment.number
    trail.journal.append(prefix, third)
    assert trail.journal._segment.number == before + 1
    trail.journal.close_access(number)
    assert trail.values() == 3


def test_a_failed_sync_of_the_log_stops_the_log(new_trail, refs, monkeypatch):
    """The page cache can't be trusted after it: no new access in this process."""
    trail = new_trail(durability="power")
    number, prefix = trail.reading("email")
    trail.journal.append(prefix, refs(1)[0])

    def broken(_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr("vaultlayer.audit.files._sync_data", broken)
        with pytest.raises(AuditUnavailable):
            trail.journal.close_access(number)
    with pytest.raises(AuditUnavailable):
        trail.access()


def test_a_sync_beyond_the_deadline_refuses_the_read(new_trail, refs, monkeypatch):
    """A disk that takes longer than the deadline: the read it belongs to is refused."""
    trail = new_trail(durability="power")
    _, prefix = trail.reading("email")
    with monkeypatch.context() as patch:
        patch.setattr("vaultlayer.audit.files.DEADLINE", 0.01)
        patch.setattr("vaultlayer.audit.files._sync_data", lambda _: time.sleep(0.03))
        with pytest.raises(AuditUnavailable):
            trail.journal.append(prefix, refs(1)[0])


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 256 KiB of its own."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", str(tmp_path)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("mounting a tmpfs (needs root)")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_a_disk_that_really_fills_up_loses_nothing_released(
    tiny_disk, new_trail, refs, monkeypatch
):
    """Read until the disk is full: reads are refused, and each one that was not is in the log."""
    monkeypatch.setattr("vaultlayer.audit.segment.SLOTS", 1024)
    trail = new_trail(tiny_disk / "audit")
    released, refused = [], 0
    while refused < 20:
        try:
            number, prefix = trail.reading("email")
            for ref in refs(40):
                trail.journal.append(prefix, ref)
                released.append(ref)
            trail.journal.close_access(number)
        except AuditUnavailable:
            refused += 1
    trail.journal.release()
    trail.log.release()
    subprocess.run(["mount", "-o", "remount,size=8m", str(tiny_disk)], check=True)
    recover(trail.directory)
    assert len(released) > 1000
    assert set(texts(released)) <= refs_told(trail)
    assert verify(trail.directory).findings == []


def test_threads_refused_and_served_never_disagree_with_the_log(small_segments, trail, refs):
    """The log's file limit flips under four readers: released ⊆ logged, in the end."""
    released, stop = [], threading.Event()

    def work():
        while not stop.is_set():
            try:
                number, prefix = trail.reading("email")
                for ref in refs(20):
                    trail.journal.append(prefix, ref)
                    released.append(ref)
                trail.journal.close_access(number)
            except AuditUnavailable:
                time.sleep(0.001)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(15):
        time.sleep(0.01)
        with file_size_limit(500):
            time.sleep(0.01)
    stop.set()
    for thread in threads:
        thread.join()
    trail.close()
    assert released
    assert set(texts(released)) <= refs_told(trail)
    assert verify(trail.directory).findings == []
