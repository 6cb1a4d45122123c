"""A shop with a few people, a vault, and accesses to say and ask things with."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Engine, ForeignKey, String, create_engine, event, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, sessionmaker
from sqlalchemy.pool import StaticPool

from vaultlayer import AccessDenied, Equality, PersonalData, Principal, Vault, personal
from vaultlayer.testing import audit_events

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from uuid import UUID

    from vaultlayer.acting import Access


class Base(DeclarativeBase):
    pass


class Buyer(PersonalData, Base):
    __tablename__ = "buyer"
    __region__ = "country"
    id: Mapped[int] = mapped_column(primary_key=True)
    country: Mapped[str] = mapped_column(String(20), default="eu")
    name: Mapped[str] = personal("identity.name")
    email: Mapped[str] = personal("contact.email", search=Equality("email"), mask="email")
    phone: Mapped[str | None] = personal("contact.phone")
    card: Mapped[str | None] = personal("financial.card")
    orders: Mapped[list[Order]] = relationship(back_populates="buyer")


class Order(PersonalData, Base):
    __tablename__ = "buyer_order"
    __subject__ = "buyer"
    id: Mapped[int] = mapped_column(primary_key=True)
    buyer_id: Mapped[int] = mapped_column(ForeignKey("buyer.id"))
    address: Mapped[str] = personal("contact.address")
    buyer: Mapped[Buyer] = relationship(back_populates="orders")


SHOP = Principal("shop", ["service"])
MONA = Principal("mona", ["marketer"])


class Shop:
    """Five buyers, numbered 0 to 4, each with an order."""

    Buyer, Order = Buyer, Order

    def __init__(self, engine: Engine, policies: Path) -> None:
        self.engine = engine
        self.folder = policies
        self.vault = Vault.ephemeral(policies=policies)
        self.vault.models = (Base,)
        self.Session = sessionmaker(engine)
        self.vault.attach(self.Session)
        self.vault.create_tables(engine)
        Base.metadata.create_all(engine)
        self.sent: list[str] = []
        event.listen(engine, "before_cursor_execute", self._note)

    def _note(self, connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        self.sent.append(statement)

    def standing_statements(self) -> int:
        """How many of the statements sent so far asked about people; forgets them."""
        found = sum("vaultlayer_standing" in each for each in self.sent)
        self.sent.clear()
        return found

    def populate(self, count: int = 5, **columns: Any) -> list[UUID]:
        with self.Session() as session, self.access(SHOP, "provide_service"):
            buyers = [
                Buyer(
                    name=f"Ada {n}",
                    email=f"ada{n}@example.com",
                    orders=[Order(address="1 Elm St, London SW1Y 4JH")],
                    **columns,
                )
                for n in range(count)
            ]
            session.add_all(buyers)
            session.commit()
            return [buyer.subject_id for buyer in buyers]

    def access(self, principal: Principal, purpose: str, **options: Any) -> Access:
        return self.vault.access(principal, purpose=purpose, **options)

    def say(
        self, said: str, subject_id: Any, purpose: str = "direct_marketing", **how: Any
    ) -> None:
        with self.access(SHOP, "provide_service"):
            getattr(self.vault.consent, said)(subject_id, purpose, **how)

    @contextmanager
    def reading(
        self, principal: Principal = MONA, purpose: str = "direct_marketing", **options: Any
    ) -> Iterator[tuple[Access, list[Buyer]]]:
        """An access with all buyers loaded, in their order."""
        with self.Session() as session, self.access(principal, purpose, **options) as access:
            yield access, list(session.scalars(select(Buyer).order_by(Buyer.id)))

    def names(self, principal: Principal = MONA, purpose: str = "direct_marketing") -> list[str]:
        """What reading each buyer's name gives: the name, or the reason of the refusal."""
        with self.reading(principal, purpose) as (_, buyers):
            return [self.outcome(buyer) for buyer in buyers]

    @staticmethod
    def outcome(buyer: Any, field: str = "name") -> str:
        try:
            return str(getattr(buyer, field))
        except AccessDenied as refusal:
            return refusal.reason

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [each for each in audit_events(self.vault) if each["event"] == kind]

    def edit(self, file: str, old: str, new: str) -> None:
        """Change the bundle, and have it in force."""
        path = self.folder / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        self.vault.reload_policy()

    def rule(self, line: str) -> None:
        """Add a line to roles.csv."""
        with (self.folder / "roles.csv").open("a") as file:
            file.write(f"{line}\n")
        self.vault.reload_policy()


@pytest.fixture
def shop(bundle: Path) -> Iterator[Shop]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    opened = Shop(engine, bundle)
    yield opened
    opened.vault.close()
    engine.dispose()


@pytest.fixture
def any_shop(any_engine: Engine, bundle: Path) -> Iterator[Shop]:
    """The same on a file of SQLite's, on PostgreSQL and on MariaDB."""
    opened = Shop(any_engine, bundle)
    yield opened
    opened.vault.close()
