"""An index of the log, so that one person's reads among millions are found at once.

``<directory>/index.sqlite`` says of each record that names an actor or people where it lies in the
log, when it was written, by whom and about which ``log_ref``s. It is made from the log, brought up
to date before each question, and made anew when it is missing, damaged or of another version. It
proves nothing: answers are read from the log itself, and whether that is whole is ``verify``'s to
say.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from vaultlayer.audit.files import unavailable
from vaultlayer.audit.query.rows import NAMES, Rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

FILE = "index.sqlite"
VERSION = 1

_BULK = 64 << 20  # bytes to read from which on the tree of refs is built once, at the end
_BATCH = 2_000  # records
_FILES = 64  # open at once while records are read: a log has a shard for each process there was
_WAIT = 600.0  # seconds for another process that brings the index up to date

_TABLES = """
CREATE TABLE shard (id INTEGER PRIMARY KEY, name TEXT UNIQUE, bytes INTEGER,
    last INTEGER, digest BLOB);
CREATE TABLE name (id INTEGER PRIMARY KEY, name TEXT UNIQUE);
CREATE TABLE actor (id INTEGER PRIMARY KEY, iss TEXT, sub TEXT, UNIQUE (sub, iss));
CREATE TABLE token (id INTEGER PRIMARY KEY, name TEXT UNIQUE);
CREATE TABLE event (id INTEGER PRIMARY KEY, shard INTEGER, place INTEGER, length INTEGER,
    ts INTEGER, actor INTEGER, token INTEGER, name INTEGER, decision INTEGER);
CREATE INDEX event_by_actor ON event (actor, ts);
CREATE INDEX event_by_token ON event (token, ts) WHERE token IS NOT NULL;
CREATE INDEX event_denied ON event (ts) WHERE decision = 3;
CREATE TABLE ref (ref BLOB, event INTEGER);
CREATE TABLE hour (shard INTEGER, actor INTEGER, hour INTEGER, name INTEGER, decision INTEGER,
    reason INTEGER, events INTEGER, people INTEGER, touched INTEGER, most INTEGER,
    PRIMARY KEY (actor, hour, name, decision, reason, shard)) WITHOUT ROWID;
