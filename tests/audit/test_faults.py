"""The writer with a fault at its n-th file system call: refused or killed, it never lost a release.

strace injects EIO, ENOSPC or SIGKILL. Afterwards the next process finishes, ``verify`` and
``fsck`` have nothing to say, and everything released is logged.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

from vaultlayer.audit.fsck import fsck

CALLS = ("openat", "write", "pwrite64", "ftruncate", "fallocate", "fsync", "fdatasync",
         "rename", "unlink", "mkdir", "flock", "read", "close", "mmap")  # fmt: skip
MARK = "/vaultlayer-begins"

WRITER = """
import os, sys
from pathlib import Path
from vaultlayer.audit import log, notary, segment
from vaultlayer.audit.sinks.group import Sinks
from vaultlayer.audit.trail import Trail
from vaultlayer.errors import VaultLayerError
from vaultlayer.keys.provider import MemoryProvider
from vaultlayer.settings import Settings

segment.SLOTS, notary.ROUND, log.SHARD_BYTES = 64, 0.01, 4000
folder, url, durability = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
settings = Settings(folder=folder, database=url, policies=folder, provider="memory:",
                    audit_directory=folder / "audit", durability=durability)
released = os.open(folder / "released", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.path.exists("/vaultlayer-begins")
try:
    trail = Trail(settings, MemoryProvider([bytes(32)]), Sinks())
    for turn in range(12):
        try:
            number = trail.journal.open_access({"actor": {"sub": "sam"}, "purpose": "p"})
            prefix = trail.journal.spec(number, "customer", ("email",), "read", "allow")
            for _ in range(10):
                ref = os.urandom(16)
                trail.journal.append(prefix, ref)
                os.write(released, ref)
            trail.journal.close_access(number)
        except (VaultLayerError, OSError):
            pass
    trail.close()
except (VaultLayerError, OSError):
    pass
"""


@pytest.fixture
def faulty(tmp_path, new_signed, missing_part):
    """Run the writer with a fault, then check what it left behind."""
    if shutil.which("strace") is None:
        missing_part("strace")
    writer = tmp_path / "writer.py"
    writer.write_text(WRITER)

    def run(folder, durability, call, *options):
        ready = new_signed(folder)  # the tables, and a beginning
        ready.close()
        trace = folder / "trace"
        words = ["strace", "-f", "-qq", "-o", str(trace), "-e", f"trace={call},stat,newfstatat"]
        program = [sys.executable, str(writer), str(folder), ready.url, durability]
        subprocess.run([*words, *options, *program], timeout=120, check=False, capture_output=True)
        return trace.read_text(errors="replace")

    return run


def before_mark(trace, call):
    """How often the call was made before the writer began, and how often after."""
    calls = re.compile(rf"^\d+ +{call}\(")
    before, _, after = trace.partition(MARK)
    return tuple(sum(bool(calls.match(line)) for line in part.splitlines())
                 for part in (before, after))  # fmt: skip


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


def campaign(tmp_path, faulty, new_signed, call, fault, durability, places):
    folder = tmp_path / "count"
    folder.mkdir()
    before, after = before_mark(faulty(folder, durability, call), call)
    assert check(folder, new_signed) == 120
    for place in sorted({1 + round(part * (after - 1)) for part in places} if after else ()):
        folder = tmp_path / f"fault{place}"
        folder.mkdir()
        when = f"inject={call}:{fault}:when={before + place}"
        faulty(folder, durability, call, "-e", when)
        check(folder, new_signed)
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("call", "fault", "durability"),
    [
        ("write", "error=ENOSPC", "power"), ("write", "signal=KILL", "process"),
        ("fdatasync", "error=EIO", "power"),
    ],
)  # fmt: skip
def test_a_fault_at_a_call(tmp_path, faulty, new_signed, call, fault, durability):
    """The everyday form: some calls, one place each."""
    campaign(tmp_path, faulty, new_signed, call, fault, durability, [0.5])


@pytest.mark.soak
@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("fault", ["error=EIO", "error=ENOSPC", "signal=KILL"])
@pytest.mark.parametrize("call", CALLS)
def test_a_fault_at_every_call(tmp_path, faulty, new_signed, call, fault, durability):
    """Each of the writer's calls, up to 40 places of each, in both durabilities."""
    places = [number / 39 for number in range(40)]
    campaign(tmp_path, faulty, new_signed, call, fault, durability, places)
