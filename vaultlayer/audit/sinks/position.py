"""How far a sink has come in each shard, so that what a killed process still had to send is sent.

``<directory>/sinks/<shard>.<sink>`` holds a number: how many of the shard's records the sink has.
It is made before the shard's first record and removed once the sink has the last. The process
whose shard it is holds its lock; who gets the lock knows that the process is gone.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from vaultlayer.audit.files import File, folder, persist, unavailable
from vaultlayer.audit.sinks.sink import Record
from vaultlayer.errors import AuditUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Any

_FOLDER = "sinks"


class Positions:
    """Those of one sink, in the shards that this process writes."""

    def __init__(self, sink: str) -> None:
        self._sink = sink
        self.release()

    def begin(self, directory: Path, shard: str, *, power: bool) -> None:
        """Know a shard from now on; ``AuditUnavailable`` where that can't be kept."""
        try:
            path = folder(directory, _FOLDER) / f"{shard}.{self._sink}"
            file = File(path, os.O_EXCL)
            file.lock(wait=False)
            if power:
                persist(path.parent)
        except OSError as error:
            raise unavailable("an audit sink's position can't be kept", error) from error
        with self._guard:
            self._files[shard] = path, file

    def advance(self, events: Sequence[Mapping[str, Any]]) -> None:
        """The sink has these. Where that can't be noted, they are sent again one day."""
        for shard, event in {event.get("shard", ""): event for event in events}.items():
            with self._guard, suppress(AuditUnavailable):
                if shard in self._files and _note(*self._files[shard], event):
                    del self._files[shard]

    def close(self) -> None:
        """Leave what is not sent yet to the next process."""
        with self._guard:
            for _, file in self._files.values():
                _let_go(file)
            self._files.clear()

    def release(self) -> None:
        """Forget all. In a forked child: the locks are the parent's."""
        self._guard = threading.Lock()
        self._files: dict[str, tuple[Path, File]] = {}


class Orphan:
    """What a process that is gone still had to send of one shard, recovered records included."""

    def __init__(self, directory: Path, path: Path, sink: str, file: File, form: str) -> None:
        self._path, self._file = path, file
        shard = path.name.removesuffix(f".{sink}")
        self._lines = _lines(directory / "log" / f"{shard}.jsonl", _read(file), form)
        self._records: list[Record] = []

    def records(self, most: int) -> list[Record]:
        """The next ones, the same until ``sent``; none at the end."""
        self._records = self._records or list(islice(self._lines, most))
        if not self._records:
            _let_go(self._file)
        return self._records

    def sent(self) -> None:
        """The sink has them."""
        with suppress(AuditUnavailable):
            _note(self._path, self._file, self._records[-1].event)
        self._records = []


def orphans(directory: Path, sink: str, form: str) -> Iterator[Orphan]:
    """What other processes left to be sent to this sink, the oldest shard first."""
    for path in sorted((directory / _FOLDER).glob(f"*.{sink}")):
        with suppress(OSError):
            file = File(path, 0)
            if file.lock(wait=False):
                yield Orphan(directory, path, sink, file, form)


def _note(path: Path, file: File, event: Mapping[str, Any]) -> bool:
    """Write down that the sink has this record; whether it is the shard's last."""
    if event["event"] != "close":
        file.overwrite(b"%020d" % (event["seq"] + 1), 0)
        return False
    path.unlink(missing_ok=True)
    _let_go(file)
    return True


def _let_go(file: File) -> None:
    if file.descriptor >= 0:
        file.unlock()
        file.close()


def _read(file: File) -> int:
    try:
        return int(file.read(20, 0) or b"0")
    except (ValueError, AuditUnavailable):
        return 0


def _lines(path: Path, start: int, form: str) -> Iterator[Record]:
    """The records of a shard from number ``start`` on; what is none is left out."""
    with suppress(FileNotFoundError), path.open("rb") as lines:
        for line in islice(lines, start, None):
            with suppress(ValueError, KeyError, TypeError, AttributeError):
                yield Record.of(line.rstrip(b"\n"), form)