"""
_TREE = "CREATE INDEX IF NOT EXISTS ref_by_ref ON ref (ref, event)"


class Index:
    """The index of the log under ``directory``; where that can't be written to, a temporary one.

    Opening it brings it up to date; ``progress(done, all)`` hears of it in bytes of the log.
    """

    def __init__(
        self, directory: Path, *, progress: Callable[[int, int], None] = lambda *_: None
    ) -> None:
        self._logs = directory / "log"
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._progress = progress
        if not any(self._logs.glob("*.jsonl")):
            raise unavailable(f"there is no audit log in {directory}")
        try:
            self.database = self._opened(directory / FILE)
        except OSError:
            self._temporary = tempfile.TemporaryDirectory(prefix="vaultlayer-index-")
            self.database = self._opened(Path(self._temporary.name) / FILE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.database.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def lines(self, places: Sequence[tuple[str, int, int]]) -> Iterator[bytes]:
        """The records at some places (shard, byte, length) of the log, in that order.

        A shard that is gone meanwhile is passed over.
        """
        files: dict[str, Any] = {}
        try:
            for shard, place, length in places:
                if shard not in files:
                    if len(files) >= _FILES:
                        files.pop(next(iter(files))).close()
                    with suppress(FileNotFoundError):
                        files[shard] = (self._logs / f"{shard}.jsonl").open("rb")
                file = files.get(shard)
                if file is not None:
                    file.seek(place)
                    yield file.read(length)
        except OSError as error:
            raise unavailable("the audit log can't be read", error) from error
        finally:
            for file in files.values():
                file.close()

    def _opened(self, path: Path) -> sqlite3.Connection:
        for attempt in (1, 2):
            try:
                os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
                database = sqlite3.connect(path, timeout=_WAIT, isolation_level=None)
                try:
                    self._prepare(database)
                    self._catch_up(database)
                except BaseException:
                    database.close()
                    raise
                return database
            except sqlite3.OperationalError as error:
                if error.sqlite_errorname.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")):
                    raise OSError from error
                raise unavailable(f"the audit index can't be used ({error})") from error
            except sqlite3.DatabaseError as error:  # damaged, or of another version
                if attempt == 2:
                    raise unavailable(f"the audit index can't be made ({error})") from error
                path.unlink(missing_ok=True)
        raise AssertionError

    def _prepare(self, database: sqlite3.Connection) -> None:
        database.execute("PRAGMA cache_size = -65536")  # KiB
        database.execute("BEGIN IMMEDIATE")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version == 0:
            for statement in filter(str.strip, _TABLES.split(";")):
                database.execute(statement)
            database.executemany("INSERT INTO name VALUES (?, ?)", NAMES)
            database.execute(f"PRAGMA user_version = {VERSION}")
        elif version != VERSION:
            raise sqlite3.DatabaseError("another version")
        database.execute("COMMIT")

    def _catch_up(self, database: sqlite3.Connection) -> None:
        """Read what the log has more than the index, in one transaction."""
        database.execute("BEGIN IMMEDIATE")
        try:
            known = {row[1]: row for row in database.execute("SELECT * FROM shard")}
            paths = {path.stem: path for path in sorted(self._logs.glob("*.jsonl"))}
            for name in known.keys() - {n for n, row in known.items() if _is_as_read(paths, row)}:
                _drop(database, known.pop(name)[0])
            sizes = {name: path.stat().st_size for name, path in paths.items()}
            starts = {name: known[name][2] if name in known else 0 for name in paths}
            missing = sum(sizes.values()) - sum(starts.values())
            if missing > _BULK:
                database.execute("DROP INDEX IF EXISTS ref_by_ref")
            done = 0
            for name, path in paths.items():
                if sizes[name] > starts[name]:
                    for read in self._read(database, path, starts[name]):
                        self._progress(done + read, missing)
                    done += sizes[name] - starts[name]
            database.execute(_TREE)
            database.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                database.execute("ROLLBACK")
            raise

    def _read(self, database: sqlite3.Connection, path: Path, start: int) -> Iterator[int]:
        """Index one shard from a byte on; yields how many bytes have been read."""
        database.execute("INSERT OR IGNORE INTO shard (name) VALUES (?)", (path.stem,))
        (shard,) = database.execute("SELECT id FROM shard WHERE name = ?", (path.stem,)).fetchone()
        rows = Rows(database, shard)
        place, last, line = start, start, b""
        with path.open("rb") as file:
            file.seek(start)
            for number, whole in enumerate(file, 1):
                if not whole.endswith(b"\n"):
                    break  # being written just now
                last, line = place, whole
                rows.add(whole, place)
                place += len(whole)
                if number % _BATCH == 0:
                    rows.store()
                    yield place - start
        rows.store()
        if line:
            database.execute(
                "UPDATE shard SET bytes = ?, last = ?, digest = ? WHERE id = ?",
                (place, last, sha256(line).digest(), shard),
            )
        yield place - start


def _is_as_read(paths: dict[str, Path], row: tuple[Any, ...]) -> bool:
    """Whether a shard still ends, where it was read to, with the record that was there."""
    _, name, size, last, digest = row
    if name not in paths or digest is None:
        return False
    with paths[name].open("rb") as file:
        file.seek(last)
        return bool(sha256(file.read(size - last)).digest() == digest)


def _drop(database: sqlite3.Connection, shard: int) -> None:
    """Forget a shard that was pruned or changed."""
    of_it = "SELECT id FROM event WHERE shard = ?"
    database.execute(f"DELETE FROM ref WHERE event IN ({of_it})", (shard,))
    for table in ("event", "hour"):
        database.execute(f"DELETE FROM {table} WHERE shard = ?", (shard,))
    database.execute("DELETE FROM shard WHERE id = ?", (shard,))
