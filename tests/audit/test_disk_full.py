"""A full disk refuses reads, and loses nothing that was released before."""

from __future__ import annotations

import subprocess
import threading
import time

import pytest

from vaultlayer.audit.recover import recover
from vaultlayer.audit.verify import verify
from vaultlayer.errors import AuditUnavailable


def fill(trail, prefix, refs):
    for ref in refs:
        trail.journal.append(prefix, ref)


def test_a_full_disk_refuses_new_definitions(trail, refs, file_size_limit):
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


def test_a_definition_cut_short_by_a_full_disk_harms_no_other(
    trail, refs, small_segments, file_size_limit
):
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


def test_a_full_disk_refuses_the_next_segment(small_segments, trail, refs, file_size_limit):
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


def test_a_log_that_fails_at_close_gets_the_notes_later(trail, refs, file_size_limit):
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
    assert set(released) <= trail.told().keys()
    assert verify(trail.directory).findings == []


def test_threads_refused_and_served_never_disagree_with_the_log(
    small_segments, trail, refs, file_size_limit
):
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
    assert set(released) <= trail.told().keys()
    assert verify(trail.directory).findings == []
