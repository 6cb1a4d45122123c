"""A shop that has plain rows today: its old application, and the one that migrates it."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine, ForeignKey, String, create_engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, sessionmaker

from vaultlayer import Equality, PersonalData, Principal, Vault, Words, personal
from vaultlayer.keys.local import WEAK_KDF_FOR_TESTS, LocalKeyring

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSPHRASE = "correct horse battery staple"
UNTIL = "2999-01-01"


class Old(DeclarativeBase):
    """The application as it was."""


class OldBuyer(Old):
    __tablename__ = "buyer"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    email: Mapped[str | None] = mapped_column(String(100), index=True)
    born: Mapped[date | None]


class OldBill(Old):
    __tablename__ = "bill"
    id: Mapped[int] = mapped_column(primary_key=True)
    buyer_id: Mapped[int | None] = mapped_column(ForeignKey("buyer.id"))
    address: Mapped[str] = mapped_column(String(200))


class Base(DeclarativeBase):
    """The application that migrates."""


class Buyer(PersonalData, Base):
    __tablename__ = "buyer"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = personal(
        "identity.name", name="name_sealed", search=Words(), migrating_from="name", until=UNTIL
    )
    email: Mapped[str | None] = personal(
        "contact.email", name="email_sealed", search=Equality("email"), unique=True,
        migrating_from=sa.Column("email", String(100)), until=UNTIL,
    )  # fmt: skip
    born: Mapped[date | None] = personal(
        "identity.birth_date", name="born_sealed", mask="year",
        migrating_from=sa.Column("born", sa.Date), until=UNTIL,
    )  # fmt: skip


class Bill(PersonalData, Base):
    __tablename__ = "bill"
    __subject__ = "buyer"
    id: Mapped[int] = mapped_column(primary_key=True)
    buyer_id: Mapped[int | None] = mapped_column(ForeignKey("buyer.id"))
    address: Mapped[str] = personal(
        "contact.address", name="address_sealed", migrating_from="address", until=UNTIL, padded=True
    )
    buyer: Mapped[Buyer] = relationship()


class Shop:
    """A database in use, and what is done to it; ``restart`` is another process."""

    Buyer, Bill, OldBuyer, OldBill, Base = Buyer, Bill, OldBuyer, OldBill, Base

    def __init__(self, engine: Engine, folder: Path, policies: Path) -> None:
        self.engine, self.folder = engine, folder
        bundle = folder / "policies"
        bundle.mkdir()
        for file in policies.iterdir():
            if file.is_file():
                (bundle / file.name).write_bytes(file.read_bytes())
        (folder / "vaultlayer.toml").write_text(
            '[vault]\npolicies = "policies"\n[audit]\ndirectory = "audit"\n'
            '[keys]\nprovider = "local:keyring.json"\nttl = 0.2\n'
        )
        keyring = folder / "keyring.json"
        LocalKeyring.create(keyring, PASSPHRASE, kdf_for_tests=WEAK_KDF_FOR_TESTS)
        Old.metadata.create_all(engine)
        self.vault: Vault = self.open()
        self.vault.create_tables(engine)

    def open(self) -> Vault:
        vault = Vault.open(self.folder / "vaultlayer.toml")
        vault.models = (Base,)
        vault.attach(self.engine)
        self.sessions = sessionmaker(self.engine)
        vault.attach(self.sessions)
        return vault

    def restart(self) -> None:
        self.vault.close()
        self.vault = self.open()

    def service(self) -> Any:
        return self.vault.access(Principal("app", roles=["service"]), purpose="provide_service")

    def officer(self) -> Any:
        principal = Principal("olga", roles=["privacy_officer", "migrator"])
        return self.vault.access(principal, purpose="legal_obligation", reason="adoption")

    def old_rows(self, *names: str) -> None:
        """What the old application adds."""
        with self.engine.begin() as connection:
            for name in names:
                buyer = {
                    "name": name.title(), "email": f"{name}@example.com", "born": date(1931, 7, 23)
                }
                made = connection.execute(sa.insert(OldBuyer).values(buyer))
                (pk,) = made.inserted_primary_key or (None,)
                bill = {"buyer_id": pk, "address": f"1 {name} Street"}
                connection.execute(sa.insert(OldBill).values(bill))

    def step(self, name: str, *fields: Any, **options: Any) -> Any:
        if name in ("switch", "contract", "undo", "export"):
            options.setdefault("wait", 0.25)
        with self.officer():
            return getattr(self.vault.migrations, name)(*fields, **options)

    def steps(self, *names: str) -> None:
        for name in names:
            report = self.step(name)
            assert report.ok, (name, report)

    def read(self) -> list[Any]:
        """All that is personal, as the application reads it."""
        with self.sessions() as session, self.service():
            buyers = session.scalars(sa.select(Buyer).order_by(Buyer.id)).all()
            bills = session.scalars(sa.select(Bill).order_by(Bill.id)).all()
            return [
                [(buyer.name, buyer.email, buyer.born) for buyer in buyers],
                [bill.address for bill in bills],
            ]

    def sql(self, statement: str, **parameters: Any) -> list[Any]:
        with self.engine.begin() as connection:
            result = connection.execute(sa.text(statement), parameters)
            return list(result) if result.returns_rows else []


@pytest.fixture
def sqlite_engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db")

    @event.listens_for(engine, "connect")
    def hasty(connection: Any, _: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA journal_mode = WAL")

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
    shop: Shop = make_shop(request.getfixturevalue(f"{request.param}_engine"))
    return shop


