"""The power fails: what no ``fsync`` put on the disk may be gone, in any combination.

A model of a disk: it knows of each file the bytes, and of each folder the names, of the last
``fsync``; what came since (pages, an end, names, removals, renames) it keeps or drops as chance
has it. At each release, and before and after each ``fsync``, states are taken of what a disk may
hold then; from each of them the next process must make a whole log with every release in it.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from vaultlayer.audit import files
from vaultlayer.audit.fsck import fsck

PAGE, ROUNDS, NOTES = 4096, 4, 5
STATES = int(os.environ.get("VAULTLAYER_POWER_STATES", "1000"))  # of each run, at most


class Disk:
    """What of ``root`` survives the loss of power; ``take`` gives one possible remainder."""

    def __init__(self, root, seed):
        self.root, self.chance = root, random.Random(seed)
        self.lock = threading.RLock()
        self.names, self.bytes = {}, {}  # of the last fsync: by folder; by file
        self.files = {}  # which file an inode's number stands for now: numbers are used again
        for folder in [root, *filter(Path.is_dir, root.rglob("*"))]:
            for path in filter(Path.is_file, folder.iterdir()):
                self.opened(path)
                self.bytes[self.file(path.stat().st_ino)] = path.read_bytes()
            self.names[folder] = self.listed(folder)

    def opened(self, path):
        """A new file begins."""
        self.files[path.stat().st_ino] = object()

    def file(self, inode):
        return self.files.setdefault(inode, object())

    def listed(self, folder):
        """A folder's names: its files, None for folders."""
        with os.scandir(folder) as entries:
            return {e.name: None if e.is_dir() else self.file(e.inode()) for e in entries}

    def synced(self, descriptor):
        place = Path(f"/proc/self/fd/{descriptor}").readlink()
        if place.is_dir():
            self.names[place] = self.listed(place)
        else:
            self.bytes[self.file(place.stat().st_ino)] = place.read_bytes()

    def take(self, *, luck):
        """Path: bytes of what is left. ``luck``: how likely something not synced is there."""
        return dict(self._folder(self.root, luck))

    def _folder(self, folder, luck):
        safe, now = self.names.get(folder, {}), self.listed(folder)
        for name in sorted(safe.keys() | now.keys()):
            names, path = now if self._is_kept(luck) else safe, folder / name
            if name in names and names[name] is None:
                yield path, None
                yield from self._folder(path, luck)
            elif name in names:
                there = path if now.get(name) is names[name] else None
                yield path, self._content(self.bytes.get(names[name], b""), there, luck)

    def _content(self, safe, path, luck):
        """The file's end and each page, as they were synced or as they are."""
        now = path.read_bytes() if path else safe
        end = len(now if self._is_kept(luck) else safe)
        if luck and end > len(safe):
            end = self.chance.randint(len(safe), end)
        pages = []
        for start in range(0, end, PAGE):
            page = (now if self._is_kept(luck) else safe)[start : min(start + PAGE, end)]
            pages.append(page.ljust(min(PAGE, end - start), b"\0"))
        return b"".join(pages)

    def _is_kept(self, luck):
        return self.chance.random() < luck


@pytest.fixture
def states(tmp_path, new_signed, monkeypatch):
    """Run a writer of a durability; (what was released, the disk, the heads) at many moments."""
    monkeypatch.setattr("vaultlayer.audit.segment.SLOTS", 16)
    monkeypatch.setattr("vaultlayer.audit.log.SHARD_BYTES", 4000)

    def run(durability, seed):
        new_signed(tmp_path).close()
        disk, found, released = Disk(tmp_path / "audit", seed), [], []

        def take(luck):
            with closing(sqlite3.connect(":memory:")) as copy:
                with closing(sqlite3.connect(tmp_path / "heads.db")) as heads:
                    heads.backup(copy)
                found.append((tuple(released), disk.take(luck=luck), copy.serialize()))

        def syncing(real):
            def sync(descriptor):
                with disk.lock:  # no fsync ends while a state is taken
                    take(disk.chance.choice([0, 0.5, 0.9]))
                    real(descriptor)
                    disk.synced(descriptor)

            return sync

        def opening(path, flags, *rest, **more):
            with disk.lock:
                is_new = bool(flags & os.O_CREAT) and not Path(path).exists()
                descriptor = real_open(path, flags, *rest, **more)
                if is_new:
                    disk.opened(Path(path))
                return descriptor

        real_open = os.open
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", syncing(os.fsync))
            patch.setattr(files, "_sync_data", syncing(os.fdatasync))
            patch.setattr(os, "open", opening)
            trail = new_signed(tmp_path, durability=durability)
            for turn in range(ROUNDS):
                number, prefix = trail.reading("email")
                for _ in range(NOTES):
                    ref = os.urandom(16)
                    trail.journal.append(prefix, ref)
                    released.append(ref)
                    with disk.lock:
                        take(0)
                trail.journal.close_access(number)
                if turn % 2:
                    trail.signed()
            trail.close()
        return found

    return run


def put(folder, left, heads):
    """Make ``folder`` what the disk has left."""
    shutil.rmtree(folder / "audit")
    (folder / "audit").mkdir()
    for path, content in left.items():
        path.mkdir() if content is None else path.write_bytes(content)
    (folder / "heads.db").unlink()
    (folder / "heads.db").write_bytes(heads)


def check(folder, new_signed, released, told):
    """The next process goes on, and afterwards everything released is told and nothing is wrong."""
    trail = new_signed(folder)
    trail.close()
    assert set(released) <= trail.told().keys(), told
    report = trail.verify()
    assert (report.findings, report.unsigned) == ([], 0), told
    assert [one for one in fsck(trail.directory, repair=True) if not one.repaired] == [], told
    assert fsck(trail.directory) == [], told


def campaign(tmp_path, states, new_signed, monkeypatch, durability, most):
    seed = random.randrange(2**32)
    found = states(durability, seed)
    monkeypatch.setattr(os, "fsync", lambda _: None)  # the power stays on now
    monkeypatch.setattr(files, "_sync_data", lambda _: None)
    assert len(found) > ROUNDS * NOTES
    assert len(found[-1][0]) == ROUNDS * NOTES
    chosen = random.Random(seed).sample(range(len(found)), min(most, len(found)))
    for number in sorted(chosen):
        released, left, heads = found[number]
        put(tmp_path, left, heads)
        check(tmp_path, new_signed, released if durability == "power" else (),
              f"state {number} of {len(found)}, seed {seed}")  # fmt: skip
    return len(chosen)


@pytest.mark.parametrize("durability", ["power", "process"])
def test_a_power_cut_loses_no_release(tmp_path, states, new_signed, monkeypatch, durability):
    """With "process" notes may be lost, but the log that was signed is there and whole."""
    assert campaign(tmp_path, states, new_signed, monkeypatch, durability, 16) == 16


@pytest.mark.soak
@pytest.mark.parametrize("durability", ["power", "process"])
@pytest.mark.parametrize("part", range(10))
def test_no_power_cut_loses_a_release(tmp_path, states, new_signed, monkeypatch, durability, part):
    """Every state that was taken of ten runs."""
    assert campaign(tmp_path, states, new_signed, monkeypatch, durability, STATES) > ROUNDS * NOTES
