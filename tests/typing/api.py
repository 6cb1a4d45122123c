"""The public API as a user's type checker sees it. It is checked by mypy and pyright, not run."""

from __future__ import annotations

import uuid
from datetime import date
from typing import TYPE_CHECKING, assert_type

from sqlalchemy import ForeignKey, create_engine, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    relationship,
    sessionmaker,
)

from vaultlayer import (
    AccessDenied,
    Equality,
    PersonalData,
    Principal,
    Sealed,
    Vault,
    VaultLayerError,
    personal,
)
from vaultlayer.testing import assert_no_plaintext, audit_events

if TYPE_CHECKING:
    from pathlib import Path


class Base(DeclarativeBase):
    pass


class Customer(PersonalData, Base):
    __tablename__ = "customer"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = personal("identity.name")
    email: Mapped[str] = personal("contact.email", search=Equality("email"), unique=True)
    born: Mapped[date | None] = personal("identity.birth_date", mask="year", padded=True)


class Invoice(PersonalData, Base):
    __tablename__ = "invoice"
    __subject__ = "customer"

    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customer.id"))
    address: Mapped[str] = personal("contact.address")
    customer: Mapped[Customer] = relationship()


def reads(vault: Vault, session: Session) -> None:
    """A value has the declared type, in an attribute, in a column and in a condition."""
    sam = Principal("sam", roles=["support"], amr=("otp",), claims={"team": "north"})
    with vault.access(sam, purpose="customer_service", reason="ticket 1") as access:
        customer = session.scalars(select(Customer).where(Customer.email == "a@b.org")).one()
        assert_type(customer.name, str)
        assert_type(customer.born, date | None)
        assert_type(customer.subject_id, uuid.UUID)
        access.reveal([customer], Customer.name, Customer.email)
        access.prefetch([customer])
        assert_type(session.scalars(select(Customer.email)).all()[0], str)


def refusals(customer: Customer) -> str:
    """Errors carry a code and a hint; a refusal its reason."""
    try:
        return customer.name
    except AccessDenied as refusal:
        assert_type(refusal.reason, str)
        raise
    except VaultLayerError as error:
        return error.code + error.hint


def sealed(value: Sealed) -> bytes:
    """A value nobody has opened has its bytes, and nothing that gives a str by mistake."""
    assert_type(value.envelope, bytes)
    return value.envelope


def opens(path: Path, policies: Path) -> None:
    """A vault is opened by path or from the environment, or for tests; and it closes itself."""
    engine = create_engine("sqlite://")
    with Vault.open(path) as vault:
        vault.attach(sessionmaker(engine))
        vault.attach(async_sessionmaker(create_async_engine("sqlite+aiosqlite://")))
        vault.create_tables(engine)
        vault.reload_policy()
        assert_type(vault.audit.verify().records, int)
    with Vault.ephemeral(policies=policies) as vault:
        assert_type(vault, Vault)
        audit_events(vault)
        assert_type(assert_no_plaintext(path, ["Ada Lovelace"]), int)


async def asynchronous(vault: Vault, session: AsyncSession) -> None:
    """A token instead of a principal, and an AsyncSession."""
    with vault.access("eyJ0eXAi", purpose="customer_service", session=session):
        customer = (await session.scalars(select(Customer))).one()
        assert_type(customer.email, str)
