"""What the tests of this room share: people with every kind of index, on each database."""

from __future__ import annotations

import enum
import shutil
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Engine, ForeignKey, String, create_engine, event, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, sessionmaker

from vaultlayer import (
    Buckets,
    Compound,
    Equality,
    PersonalData,
    Prefix,
    Principal,
    Substring,
    Vault,
    Words,
    personal,
)
from vaultlayer.testing import audit_events

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

MARKETING = "p, marketer, contact.address, search, direct_marketing, allow\n"
MARKETING += "p, marketer, contact.address, read, direct_marketing, allow\n"
MARKETING += "p, marketer, content.text, search, direct_marketing, allow\n"
MARKETING += "p, service, contact.address, administer, provide_service, allow\n"
MARKETING += "p, service, content.text, administer, provide_service, allow\n"


class Base(DeclarativeBase):
    pass


class Person(PersonalData, Base):
    __tablename__ = "person"
    id: Mapped[int] = mapped_column(primary_key=True)
    tier: Mapped[str] = mapped_column(String(20), default="free")
    name: Mapped[str] = personal(
        "identity.name", search=(Equality("casefold"), Prefix(3, 5), Substring(3))
    )
    email: Mapped[str | None] = personal("contact.email", search=Equality("email"), unique=True)
    phone: Mapped[str | None] = personal("contact.phone", search=Equality("phone:GB"))
    born: Mapped[date | None] = personal(
        "identity.birth_date", search=(Buckets.years(1800, 2030), Compound("name:casefold"))
    )
    age: Mapped[int | None] = personal("identity.birth_date", search=Buckets(18, 30, 45, 65))
    city: Mapped[str | None] = personal("contact.address", search=Equality("casefold"))
    bio: Mapped[str | None] = personal("content.text", search=Words())
    home: Mapped[list[float] | None] = personal("location", search=Buckets.cells(0.5))
    secret: Mapped[str | None] = personal("content.text")
    orders: Mapped[list[Order]] = relationship(back_populates="person")


class Order(PersonalData, Base):
    __tablename__ = "purchase"
    __subject__ = "person"
    id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    note: Mapped[str | None] = personal("content.text", search=Words())
    street: Mapped[str | None] = personal("contact.address", search=Prefix(3))
    person: Mapped[Person] = relationship(back_populates="orders")


