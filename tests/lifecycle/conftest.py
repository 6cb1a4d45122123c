"""What the tests of this room share: a shop on each database, with a person who shall be erased."""

from __future__ import annotations

import uuid
from datetime import date
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from sqlalchemy import Engine, ForeignKey, String, create_engine, event, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, sessionmaker

from vaultlayer import Equality, PersonalData, Principal, Vault, personal
from vaultlayer.keys.local import WEAK_KDF_FOR_TESTS, LocalKeyring

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSPHRASE = "correct horse battery staple"


class Base(DeclarativeBase):
    pass


class Person(PersonalData, Base):
    __tablename__ = "person"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = personal("identity.name")
    email: Mapped[str | None] = personal("contact.email", search=Equality("email"), unique=True)
    born: Mapped[date | None] = personal("identity.birth_date")
    kind: Mapped[str] = mapped_column(String(20), default="person")
    __mapper_args__: ClassVar = {"polymorphic_on": "kind", "polymorphic_identity": "person"}


class Clerk(Person):
    """Joined: its own personal column lies in its own table."""

    __tablename__ = "clerk"
    id: Mapped[int] = mapped_column(ForeignKey("person.id"), primary_key=True)
    badge: Mapped[str] = personal("identity.document", search=Equality())
    __mapper_args__: ClassVar = {"polymorphic_identity": "clerk"}


class Bill(PersonalData, Base):
    __tablename__ = "bill"
    __subject__ = "person"
    id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"), index=True)
    address: Mapped[str] = personal("contact.address", search=Equality("casefold"))
    person: Mapped[Person] = relationship()


class Line(PersonalData, Base):
    """A child of a child, bound to its row."""

    __tablename__ = "line"
    __subject__ = "bill"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    bill_id: Mapped[int] = mapped_column(ForeignKey("bill.id"), index=True)
    note: Mapped[str | None] = personal("content.text", padded=True)
    bill: Mapped[Bill] = relationship()


class Notice(PersonalData, Base):
    """Nobody's: sealed with the tenant's own key."""

    __tablename__ = "notice"
    __subject__ = None
    id: Mapped[int] = mapped_column(primary_key=True)
    words: Mapped[str] = personal("content.text")


class Shop:
    """An application and what is done to its keys; ``restart`` is another process of it."""

    Person, Clerk, Bill, Line, Notice, Base = Person, Clerk, Bill, Line, Notice, Base

    @staticmethod
    def hasty(connection: Any, record: object) -> None:
        """For ``connect``: SQLite doesn't wait for the disk, which no kill of a process needs."""
        if type(connection).__module__.startswith("sqlite3"):
            connection.execute("PRAGMA synchronous = OFF")

    def __init__(self, engine: Engine, folder: Path, policies: Path) -> None:
        self.engine, self.folder = engine, folder
        (folder / "vaultlayer.toml").write_text(
            f'[vault]\npolicies = "{policies}"\n[audit]\ndirectory = "audit"\n'
            '[keys]\nprovider = "local:keyring.json"\nttl = 0.2\n'
        )
        keyring = folder / "keyring.json"
        LocalKeyring.create(keyring, PASSPHRASE, kdf_for_tests=WEAK_KDF_FOR_TESTS)
        Base.metadata.create_all(engine)
        self.vault: Vault = self.open()
        self.vault.create_tables(engine)

    def open(self) -> Vault:
        """What another process has."""
        vault = Vault.open(self.folder / "vaultlayer.toml")
        vault.models = (Base,)
        vault.attach(self.engine)
        self.sessions = sessionmaker(self.engine)
        vault.attach(self.sessions)
        return vault

    def restart(self) -> None:
        self.vault.close()
        self.vault = self.open()

    def open_again(self) -> None:
        """In a forked child: a vault of its own, and the parent's left alone."""
        self.vault = self.open()

    def service(self) -> Any:
        return self.vault.access(Principal("app", roles=["service"]), purpose="provide_service")

    def officer(self, **options: Any) -> Any:
        principal = Principal("olga", roles=["privacy_officer"], **options)
        return self.vault.access(principal, purpose="legal_obligation", reason="request 12")

    def add(self, *people: Any) -> list[uuid.UUID]:
        with self.sessions() as session, self.service():
            session.add_all(people)
            session.commit()
            return [person.subject_id for person in people]

    def person(self, name: str, bills: int = 1) -> Any:
        """A person with bills, each with a line, all of it personal."""
        person = Person(name=name, email=f"{name}@example.com", born=date(1931, 7, 23))
        for number in range(bills):
            bill = Bill(person=person, address=f"{name} Street {number}")
            self.pending = Line(bill=bill, note=f"{name} wants {number}")
            person.__dict__.setdefault("_lines", []).append(self.pending)
        return person

    def populate(self, *names: str, bills: int = 2) -> dict[str, uuid.UUID]:
        people = {name: self.person(name, bills) for name in names}
        with self.sessions() as session, self.service():
            for person in people.values():
                session.add_all([person, *person.__dict__.pop("_lines")])
            session.commit()
            return {name: person.subject_id for name, person in people.items()}

    def read(self, subject_id: uuid.UUID) -> list[Any]:
        """All that is personal of a person, read in a new session."""
        with self.sessions() as session, self.service():
            person = session.scalars(select(Person).where(Person.subject_id == subject_id)).one()
            bills = session.scalars(select(Bill).where(Bill.person_id == person.id)).all()
            lines = session.scalars(select(Line).join(Bill).where(Bill.person_id == person.id))
            return [
                person.name, person.email, person.born,
                *sorted(bill.address for bill in bills), *sorted(line.note for line in lines),
            ]  # fmt: skip

    def erase(self, subject_id: uuid.UUID, **options: Any) -> Any:
        with self.officer():
            return self.vault.subjects.erase(subject_id, reason="article 17", **options)

    def sql(self, statement: str, **parameters: Any) -> list[Any]:
        with self.engine.begin() as connection:
            result = connection.execute(text(statement), parameters)
            return list(result) if result.returns_rows else []


@pytest.fixture
def sqlite_engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db")
    event.listen(engine, "connect", Shop.hasty)
    yield engine
    engine.dispose()


@pytest.fixture
def make_shop(tmp_path: Path, policies: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("VAULTLAYER_PASSPHRASE", PASSPHRASE)
    made: list[Shop] = []

    def make(engine: Engine) -> Shop:
        made.append(Shop(engine, tmp_path, policies))
        return made[-1]

    yield make
    for shop in made:
        shop.vault.close()


@pytest.fixture
def shop(make_shop: Any, sqlite_engine: Engine) -> Shop:
    shop: Shop = make_shop(sqlite_engine)
    return shop


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def any_shop(request: pytest.FixtureRequest, make_shop: Any) -> Shop:
    """A shop on each database in turn."""
    shop: Shop = make_shop(request.getfixturevalue(f"{request.param}_engine"))
    return shop
