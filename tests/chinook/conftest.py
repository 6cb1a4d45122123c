"""Chinook, a public sample shop, as plain rows and as protected databases; see DESIGN §11."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Engine, ForeignKey, Numeric, create_engine, event, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, sessionmaker

from vaultlayer import PersonalData, Principal, Vault, personal
from vaultlayer.testing import assert_no_plaintext

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

CHINOOK = Path(__file__).parents[3] / "shared" / "data" / "chinook.sqlite"
SERVICE = Principal("shop", roles=["service"])


class Base(DeclarativeBase):
    pass


class Employee(PersonalData, Base):
    __tablename__ = "employee"
    EmployeeId: Mapped[int] = mapped_column(primary_key=True)
    LastName: Mapped[str] = personal("identity.name")
    FirstName: Mapped[str] = personal("identity.name")
    Title: Mapped[str | None]
    ReportsTo: Mapped[int | None] = mapped_column(ForeignKey("employee.EmployeeId"))
    BirthDate: Mapped[date | None] = personal("identity.birth_date", mask="year")
    HireDate: Mapped[datetime | None]
    Address: Mapped[str | None] = personal("contact.address")
    City: Mapped[str | None] = personal("contact.address")
    State: Mapped[str | None] = personal("contact.address")
    Country: Mapped[str | None] = personal("contact.address")
    PostalCode: Mapped[str | None] = personal("contact.address")
    Phone: Mapped[str | None] = personal("contact.phone", mask="last4")
    Fax: Mapped[str | None] = personal("contact.phone", mask="last4")
    Email: Mapped[str | None] = personal("contact.email", mask="email")
    manager: Mapped[Employee | None] = relationship(remote_side=[EmployeeId])


class Customer(PersonalData, Base):
    __tablename__ = "customer"
    CustomerId: Mapped[int] = mapped_column(primary_key=True)
    FirstName: Mapped[str] = personal("identity.name")
    LastName: Mapped[str] = personal("identity.name")
    Company: Mapped[str | None] = personal("contact")
    Address: Mapped[str | None] = personal("contact.address")
    City: Mapped[str | None] = personal("contact.address")
    State: Mapped[str | None] = personal("contact.address")
    Country: Mapped[str | None] = personal("contact.address")
    PostalCode: Mapped[str | None] = personal("contact.address")
    Phone: Mapped[str | None] = personal("contact.phone", mask="last4")
    Fax: Mapped[str | None] = personal("contact.phone", mask="last4")
    Email: Mapped[str] = personal("contact.email", mask="email")
    SupportRepId: Mapped[int | None] = mapped_column(ForeignKey("employee.EmployeeId"))


class Invoice(PersonalData, Base):
    __tablename__ = "invoice"
    __subject__ = "customer"
    InvoiceId: Mapped[int] = mapped_column(primary_key=True)
    CustomerId: Mapped[int] = mapped_column(ForeignKey("customer.CustomerId"))
    InvoiceDate: Mapped[datetime]
    BillingAddress: Mapped[str | None] = personal("contact.address")
    BillingCity: Mapped[str | None] = personal("contact.address")
    BillingState: Mapped[str | None] = personal("contact.address")
    BillingCountry: Mapped[str | None] = personal("contact.address")
    BillingPostalCode: Mapped[str | None] = personal("contact.address")
    Total: Mapped[Decimal] = mapped_column(Numeric(10, 2))
    customer: Mapped[Customer] = relationship()


PARENTS_FIRST = (Employee, Customer, Invoice)
PLAIN = {"EmployeeId", "CustomerId", "InvoiceId", "Title", "ReportsTo", "HireDate", "SupportRepId"}
PLAIN |= {"InvoiceDate", "Total"}

Rows = dict[type, list[dict[str, Any]]]


@dataclass
class Shop:
    """A protected copy of Chinook, with the vault that protects it."""

    engine: Engine
    folder: Path  # everything the database writes is in here
    vault: Vault
    rows: Rows  # the original
    settle: Callable[[], None]  # makes the database write out what it holds in memory
    plain: set[str] = field(default_factory=lambda: PLAIN)

    def __post_init__(self) -> None:
        self.sessions = sessionmaker(self.engine)
        self.vault.attach(self.sessions)
        self.vault.create_tables(self.engine)
        Base.metadata.create_all(self.engine)
        with self.sessions() as session, self.access("copy"):
            for entity in PARENTS_FIRST:
                session.add_all([entity(**row) for row in self.rows[entity]])
                session.flush()
            session.commit()

    def access(self, reason: str) -> Any:
        return self.vault.access(SERVICE, purpose="provide_service", reason=reason)

    def load(self, session: Any, entity: type) -> list[Any]:
        return session.scalars(select(entity).order_by(*entity.__mapper__.primary_key)).all()

    def personal(self, entity: type) -> list[str]:
        return [name for name in self.rows[entity][0] if name not in self.plain]

    def values(self, entity: type) -> int:
        """How many personal values of this entity are not NULL."""
        names = self.personal(entity)
        return sum(row[name] is not None for row in self.rows[entity] for name in names)


@pytest.fixture(scope="session")
def chinook_file(missing_part: Callable[[str], None]) -> Path:
    if not CHINOOK.is_file():
        missing_part("../shared/data/chinook.sqlite")
    return CHINOOK


@pytest.fixture(scope="session")
def chinook(chinook_file: Path) -> Rows:
    """The original's rows, typed as the models are."""
    with sqlite3.connect(f"{chinook_file.as_uri()}?mode=ro&immutable=1", uri=True) as database:
        database.row_factory = sqlite3.Row
        rows = {entity: _rows(database, entity) for entity in PARENTS_FIRST}
    database.close()
    assert [len(rows[entity]) for entity in PARENTS_FIRST] == [8, 59, 412]
    return rows


