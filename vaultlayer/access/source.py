"""Where the bundle lies: a folder of files, or a table that holds whole bundles."""

from __future__ import annotations

import json
import time
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    create_engine,
    func,
    insert,
    select,
)  # fmt: skip
from sqlalchemy.exc import SQLAlchemyError

from vaultlayer.access.bundle import FILES, bundle_of, read_files
from vaultlayer.errors import PolicyError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sqlalchemy.engine import URL

metadata = MetaData()

_stored = Table(
    "vaultlayer_policy",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("digest", String(64), nullable=False),
    Column("files", LargeBinary(1 << 24), nullable=False),
    Column("stored", BigInteger, nullable=False),  # seconds since 1970-01-01, UTC
)


class Source(Protocol):
    """A place that a bundle is read from, whole."""

    def stamp(self) -> Any:
        """Something that is another when the files may be others; cheap to ask for."""

    def files(self) -> Mapping[str, bytes]:
        """The files by name; PolicyError when they can't be read."""


class Folder:
    """``policies/`` on a disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def stamp(self) -> Any:
        found: list[tuple[int, int, int] | None] = []
        for name in FILES:
            try:
                state = (self.folder / name).stat()
            except OSError:
                found.append(None)
            else:
                found.append((state.st_ino, state.st_size, state.st_mtime_ns))
        return found

    def files(self) -> Mapping[str, bytes]:
        return read_files(self.folder)


class Stored:
    """The newest bundle of the table ``vaultlayer_policy``: each row is a whole one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def at(cls, url: str | URL) -> Stored:
        return cls(create_engine(url, hide_parameters=True))

    def stamp(self) -> Any:
        return self._one(select(func.max(_stored.c.version)))

    def files(self) -> Mapping[str, bytes]:
        newest = select(func.max(_stored.c.version)).scalar_subquery()
        content = self._one(select(_stored.c.files).where(_stored.c.version == newest))
        if content is None:
            raise PolicyError(
                "no bundle is stored in the database",
                hint="`vaultlayer policy store FOLDER` puts one there",
            )
        return {name: b64decode(text) for name, text in json.loads(bytes(content)).items()}

    def store(self, files: Mapping[str, bytes]) -> int:
        """Add a bundle, which is checked first, as the newest version; returns its number."""
        digest = bundle_of(files).digest
        content = json.dumps({name: b64encode(data).decode() for name, data in files.items()})
        with self._engine.begin() as connection:
            metadata.create_all(connection)
            number = (connection.execute(select(func.max(_stored.c.version))).scalar() or 0) + 1
            row = {"digest": digest, "files": content.encode(), "stored": int(time.time())}
            connection.execute(insert(_stored), {"version": number, **row})
        return number

    def _one(self, statement: Any) -> Any:
        try:
            with self._engine.connect() as connection:
                return connection.execute(statement).scalar()
        except SQLAlchemyError as error:
            raise PolicyError(
                f"the stored policies can't be read ({type(error).__name__})",
                hint="check that the database of [vault] database runs and has vaultlayer_policy",
            ) from None
