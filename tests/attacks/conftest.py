"""What the attacks share: a shop on a real database, an attacker with SQL, a check of errors."""

from __future__ import annotations

import enum
import ipaddress
import traceback
import uuid
from contextlib import contextmanager, suppress
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Engine, ForeignKey, create_engine, event, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, sessionmaker

import vaultlayer
from vaultlayer import Equality, PersonalData, Principal, Vault, personal
from vaultlayer.errors import AuditUnavailable, VaultLayerError
from vaultlayer.keys.local import WEAK_KDF_FOR_TESTS, LocalKeyring
from vaultlayer.testing import assert_no_plaintext

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIBRARY = str(Path(vaultlayer.__file__).parent)
PASSPHRASE = "correct horse battery staple"
NAME = "Zenobia Quillfeather"
EMAIL = "quill.feather@canary.example"
PHONE = "+49 5551 0042 4711"
STREET = "Nightingale Row 4711"
BORN = date(1931, 7, 23)
CANARIES = (NAME, "Quillfeather", EMAIL, PHONE, STREET, "1931-07-23", "date(1931, 7, 23)")

SETTINGS = """
[vault]
policies = "{policies}"
[keys]
provider = "local:keyring.json"
[audit]
directory = "audit"
"""


class Colour(enum.Enum):
    RED = "red"
    DEEP_BLUE = "blue"


class Base(DeclarativeBase):
    pass


class Customer(PersonalData, Base):
    __tablename__ = "customer"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = personal("identity.name")
    nick: Mapped[str | None] = personal("identity.name", padded=True)
    email: Mapped[str] = personal("contact.email", search=Equality("email"), unique=True)
    phone: Mapped[str | None] = personal("contact.phone", search=Equality("phone"), mask="last4")
    born: Mapped[date | None] = personal("identity.birth_date", mask="year")


class Invoice(PersonalData, Base):
    __tablename__ = "invoice"
    __subject__ = "customer"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customer.id"))
    address: Mapped[str] = personal("contact.address")
    customer: Mapped[Customer] = relationship()


class Patient(PersonalData, Base):
    __tablename__ = "patient"
    __tenant__ = "clinic"
    id: Mapped[int] = mapped_column(primary_key=True)
    clinic: Mapped[str]
    name: Mapped[str] = personal("identity.name")


class Notice(PersonalData, Base):
    """Belongs to no person: sealed with the tenant's own key."""

    __tablename__ = "notice"
    __subject__ = None
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = personal("content.text")


class Everything(PersonalData, Base):
    __tablename__ = "everything"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str | None] = personal("content.text")
    picture: Mapped[bytes | None] = personal("content.picture")
    whole: Mapped[int | None] = personal("content.text")
    real: Mapped[float | None] = personal("location")
    flag: Mapped[bool | None] = personal("content.text")
    money: Mapped[Decimal | None] = personal("financial")
    day: Mapped[date | None] = personal("usage.log")
    moment: Mapped[datetime | None] = personal("usage.log")
    clock: Mapped[time | None] = personal("usage.log")
    key: Mapped[uuid.UUID | None] = personal("device")
    ip: Mapped[ipaddress.IPv4Address | ipaddress.IPv6Address | None] = personal("device.ip")
    settings: Mapped[dict[str, Any] | None] = personal("device.configuration")
    colour: Mapped[Colour | None] = personal("content.text")


