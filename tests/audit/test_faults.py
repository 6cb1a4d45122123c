"""The writer with a fault at its n-th file system call: refused or killed, it never lost a release.

strace injects EIO, ENOSPC or SIGKILL into a forked writer. Afterwards the next process finishes,
``verify`` and ``fsck`` have nothing to say, and everything released is logged.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from vaultlayer.audit.fsck import fsck
from vaultlayer.errors import VaultLayerError

CALLS = ("openat", "write", "pwrite64", "ftruncate", "fallocate", "fsync", "fdatasync",
         "rename", "unlink", "mkdir", "flock", "read", "close", "mmap")  # fmt: skip
TURNS, NOTES = 5, 6
PLACES = int(os.environ.get("VAULTLAYER_FAULT_PLACES", "40"))  # of each call, at most


@pytest.fixture
def small(monkeypatch, fast_rounds):
    """Segments and shards so small that a few notes go through several of each."""
    monkeypatch.setattr("vaultlayer.audit.segment.SLOTS", 16)
    monkeypatch.setattr("vaultlayer.audit.log.SHARD_BYTES", 3000)


@pytest.fixture
def faulty(tmp_path, new_signed, missing_part, small):
    """Run the writer with a fault; what strace saw of one call, by thread."""
    if shutil.which("strace") is None:
        missing_part("strace")

    def run(folder, durability, call, *options):
        folder.mkdir()
        new_signed(folder).close()  # the tables, and a beginning
        waiting, go = os.pipe()
        child = os.fork()
        if child == 0:
            os.read(waiting, 1)
            try:
                write(folder, durability, new_signed)
            finally:
                os._exit(0)
        trace = folder / "trace"
        words = ["strace", "-f", "-qq", "-o", str(trace), "-p", str(child), "-e", f"trace={call}"]
        with subprocess.Popen([*words, *options], stderr=subprocess.DEVNULL) as strace:
            wait_for_tracer(child)
            os.write(go, b"x")
            os.close(go)
            os.waitpid(child, 0)
            strace.wait(20)
        os.close(waiting)
        seen = re.findall(rf"^(\d+) +{call}\(", trace.read_text(errors="replace"), re.MULTILINE)
        return Counter(seen)

    return run


def wait_for_tracer(process):
    status = Path(f"/proc/{process}/status")
    end = time.monotonic() + 20
    while "TracerPid:\t0\n" in status.read_text():
        assert time.monotonic() < end
        time.sleep(0.001)


def write(folder, durability, new_signed):
    """What the child does: read and note it until it is done, refused or killed."""
    released = os.open(folder / "released", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with suppress(VaultLayerError, OSError):
        trail = new_signed(folder, durability=durability)
        for _ in range(TURNS):
            with suppress(VaultLayerError, OSError):
                number, prefix = trail.reading("email")
                for _ in range(NOTES):
                    ref = os.urandom(16)
                    trail.journal.append(prefix, ref)
                    os.write(released, ref)
                trail.journal.close_access(number)
        trail.close()


def check(folder, new_signed):
    trail = new_signed(folder)
    trail.read([os.urandom(16)])
    trail.close()
    data = (folder / "released").read_bytes() if (folder / "released").exists() else b""
    released = {data[at : at + 16] for at in range(0, len(data) - len(data) % 16, 16)}
    assert released <= trail.told().keys()
    report = trail.verify()
    assert (report.findings, report.unsigned) == ([], 0)
    assert [one for one in fsck(trail.directory, repair=True) if not one.repaired] == []
    assert fsck(trail.directory) == []
    return len(released)


def campaign(tmp_path, faulty, new_signed, call, fault, durability, most):
    """A fault at each of the calls, or at ``most`` of them, evenly; how many were tried.

    strace counts the calls of each thread by itself, so the n-th may be hit in several.
    """
    calls = max(faulty(tmp_path / "count", durability, call).values(), default=0)
    assert check(tmp_path / "count", new_signed) == TURNS * NOTES
    places = sorted({1 + n * calls // most for n in range(most)} if calls else ())
    for place in places:
        folder = tmp_path / f"fault{place}"
        faulty(folder, durability, call, "-e", f"inject={call}:{fault}:when={place}")
        check(folder, new_signed)
        shutil.rmtree(folder)
    return len(places)


@pytest.mark.parametrize(
    ("call", "fault", "durability"),
    [
        ("write", "error=ENOSPC", "power"), ("write", "signal=KILL", "process"),
        ("fdatasync", "error=EIO", "power"),
    ],
)  # fmt: skip
def test_a_fault_at_a_call(tmp_path, faulty, new_signed, call, fault, durability):
    """The everyday form: some calls, a few places each."""
    assert campaign(tmp_path, faulty, new_signed, call, fault, durability, 4) == 4


@pytest.mark.soak
@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("fault", ["error=EIO", "error=ENOSPC", "signal=KILL"])
@pytest.mark.parametrize("call", CALLS)
def test_a_fault_at_every_call(tmp_path, faulty, new_signed, call, fault, durability):
    """Each of the writer's calls, at all places or as many as are wanted, in both durabilities."""
    campaign(tmp_path, faulty, new_signed, call, fault, durability, PLACES)
