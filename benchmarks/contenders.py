"""Who is measured: one table each, the same people, the same statements.

Only the column's type differs. ``Contender`` is all but vaultlayer, which is in ours.py.
"""

from __future__ import annotations

import base64
import os
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Integer, LargeBinary, String, delete, select, text
from sqlalchemy.orm import DeclarativeBase, Session, mapped_column, sessionmaker
from sqlalchemy.types import TypeDecorator, TypeEngine

from benchmarks.people import FIELDS, people, person

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Dialect, Engine

PLAIN = "plain String columns"
BARE = "bare AES-GCM TypeDecorator"
UTILS = "SQLAlchemy-Utils, AesGcmEngine"
UTILS_FERNET = "SQLAlchemy-Utils, FernetEngine"
SEALED_FIELDS = "sealed-fields, SealedText"
PYDANTIC = "pydantic-encryption, Fernet type"


class Base(DeclarativeBase):
    """Of every table here; each contender creates only its own."""


class BareAESGCM(TypeDecorator[str]):
    """The baseline: one key, a random nonce, one constant AAD, and nothing but the cipher."""

    impl = LargeBinary
    cache_ok = True
    cipher = AESGCM(bytes(range(32)))  # the same in every process of a crowd

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:
        if value is None:
            return None
        nonce = os.urandom(12)
        return nonce + self.cipher.encrypt(nonce, value.encode(), b"vaultlayer-bench")

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        return self.cipher.decrypt(value[:12], value[12:], b"vaultlayer-bench").decode()


class Contender:
    """A table of people, and the work that is timed."""

    session_class: type[Session] = Session

    def __init__(self, name: str, model: Any, connect: Callable[[], Engine]) -> None:
        self.name = name
        self.model = model
        self.engine = connect()
        self.sessions = sessionmaker(self.engine, class_=self.session_class)
        model.__table__.create(self.engine)

    def acting(self) -> AbstractContextManager[Any]:
        """What must be open to read and write; only vaultlayer asks for something."""
        return nullcontext()

    def tables(self) -> list[Any]:
        return [self.model.__table__]

    def clear(self) -> None:
        with self.engine.begin() as connection:
            for table in self.tables():
                if self.engine.dialect.name == "postgresql":
                    connection.execute(text(f"TRUNCATE {table.name} RESTART IDENTITY"))
                else:
                    connection.execute(delete(table))

    def fill(self, count: int) -> None:
        self.clear()
        self.insert(count)
        if self.engine.dialect.name == "postgresql":
            with self.engine.connect() as connection:
                quick = connection.execution_options(isolation_level="AUTOCOMMIT")
                for table in self.tables():
                    quick.execute(text(f"VACUUM ANALYZE {table.name}"))

    def insert(self, count: int) -> None:
        """Add ``count`` new people through the unit of work, in one transaction."""
        with self.sessions() as session, self.acting():
            session.add_all([self.model(**fields) for fields in people(count)])
            session.commit()

    def read(self, count: int, first: int = 0) -> None:
        """Load ``count`` rows from ``first`` on through the ORM, and read every field of each."""
        statement = select(self.model).where(*self._window(count, first))
        with self.sessions() as session, self.acting():
            loaded = session.scalars(statement)
            rows = [(row.name, row.email, row.phone, row.address) for row in loaded]
        check(rows, count, first)

    def read_columns(self, count: int) -> None:
        """Select the four columns instead of the mapped class."""
        columns = [getattr(self.model, name) for name in FIELDS]
        with self.sessions() as session, self.acting():
            rows = [tuple(row) for row in session.execute(select(*columns))]
        check(rows, count)

    def stream(self, count: int) -> None:
        """Read every field of ``count`` rows, 1,000 at a time, and keep none of them."""
        statement = select(self.model).where(*self._window(count, 0))
        with self.sessions() as session, self.acting():
            for row in session.scalars(statement.execution_options(yield_per=1000)):
                assert row.name and row.email and row.phone and row.address

    def _window(self, count: int, first: int) -> tuple[Any, Any]:
        return self.model.id > first, self.model.id <= first + count


def check(rows: list[Any], count: int, first: int = 0) -> None:
    """Nobody wins by reading less: all rows are there, and two of them are right."""
    assert len(rows) == count
    for place in (0, -1):
        number = first if place == 0 else first + count - 1
        assert tuple(rows[place]) == tuple(person(number).values())


def model(table: str, column_type: Callable[[], TypeEngine[Any]]) -> Any:
    """A mapped class whose four fields have this type."""
    columns = {name: mapped_column(column_type(), nullable=False) for name in FIELDS}
    columns["id"] = mapped_column(Integer, primary_key=True)
    return type(table.title(), (Base,), {"__tablename__": table, **columns})


PLAIN_MODEL = model("plain", String)
BARE_MODEL = model("bare", BareAESGCM)


def peers() -> dict[str, Callable[[], Any]]:
    """Name → what gives the mapped class, or raises ImportError when it is not installed."""
    return {
        UTILS: partial(_utils, "utils", "AesGcmEngine"),
        UTILS_FERNET: partial(_utils, "utils_fernet", "FernetEngine"),
        SEALED_FIELDS: _sealed,
        PYDANTIC: _pydantic,
    }


@cache
def _utils(table: str, engine: str) -> Any:
    from sqlalchemy_utils.types.encrypted import (  # type: ignore[import-untyped]
        encrypted_type as utils,
    )

    key = os.urandom(32).hex()
    return model(table, lambda: utils.StringEncryptedType(String, key, getattr(utils, engine)))


@cache
def _sealed() -> Any:
    from sealed_fields import (  # type: ignore[import-untyped]
        create_sealed_fields,
        generate_key,
    )
    from sealed_fields.sqlalchemy import SealedText  # type: ignore[import-untyped]

    keys = create_sealed_fields(namespaces={"PII": {"key": generate_key()}})
    return model("sealed_fields", lambda: SealedText(keys))


@cache
def _pydantic() -> Any:
    os.environ["ENCRYPTION_METHOD"] = "fernet"  # read once, when the package is imported
    os.environ["ENCRYPTION_KEY"] = base64.urlsafe_b64encode(os.urandom(32)).decode()
    from pydantic_encryption import SQLAlchemyEncryptedValue

    return model("pydantic_encryption", SQLAlchemyEncryptedValue)
