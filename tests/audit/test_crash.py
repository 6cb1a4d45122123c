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
from vaultlayer.audit.verify import verify

ROUNDS = int(os.environ.get("VAULTLAYER_KILL_ROUNDS", "20"))
READERS = 2


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


def test_released_is_a_subset_of_logged_whenever_the_process_is_killed(
    small_segments, new_trail, tmp_path, in_child, check_whole
):
    """kill -9 at random moments, readers in two threads: not one release is missing."""
    seed = random.randrange(2**32)
    moments = random.Random(seed)
    for number in range(ROUNDS):
        directory = tmp_path / f"round{number}"
        path = tmp_path / f"released{number}"
        released = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        child = in_child(lambda d=directory, f=released: read_for_ever(new_trail(d), f))
        time.sleep(moments.uniform(0.005, 0.06))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(released)
        data = path.read_bytes()
        refs = [data[at : at + 16] for at in range(0, len(data), 16)]
        recover(directory)
        if list(directory.glob("log/*")):
            told = check_whole(directory, refs)
            assert told - len(refs) <= READERS * 8, (
                f"more than the readers had in hand, seed {seed}"
            )
        else:  # killed before its first record
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
    small_segments,
    new_trail,
    refs,
    tmp_path,
    monkeypatch,
    owner,
    name,
    before,
    in_child,
    check_whole,
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

    child = in_child(work)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    recover(directory)
    check_whole(directory, some[:64] if name in ("retire", "delete") else some[:21])


@pytest.mark.parametrize("steps", range(12))
def test_recovery_itself_may_be_killed_and_run_again(
    small_segments, new_trail, refs, tmp_path, monkeypatch, steps, in_child, check_whole
):
    """A recovery killed at its n-th write or removal leaves a state the next one finishes."""
    trail = new_trail(tmp_path / "audit")
    number, prefix = trail.reading("email")
    _, other = trail.reading("name", access=number)
    some = refs(50)
    trail.journal.append_many(prefix, some)
    trail.journal.append_many(other, some[:10])
    trail.crash()
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

    os.waitpid(in_child(work), 0)
    recover(trail.directory)
    check_whole(trail.directory, some)
    assert trail.values() == 60


def newest(trail):
    return max((trail.directory / "log").iterdir())


@pytest.mark.parametrize("part", [0.01, 0.5, 0.99])
def test_a_line_torn_by_a_crash_is_reported_as_torn_and_taken_off_by_recover(
    new_trail, refs, tmp_path, monkeypatch, part, in_child, check_whole
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

    os.waitpid(in_child(work), 0)
    findings = verify(directory).findings
    assert ["torn" in finding.what for finding in findings] == [True, False]
    (recovered,) = recover(directory)
    assert recovered.torn > 0
    (shard,) = (directory / "log").iterdir()
    note = json.loads(shard.read_bytes().splitlines()[1])
    assert (note["event"], note["torn"]) == ("recover", recovered.torn)
    assert len(note["torn_sha256"]) == 64
    check_whole(directory, some)
