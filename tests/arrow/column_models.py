"""The mapped classes of this room; a module of its own, which Spark's workers import too."""

from __future__ import annotations

from datetime import date

from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from vaultlayer import Equality, PersonalData, personal


class Base(DeclarativeBase):
    pass


class Buyer(PersonalData, Base):
    __tablename__ = "buyer"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = personal("identity.name")
    email: Mapped[str | None] = personal("contact.email", search=Equality("email"))
    phone: Mapped[str | None] = personal("contact.phone", mask="last4")
    born: Mapped[date | None] = personal("identity.birth_date")
    letter: Mapped[str | None] = personal("content.text", padded=True)


class Parcel(PersonalData, Base):
    __tablename__ = "parcel"
    __subject__ = "buyer_id"
    id: Mapped[int] = mapped_column(primary_key=True)
    buyer_id: Mapped[int] = mapped_column(ForeignKey("buyer.id"))
    address: Mapped[str] = personal("contact.address")
