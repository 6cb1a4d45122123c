"""The one table of this room's applications."""

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from vaultlayer import PersonalData, personal


class Base(DeclarativeBase):
    pass


class Person(PersonalData, Base):
    __tablename__ = "person"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = personal("identity.name")
    phone: Mapped[str] = personal("contact.phone", mask="last4")
    card: Mapped[str] = personal("financial.card")
