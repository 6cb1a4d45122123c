"""The mapped classes of this room: every way to declare a class, every type a field may have."""

from __future__ import annotations

import enum
from datetime import date, datetime, time
from decimal import Decimal
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Column, ForeignKey, Integer, MetaData, String, Table, Uuid
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    MappedAsDataclass,
    mapped_column,
    registry,
    relationship,
    synonym,
    validates,
)
from sqlmodel import Field, SQLModel

from vaultlayer import Equality, PersonalData, personal
from vaultlayer_adapters.sqlmodel import personal_field

metadata = MetaData()
mappers = registry(metadata=metadata)


class Base(DeclarativeBase):
    registry = mappers


class Customer(PersonalData, Base):
    """A data subject."""

    __tablename__ = "customer"

    id: Mapped[int] = mapped_column(primary_key=True)
    tier: Mapped[str] = mapped_column(default="free")
    name: Mapped[str] = personal("identity.name")
    email: Mapped[str | None] = personal(
        "contact.email", search=Equality("email"), unique=True, mask="email"
    )
    phone: Mapped[str | None] = personal("contact.phone", search=Equality("phone"), mask="last4")
    born: Mapped[date | None] = personal("identity.birth_date", mask="year")
    nickname: Mapped[str | None] = personal("identity.name")
    letter: Mapped[str | None] = personal("content.text", deferred=True, padded=True)
    invoices: Mapped[list[Invoice]] = relationship(
        back_populates="customer", order_by="Invoice.id", cascade="all, delete-orphan"
    )
    mail: Mapped[str | None] = synonym("email")

    @hybrid_property
    def shown(self) -> str:
        return self.name

    @validates("nickname")
    def _tidy(self, key: str, value: str | None) -> str | None:
        return value.strip() if isinstance(value, str) else value


class Invoice(PersonalData, Base):
    """A child, by its relationship."""

    __tablename__ = "invoice"
    __subject__ = "customer"

    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customer.id"))
    total: Mapped[int] = mapped_column(default=0)
    address: Mapped[str | None] = personal("contact.address")
    customer: Mapped[Customer] = relationship(back_populates="invoices")
    lines: Mapped[list[InvoiceLine]] = relationship(
        back_populates="invoice", order_by="InvoiceLine.id", cascade="all, delete-orphan"
    )


class InvoiceLine(PersonalData, Base):
    """A child's child."""

    __tablename__ = "invoice_line"
    __subject__ = "invoice"

    id: Mapped[int] = mapped_column(primary_key=True)
    invoice_id: Mapped[int] = mapped_column(ForeignKey("invoice.id"))
    remark: Mapped[str] = personal("content.text")
    invoice: Mapped[Invoice] = relationship(back_populates="lines")


class Visit(PersonalData, Base):
    """A child, by its foreign-key column."""

    __tablename__ = "visit"
    __subject__ = "visitor"

    id: Mapped[int] = mapped_column(primary_key=True)
    visitor: Mapped[int | None] = mapped_column(ForeignKey("customer.id"))
    page: Mapped[str] = personal("usage.log")


class Setting(PersonalData, Base):
    """Belongs to no person; its primary key is known before the INSERT."""

    __tablename__ = "setting"
    __subject__ = None

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str] = personal("device.configuration")


class Member(PersonalData, Base):
    """A data subject of a tenant."""

    __tablename__ = "member"
    __tenant__ = "club"

    id: Mapped[int] = mapped_column(primary_key=True)
    club: Mapped[str]
    name: Mapped[str] = personal("identity.name", search=Equality("casefold"))


class Person(PersonalData, Base):
    """The base of a joined and of a single-table class."""

    __tablename__ = "person"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "person"}  # noqa: RUF012

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    name: Mapped[str] = personal("identity.name", search=Equality("casefold"))