class Member(PersonalData, Base):
    __tablename__ = "member"
    __tenant__ = "club"
    id: Mapped[int] = mapped_column(primary_key=True)
    club: Mapped[str] = mapped_column(String(20))
    name: Mapped[str] = personal("identity.name", search=(Equality("casefold"), Words()))
    alias: Mapped[str | None] = personal("identity.name", search=(Equality("casefold"), Words()))


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class World:
    """A database, a vault attached to it, and people in it."""

    Person, Order, Member, Base = Person, Order, Member, Base

    def __init__(self, engine: Engine, vault: Vault) -> None:
        self.engine, self.vault = engine, vault
        vault.models = (Base,)
        vault.create_tables(engine)
        Base.metadata.create_all(engine)
        self.attach(vault)
        self.sent: list[str] = []
        event.listen(engine, "before_cursor_execute", self._note)

    def attach(self, vault: Vault) -> None:
        self.vault = vault
        self.Session = sessionmaker(self.engine)
        vault.attach(self.Session)
        vault.attach(self.engine)

    def _note(self, *given: Any) -> None:
        self.sent.append(given[2])

    def access(self, role: str = "service", purpose: str = "provide_service", **who: Any) -> Any:
        return self.vault.access(Principal(f"a {role}", roles=[role], **who), purpose=purpose)

    @contextmanager
    def acting(self, *role: str, **who: Any) -> Iterator[Session]:
        with self.Session() as session, self.access(*role, **who):
            yield session

    def officer(self) -> Any:
        return self.access("privacy_officer", "legal_obligation")

    def add(self, *people: Any, **who: Any) -> list[Any]:
        with self.acting(**who) as session:
            session.add_all(people)
            session.commit()
            return [getattr(each, "subject_id", None) for each in people]

    def populate(self) -> dict[str, Any]:
        people = {
            "ada": Person(
                name="Ada Lovelace", email="ada@example.com", phone="020 7946 0000", age=36,
                born=date(1815, 12, 10), city="London", home=[51.5, -0.12],
                bio="First to publish an algorithm; O'Brien's friend",
            ),
            "adam": Person(
                name="Adam Smith", email="adam@example.com", age=67, born=date(1823, 6, 16),
                city="Kirkcaldy", home=[56.1, -3.16], bio="Wrote about nations, and an algorithm",
            ),
            "grace": Person(
                name="Grace Hopper", email="grace@example.com", phone="+44 20 7946 0001", age=45,
                born=date(1906, 12, 9), city="London", home=[51.9, -0.4], bio="Found a first moth",
            ),
            "nil": Person(name="Nil", email=None, bio="", city=""),
        }  # fmt: skip
        people["ada"].orders = [Order(note="leave at the door", street="12 High St")]
        self.add(*people.values())
        with self.acting() as session:
            return {
                name: session.scalars(
                    select(Person.subject_id).where(Person.name == person)
                ).one()
                for name, person in (
                    ("ada", "ada lovelace"), ("adam", "adam smith"), ("grace", "grace hopper"),
                    ("nil", "nil"),
                )
            }  # fmt: skip

    def names(self, *where: Any, role: tuple[str, ...] = (), join: Any = None) -> list[str]:
        """The first names of the people found, sorted."""
        with self.acting(*role) as session:
            query = select(Person).where(*where)
            query = query if join is None else query.join(join)
            found = session.scalars(query).all()
            return sorted(each.name.partition(" ")[0] for each in found)

    def sql(self, statement: str, **given: Any) -> list[Any]:
        with self.engine.begin() as connection:
            result = connection.execute(text(statement), given)
            return list(result) if result.returns_rows else []

    def terms(self) -> int:
        return int(self.sql("SELECT count(*) FROM vaultlayer_term")[0][0])

    def events(self, name: str) -> list[dict[str, Any]]:
        return [each for each in audit_events(self.vault) if each["event"] == name]

    def close(self) -> None:
        event.remove(self.engine, "before_cursor_execute", self._note)
        self.vault.close()


@pytest.fixture(scope="session")
def bundle(policies: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The starter bundle, with a marketer who may search."""
    folder = tmp_path_factory.mktemp("bundle") / "policies"
    shutil.copytree(policies, folder)
    with (folder / "roles.csv").open("a") as roles:
        roles.write(MARKETING)
    purposes = folder / "purposes.toml"
    head, _, marketing = purposes.read_text().partition("[direct_marketing]")
    listed = 'categories = ["identity.name", "contact.email"'
    marketing = marketing.replace(listed, f'{listed}, "contact.address", "content.text"', 1)
    purposes.write_text(f"{head}[direct_marketing]{marketing}")
    return folder


@pytest.fixture
def sqlite_engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path}/people.db")
    event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous = OFF"))
    yield engine
    engine.dispose()


@pytest.fixture
def make_world(bundle: Path) -> Iterator[Any]:
    made: list[World] = []

    def make(engine: Engine) -> World:
        made.append(World(engine, Vault.ephemeral(policies=bundle)))
        return made[-1]

    yield make
    for world in made:
        world.close()


@pytest.fixture
def world(make_world: Any, sqlite_engine: Engine) -> World:
    """On SQLite."""
    found: World = make_world(sqlite_engine)
    return found


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def any_world(request: pytest.FixtureRequest, make_world: Any) -> World:
    """On each database in turn."""
    found: World = make_world(request.getfixturevalue(f"{request.param}_engine"))
    return found


@pytest.fixture(scope="session")
def colour() -> type[enum.Enum]:
    return Colour


@pytest.fixture(scope="session")
def world_class() -> type[World]:
    return World