def _rows(database: sqlite3.Connection, entity: type) -> list[dict[str, Any]]:
    name = entity.__name__
    found = [dict(row) for row in database.execute(f"SELECT * FROM {name} ORDER BY {name}Id")]
    for row in found:
        for key in row.keys() & {"BirthDate", "HireDate", "InvoiceDate"}:
            row[key] = datetime.fromisoformat(row[key])
        if "BirthDate" in row:
            row["BirthDate"] = row["BirthDate"].date()
        if "Total" in row:
            row["Total"] = Decimal(str(row["Total"])).quantize(Decimal("0.01"))
    return found


@pytest.fixture(scope="session")
def canaries(chinook: Rows) -> list[str]:
    """What must be nowhere: e-mails, names, companies, streets, post codes, phones, birth dates.

    Left out is what proves nothing: values under 6 bytes and numbers of 6 digits (they turn up by
    chance), and City, State and Country (a database's own catalog and settings name places, e.g.
    a time zone; what is sealed beside them in each address is looked for).
    """
    places = {"City", "State", "Country", "BillingCity", "BillingState", "BillingCountry"}
    found = {
        str(value)
        for rows in chinook.values()
        for row in rows
        for name, value in row.items()
        if value is not None and name not in PLAIN | places
    }
    return sorted(
        value
        for value in found
        if len(value.encode()) >= 6 and not (value.isdigit() and len(value) < 8)
    )


@pytest.fixture(scope="session")
def birth_timestamps(chinook: Rows) -> list[bytes]:
    """The birth dates as PostgreSQL would store a plain timestamp: microseconds since 2000."""
    since = datetime(2000, 1, 1).date()
    days = [(row["BirthDate"] - since).days for row in chinook[Employee]]
    return [(day * 86_400_000_000).to_bytes(8, "little", signed=True) for day in days]


@pytest.fixture(scope="session")
def sqlite_shop(
    chinook: Rows, policies: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """Chinook in a SQLite file in WAL mode; a connection stays open, so that the WAL is there."""
    folder = tmp_path_factory.mktemp("chinook")
    engine = create_engine(f"sqlite:///{folder}/shop.db")

    @event.listens_for(engine, "connect")
    def use_wal(connection: Any, _: object) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")

    with Vault.ephemeral(policies=policies) as vault:
        yield Shop(engine, folder, vault, chinook, settle=lambda: None)
    engine.dispose()


@pytest.fixture(scope="session")
def postgres_shop(
    postgres_server: Callable[[], AbstractContextManager[tuple[str, Path]]],
    chinook: Rows,
    canaries: list[str],
    birth_timestamps: list[bytes],
    policies: Path,
) -> Iterator[Shop]:
    """Chinook in a PostgreSQL server of its own, whose files can be read."""
    with postgres_server() as (url, folder), Vault.ephemeral(policies=policies) as vault:
        assert_no_plaintext(folder, [*canaries, *birth_timestamps])  # none are there by chance
        engine = create_engine(url)
        yield Shop(engine, folder, vault, chinook, settle=lambda: _checkpoint(engine))
        engine.dispose()


@pytest.fixture(params=["sqlite", "postgres"])
def shop(request: pytest.FixtureRequest) -> Shop:
    return request.getfixturevalue(f"{request.param}_shop")


def _checkpoint(engine: Engine) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("CHECKPOINT")