class Employee(Person):
    """Joined: a table of its own, with a personal field of its own."""

    __tablename__ = "employee"
    __mapper_args__ = {"polymorphic_identity": "employee"}  # noqa: RUF012

    id: Mapped[int] = mapped_column(ForeignKey("person.id"), primary_key=True)
    badge: Mapped[str] = personal("identity.document", search=Equality("exact"))


class Guest(Person):
    """Single-table: its personal field lies in the base's table."""

    __mapper_args__ = {"polymorphic_identity": "guest"}  # noqa: RUF012

    host: Mapped[str | None] = personal("identity.name")


class DataBase(MappedAsDataclass, DeclarativeBase):
    registry = registry(metadata=metadata)


class Contact(PersonalData, DataBase, kw_only=True):
    """Mapped as a dataclass, with defaults."""

    __tablename__ = "contact"

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    name: Mapped[str] = personal("identity.name")
    country: Mapped[str] = personal("contact.address", default="Nowhereland")
    phone: Mapped[str | None] = personal("contact.phone", default=None)
    stars: Mapped[int] = mapped_column(default=3)


class Parcel(PersonalData, Base):
    """A personal field with a Column default, scalar and callable."""

    __tablename__ = "parcel"

    id: Mapped[int] = mapped_column(primary_key=True)
    sender: Mapped[str] = personal("identity.name", default="Default Sender")
    note: Mapped[str | None] = personal("content.text", default=lambda: "Default Note")


class Reader(PersonalData, SQLModel, table=True):
    """A SQLModel class; an integer key, which SQLModel wants optional."""

    __tablename__ = "reader"
    metadata = metadata

    id: int | None = Field(default=None, primary_key=True)
    name: str = personal_field("identity.name", str)
    email: str | None = personal_field(
        "contact.email", str | None, search=Equality("email"), unique=True, default=None
    )
    shelf: str = "A"


@mappers.mapped
class Supplier(PersonalData):
    """Mapped by the decorator, with no base."""

    __tablename__ = "supplier"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = personal("identity.name")


class Partner(PersonalData):
    """Mapped imperatively, onto a Table."""


partners = Table(
    "partner",
    metadata,
    Column("id", Integer, primary_key=True),
    personal("identity.name", str, name="name").column,
    Column("city", String(40)),
    Column("subject_id", Uuid, default=uuid4, unique=True, nullable=False),
)
mappers.map_imperatively(Partner, partners)


class Mood(enum.Enum):
    CALM = "calm"
    LOUD = "loud"


class Sample(PersonalData, Base):
    """A field of every type, each also nullable."""

    __tablename__ = "sample"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str | None] = personal("content.text")
    padded: Mapped[str | None] = personal("content.text", padded=True)
    picture: Mapped[bytes | None] = personal("content.picture")
    number: Mapped[int | None] = personal("usage.log")
    height: Mapped[float | None] = personal("content.text")
    agrees: Mapped[bool | None] = personal("content.text")
    price: Mapped[Decimal | None] = personal("content.text")
    day: Mapped[date | None] = personal("content.text")
    moment: Mapped[datetime | None] = personal("content.text")
    hour: Mapped[time | None] = personal("content.text")
    token: Mapped[UUID | None] = personal("content.text")
    ip4: Mapped[IPv4Address | None] = personal("device.ip")
    ip6: Mapped[IPv6Address | None] = personal("device.ip")
    ip: Mapped[IPv4Address | IPv6Address | None] = personal("device.ip")
    net4: Mapped[IPv4Network | None] = personal("device.ip")
    net6: Mapped[IPv6Network | None] = personal("device.ip")
    card4: Mapped[IPv4Interface | None] = personal("device.ip")
    card6: Mapped[IPv6Interface | None] = personal("device.ip")
    record: Mapped[dict[str, Any] | None] = personal("content.text")
    items: Mapped[list[Any] | None] = personal("content.text")
    mood: Mapped[Mood | None] = personal("content.text")
