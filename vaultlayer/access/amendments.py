"""Which version of the rules is in force: said by the vault's database, whatever the files say.

A bundle that reduces people's rights against the one in force counts only when its notice has been
published (``vaultlayer policy amend``), the period of the one in force has run since, and its own
``effective`` day has come. Until then the engine refuses it, and goes on with the version in force,
of which the database keeps a copy.
"""

from __future__ import annotations

import json
import time
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    inspect,
    select,
)
from sqlalchemy.exc import IntegrityError

from vaultlayer.access.bundle import bundle_of
from vaultlayer.access.compare import Change, compare, reduces_rights
from vaultlayer.access.snapshot import Snapshot
from vaultlayer.errors import PolicyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

metadata = MetaData()

_Text = String(255)
published = Table(
    "vaultlayer_policy_published",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("published", BigInteger, nullable=False),  # seconds since 1970-01-01, UTC
    Column("by_whom", _Text, nullable=False),
)
in_force = Table(
    "vaultlayer_policy_in_force",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),  # 1, 2, 3 …: no gap
    Column("digest", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("content", LargeBinary(1 << 24), nullable=False),
)


@dataclass(frozen=True, slots=True)
class InForce:
    """A version of the rules and the moment (UTC) it took effect."""

    version: int
    digest: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Amendment:
    """What publishing a bundle means: ``due`` is when it can take effect (published now, where it
    isn't yet), None for at once."""

    version: int
    digest: str
    changes: tuple[Change, ...]
    reduces: bool
    notice_days: int
    published: datetime | None
    due: datetime | None


class Amendments:
    """The record of versions. Each method takes a connection to the vault's own tables.

    :param note: writes an audit event, as ``Log.write`` does.
    """

    def __init__(self, note: Callable[..., None], clock: Callable[[], float] = time.time) -> None:
        self._note, self._clock = note, clock

    def permit(self, connection: Connection, wanted: Snapshot) -> None:
        """Let ``wanted`` be enforced, and record it as in force if it wasn't.

        :raises PolicyError: it reduces rights and isn't due, or its day hasn't come.
        """
        if _latest(connection) is None:
            self._record(connection, wanted)
        amendment = self.judge(connection, wanted)
        if amendment is None:
            return
        now = self._now()
        if amendment.reduces and amendment.published is None:
            raise PolicyError(
                f"version {amendment.version} of the rules reduces people's rights, and its "
                "notice has not been published",
                hint="see what it changes with `vaultlayer policy diff`, then publish it with "
                "`vaultlayer policy amend`",
            )
        if amendment.due is not None and now < amendment.due:
            raise PolicyError(
                f"version {amendment.version} of the rules takes effect on "
                f"{amendment.due:%Y-%m-%d %H:%M} UTC, not before",
                hint="the version in force stays until then; reload the rules on that day",
            )
        self._record(connection, wanted)

    def judge(self, connection: Connection, wanted: Snapshot) -> Amendment | None:
        """What ``wanted`` changes against the version in force; None if it is that version, or
        the first."""
        row = _latest(connection)
        if row is None or row.digest == wanted.digest:
            return None
        before = Snapshot(bundle_of(_unpacked(row.content)))
        changes = tuple(compare(before, wanted))
        reduces, new = reduces_rights(changes), wanted.bundle.version
        days = before.bundle.version.notice_days if reduces else 0
        at = self._published_at(connection, wanted.digest)
        due = [(at or self._now()) + timedelta(days=days)] if days else []
        if new.effective is not None:
            due.append(
                datetime(new.effective.year, new.effective.month, new.effective.day, tzinfo=UTC)
            )
        return Amendment(
            new.number, wanted.digest, changes, reduces, days, at, max(due, default=None)
        )

    def publish(self, connection: Connection, wanted: Snapshot, by: str) -> Amendment:
        """Note that people are told of ``wanted`` from now on; a second time changes nothing.

        :raises PolicyError: it is the version in force; or it reduces rights and has no higher
            version, or a notice that says nothing new.
        """
        row, amendment = _latest(connection), self.judge(connection, wanted)
        if amendment is None or row is None:
            raise PolicyError(
                "this version of the rules is in force already",
                hint="change the files first; `vaultlayer policy diff` shows what a change means",
            )
        if amendment.reduces:
            _check_telling(row, wanted)
        if amendment.published is None:
            values = {
                "digest": wanted.digest,
                "version": amendment.version,
                "published": int(self._clock()),
                "by_whom": by[:255],
            }
            connection.execute(published.insert().values(values))
            self._note(
                "policy", change="published", policy=wanted.digest, version=amendment.version,
                reduces=amendment.reduces, by=by[:255],
            )  # fmt: skip
        return self.judge(connection, wanted) or amendment

    def stored(self, connection: Connection) -> Snapshot | None:
        """The version in force, from the database's copy; None where none is recorded."""
        row = _latest(connection)
        return None if row is None else Snapshot(bundle_of(_unpacked(row.content)))

    def at(self, connection: Connection, when: datetime | None = None) -> InForce | None:
        """The version that was in force at a moment (with a time zone; now without one)."""
        if not has_tables(connection):
            return None
        moment = int(when.timestamp() if when is not None else self._clock())
        row = connection.execute(
            select(in_force)
            .where(in_force.c.since <= moment)
            .order_by(in_force.c.number.desc())
            .limit(1)
        ).first()
        if row is None:
            return None
        return InForce(row.version, row.digest, datetime.fromtimestamp(row.since, UTC))

    def _record(self, connection: Connection, wanted: Snapshot) -> None:
        row, bundle = _latest(connection), wanted.bundle
        values = {
            "number": 1 if row is None else row.number + 1,
            "digest": bundle.digest,
            "version": bundle.version.number,
            "since": int(self._clock()),
            "content": _packed(bundle.files),
        }
        try:
            with connection.begin_nested():
                connection.execute(in_force.insert().values(values))
        except IntegrityError:  # another process was first, most likely with the same files
            latest = _latest(connection)
            if latest is not None and latest.digest == bundle.digest:
                return
            raise PolicyError(
                "another process has just put another version of the rules into force",
                hint="reload the rules: all processes should have the same files",
            ) from None
        self._note(
            "policy", change="in_force", policy=bundle.digest, version=bundle.version.number
        )

    def _published_at(self, connection: Connection, digest: str) -> datetime | None:
        found = connection.scalar(select(published.c.published).where(published.c.digest == digest))
        return None if found is None else datetime.fromtimestamp(found, UTC)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)


def _check_telling(row: Any, wanted: Snapshot) -> None:
    before, new = bundle_of(_unpacked(row.content)), wanted.bundle
    if new.version.number <= row.version:
        raise PolicyError(
            f"version.toml: the version in force is {row.version}, and this one reduces rights",
            hint=f"write version = {row.version + 1}",
        )
    if new.notice.split() == before.notice.split():
        raise PolicyError(
            "notice.md: it says nothing of what changes", hint="tell people in it, then publish"
        )


def _latest(connection: Connection) -> Any:
    return connection.execute(select(in_force).order_by(in_force.c.number.desc()).limit(1)).first()


def has_tables(connection: Connection) -> bool:
    """Whether the record can be kept in this database."""
    return inspect(connection).has_table(in_force.name)


def _packed(files: Any) -> bytes:
    return zlib.compress(json.dumps({name: text.decode() for name, text in files.items()}).encode())


def _unpacked(content: bytes) -> dict[str, bytes]:
    return {name: text.encode() for name, text in json.loads(zlib.decompress(content)).items()}
