"""When the record can't be kept, nothing is released: an error, never a hang or a skip."""

from __future__ import annotations

import errno
import os
import time
from contextlib import contextmanager

import pytest

from vaultlayer.errors import AuditUnavailable


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


def fill(trail, prefix, refs):
    for ref in refs:
        trail.journal.append(prefix, ref)


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
    assert set(noted) <= trail.told().keys()


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


def test_a_note_whose_segment_retires_during_its_sync_is_made_anew(new_trail, refs, monkeypatch):
    """Another thread retired the segment: the note is put into the next one, and synced there."""
    trail = new_trail(durability="power")
    number, prefix = trail.reading("email")
    segment, real = trail.journal._segment, os.fdatasync

    def retired(descriptor):
        if not segment.map.closed:
            segment.map.close()
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr("vaultlayer.audit.files._sync_data", retired)
        (ref,) = refs(1)
        trail.journal.append(prefix, ref)
    assert trail.journal._segment is not segment
    trail.journal.close_access(number)
    assert trail.told().keys() == {ref}


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
