"""``__region__``: the region a person's row names decides where their key is made, and stays."""

from __future__ import annotations

import pytest
from sqlalchemy import ForeignKey, create_engine, insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from vaultlayer import PersonalData, Principal, Vault, personal
from vaultlayer.errors import ConfigurationError
from vaultlayer.keys import tables


class Base(DeclarativeBase):
    pass


class Guest(PersonalData, Base):
    __tablename__ = "guest"
    __region__ = "country"
    id: Mapped[int] = mapped_column(primary_key=True)
    country: Mapped[str | None]
    name: Mapped[str] = personal("identity.name")


class Stay(PersonalData, Base):
    __tablename__ = "stay"
    __subject__ = "guest"
    id: Mapped[int] = mapped_column(primary_key=True)
    guest_id: Mapped[int] = mapped_column(ForeignKey("guest.id"))
    note: Mapped[str] = personal("content.text")
    guest: Mapped[Guest] = relationship()


CLERK = Principal("clerk", roles=["service"])


@pytest.fixture
def hotel(policies):
    engine = create_engine("sqlite://")
    with Vault.ephemeral(policies=policies) as vault:
        vault.create_tables(engine)
        Base.metadata.create_all(engine)
        session = Session(engine)
        vault.attach(session)
        with session, vault.access(CLERK, purpose="provide_service"):
            yield session, vault


def region(session, guest):
    """The region of the KEK that a person's key is under."""
    s, k = tables.subject_key.c, tables.kek.c
    whose = select(k.region).join(tables.subject_key, s.kek_id == k.kek_id)
    return session.scalars(whose.where(s.subject == guest.subject_id.bytes)).one()


def test_a_new_persons_key_is_made_where_the_row_says(hotel):
    """Through the unit of work, with a child in the same flush, and by insert()."""
    session, _ = hotel
    ada, bob, eve = (Guest(country=each, name="x") for each in ("eu", "us", None))
    session.add_all([Stay(guest=ada, note="quiet room"), bob, eve])
    session.flush()
    session.execute(insert(Guest).values(country="cn", name="Li"))
    li = session.scalars(select(Guest).where(Guest.country == "cn")).one()
    assert [region(session, guest) for guest in (ada, bob, eve, li)] == ["eu", "us", "", "cn"]
    assert [guest.name for guest in (ada, bob, eve, li)] == ["x", "x", "x", "Li"]


def test_the_key_in_memory_says_its_region(hotel):
    """What a decision about a region boundary looks at; also after it was fetched cold."""
    session, vault = hotel
    session.add(Guest(country="eu", name="Ada"))
    session.flush()
    assert {key.region for key in vault.keys.cached.values()} == {"eu"}
    session.commit()
    vault.keys.cached.clear()
    assert session.scalars(select(Guest)).one().name == "Ada"
    assert {key.region for key in vault.keys.cached.values()} == {"eu"}


def test_a_changed_region_leaves_the_key_where_it_is(hotel):
    """Moving is a decision of its own, not a side effect of an UPDATE."""
    session, _ = hotel
    ada = Guest(country="eu", name="Ada")
    session.add(ada)
    session.commit()
    ada.country = "us"
    ada.name = "Ada L."
    session.commit()
    assert region(session, ada) == "eu"
    assert ada.name == "Ada L."


def test_a_region_that_is_no_column_is_refused():
    """When the class is configured, not when a row is written."""

    class Own(DeclarativeBase):
        pass

    class Wrong(PersonalData, Own):
        __tablename__ = "wrong"
        __region__ = "contry"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str] = personal("identity.name")

    with pytest.raises(ConfigurationError, match="__region__ names 'contry'"):
        Wrong(name="x")
    Own.registry.dispose()