class Shop:
    """An application: database, settings, keyring file and, while it runs, its vault."""

    Base, Customer, Invoice, Patient, Notice = Base, Customer, Invoice, Patient, Notice
    Everything, Colour = Everything, Colour
    name, email, phone, street, born, canaries = NAME, EMAIL, PHONE, STREET, BORN, CANARIES
    passphrase = PASSPHRASE

    def __init__(self, engine: Engine, folder: Path, policies: Path) -> None:
        self.engine = engine
        self.folder = folder
        self.config = folder / "vaultlayer.toml"
        self.config.write_text(SETTINGS.format(policies=policies), encoding="utf-8")
        self.new_keyring()
        self.sessions = sessionmaker(engine)
        self.vault = Vault.open(self.config)
        self.vault.attach(self.sessions)
        self.vault.create_tables(engine)
        Base.metadata.create_all(engine)

    def new_keyring(self) -> None:
        path = self.folder / "keyring.json"
        LocalKeyring.create(path, PASSPHRASE, kdf_for_tests=WEAK_KDF_FOR_TESTS)

    def restart(self) -> None:
        """The same application in a new process: nothing is cached."""
        self.vault.close()
        self.vault = Vault.open(self.config)
        self.vault.attach(self.sessions)

    def access(self, purpose: str = "provide_service", **how: Any) -> Any:
        principal = Principal(
            how.pop("sub", "app"),
            roles=how.pop("roles", ["service"]),
            tenant=how.pop("tenant", None),
            expires=how.pop("expires", None),
        )
        return self.vault.access(principal, purpose=purpose, **how)

    def add(self, *rows: Any, **how: Any) -> list[int]:
        """Store rows; their ids."""
        with self.sessions() as session, self.access(**how):
            session.add_all(rows)
            session.commit()
            return [row.id for row in rows]

    def zenobia(self, **changed: Any) -> Customer:
        values = {"name": NAME, "email": EMAIL, "phone": PHONE, "born": BORN}
        return Customer(**{**values, **changed})

    def read(self, entity: Any, pk: int, field: str, way: str = "attribute", **how: Any) -> Any:
        """One value, in a session and an access of its own."""
        with self.sessions() as session, self.access(**how) as access:
            if way == "column":
                column = getattr(entity, field)
                return session.scalars(select(column).where(entity.id == pk)).one()
            row = session.get_one(entity, pk)
            return (
                access.reveal(row, getattr(entity, field))[0]
                if way == "reveal"
                else getattr(row, field)
            )

    def sql(self, statement: str, **parameters: Any) -> list[Any]:
        """What somebody with the database's password does, past vaultlayer."""
        with self.engine.begin() as connection:
            result = connection.execute(text(statement), parameters)
            return list(result.all()) if result.returns_rows else []

    def stored(self, table: str, pk: int, column: str) -> bytes:
        ((value,),) = self.sql(f"SELECT {column} FROM {table} WHERE id = :id", id=pk)
        return bytes(value)

    def store(self, table: str, pk: int, column: str, value: Any) -> None:
        self.sql(f"UPDATE {table} SET {column} = :value WHERE id = :id", value=value, id=pk)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULTLAYER_PASSPHRASE", PASSPHRASE)
    for name in ("VAULTLAYER_PASSPHRASE_FILE", "VAULTLAYER_DATABASE", "VAULTLAYER_PROVIDER"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def shop(environment: None, tmp_path: Path, policies: Path) -> Iterator[Shop]:
    """The shop on a SQLite file."""
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db")

    @event.listens_for(engine, "connect")
    def no_sync(connection: Any, _: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")  # hundreds of small attacks, no power cut

    shop = Shop(engine, tmp_path, policies)
    yield shop
    with suppress(AuditUnavailable):  # the test took the audit away
        shop.vault.close()
    engine.dispose()


@pytest.fixture
def postgres_shop(
    environment: None, tmp_path: Path, policies: Path, postgres_engine: Engine
) -> Iterator[Shop]:
    """The shop on PostgreSQL."""
    shop = Shop(postgres_engine, tmp_path, policies)
    yield shop
    shop.vault.close()


@pytest.fixture(params=["sqlite", "postgres"])
def any_shop(request: pytest.FixtureRequest) -> Shop:
    return request.getfixturevalue("shop" if request.param == "sqlite" else "postgres_shop")


class Caught:
    """The error a ``refused`` block ended with, after the block."""

    error: VaultLayerError


@pytest.fixture
def refused() -> Callable[..., Any]:
    """``with refused(IntegrityError):`` — that very type, a code, a hint, and no value anywhere.

    ``given`` says that the block hands values to SQLAlchemy: its own frames hold them as arguments
    then, as the application's do, and only vaultlayer's are looked at.
    """

    @contextmanager
    def check(kind: type[VaultLayerError], *secrets: str, given: bool = False) -> Iterator[Caught]:
        caught = Caught()
        with pytest.raises(VaultLayerError) as raised:
            yield caught
        error = caught.error = raised.value
        assert type(error) is kind
        assert error.code == kind.code != VaultLayerError.code
        assert error.hint
        said = [str(error), repr(error), *map(str, error.args), *traceback.format_exception(error)]
        told = [*said, *_locals_of(error, given)]
        assert_no_plaintext("\n".join(told).encode("utf-8", "surrogatepass"), [*CANARIES, *secrets])

    return check


def _locals_of(error: BaseException | None, given: bool) -> list[str]:
    """The variables an error report would show, of every frame but the tests' own."""
    shown: list[str] = []
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        report = traceback.TracebackException.from_exception(error, capture_locals=True)
        for frame in report.stack:
            ours = frame.filename.startswith(LIBRARY)
            tests = "/tests/" in frame.filename or "contextlib" in frame.filename
            if ours or not (tests or given):
                shown += [
                    f"{frame.name}: {name} = {value}"
                    for name, value in (frame.locals or {}).items()
                ]
        error = error.__cause__ or error.__context__
    return shown
