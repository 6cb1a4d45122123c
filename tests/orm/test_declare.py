"""Declarations: names that stay, tenants, and what is refused when the classes are configured."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import ForeignKey, create_engine, func, insert, select, text, update
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    composite,
    configure_mappers,
    mapped_column,
    relationship,
    sessionmaker,
)
from sqlalchemy.pool import StaticPool

from vaultlayer import Equality, PersonalData, Principal, personal
from vaultlayer.errors import AccessDenied, ConfigurationError, VaultLayerError


@pytest.fixture
def base():
    class Base(DeclarativeBase):
        """A registry of the test's own."""

    yield Base
    Base.registry.dispose()


@pytest.fixture
def factory(vault):
    engine = create_engine("sqlite://", poolclass=StaticPool)
    factory = sessionmaker(engine)
    vault.attach(factory)
    vault.create_tables(engine)
    yield factory
    engine.dispose()


def _service(vault, tenant=None, **options):
    principal = Principal("app", roles=["service"], tenant=tenant)
    return vault.access(principal, purpose="provide_service", **options)


def test_renamed_class_attribute_and_column(vault, factory, base):
    """field= and __entity__ keep the sealed names; name= moves the column and its index."""

    class Customer(PersonalData, base):
        __tablename__ = "customer"
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = personal("contact.email", search=Equality("email"), unique=True)

    class Client(PersonalData, base):
        __tablename__ = "client"
        __entity__ = "customer"
        id: Mapped[int] = mapped_column(primary_key=True)
        mail: Mapped[str] = personal(
            "contact.email", field="email", name="e_mail", search=Equality("email"), unique=True
        )

    base.metadata.create_all(factory.kw["bind"])
    with factory() as session, _service(vault):
        session.add(Customer(email="ada@geheim.example"))
        session.flush()
        session.execute(
            text(
                "INSERT INTO client (id, e_mail, e_mail_bidx, subject_id) "
                "SELECT id, email, email_bidx, subject_id FROM customer"
            )
        )
        client = session.scalars(select(Client).where(Client.mail == "ADA@geheim.example")).one()
        assert client.mail == "ada@geheim.example"
        assert session.scalars(select(Client.mail)).one() == "ada@geheim.example"
        client.mail = "king@geheim.example"
        session.flush()
        session.execute(insert(Client), [{"mail": "eve@geheim.example"}])
        session.execute(insert(Client).values(mail="bob@geheim.example"))
        session.execute(update(Client), [{"id": 2, "mail": "eva@geheim.example"}])
        session.expunge_all()
        for mail in ("king", "eva", "bob"):
            found = select(Client.mail).where(Client.mail == f"{mail}@geheim.example")
            assert session.scalars(found).one() == f"{mail}@geheim.example"


def test_the_annotation_need_not_be_mapped(vault, factory, base):
    """A field without an annotation takes its type from personal()."""

    class Note(PersonalData, base):
        __tablename__ = "note"
        __subject__ = None
        id: Mapped[int] = mapped_column(primary_key=True)
        pages = personal("content.text", int)

    base.metadata.create_all(factory.kw["bind"])
    with factory() as session, _service(vault):
        session.add(Note(pages=7))
        session.commit()
        assert session.scalars(select(Note)).one().pages == 7
        with pytest.raises(ConfigurationError):
            Note(pages="7")


def test_an_abstract_base_and_a_mixin_may_hold_fields(vault, factory, base):
    """Each class that inherits them has fields, keys and names of its own."""

    class Named(PersonalData):
        name: Mapped[str] = personal("identity.name", search=Equality("casefold"))

    class Person(Named, base):
        __tablename__ = "person"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Animal(Named, base):
        __tablename__ = "animal"
        __subject__ = "owner"
        id: Mapped[int] = mapped_column(primary_key=True)
        owner: Mapped[int] = mapped_column(ForeignKey("person.id"))

    assert "subject_id" not in Animal.__table__.c
    base.metadata.create_all(factory.kw["bind"])
    with factory() as session, _service(vault):
        session.add(Person(name="Ada Geheim"))
        session.flush()
        session.add(Animal(name="Rex Geheim", owner=1))
        session.commit()
        assert session.scalars(select(Person.name)).one() == "Ada Geheim"
        rex = session.scalars(select(Animal).where(Animal.name == "rex geheim")).one()
        assert rex.name == "Rex Geheim"


def test_a_child_with_a_composite_key(vault, factory, base):
    """It is bound to all columns of its primary key."""

    class Owner(PersonalData, base):
        __tablename__ = "owner"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str] = personal("identity.name")

    class Page(PersonalData, base):
        __tablename__ = "page"
        __subject__ = "owner_id"
        owner_id: Mapped[int] = mapped_column(ForeignKey("owner.id"), primary_key=True)
        number: Mapped[int] = mapped_column(primary_key=True)
        words: Mapped[str] = personal("content.text")

    base.metadata.create_all(factory.kw["bind"])
    with factory() as session, _service(vault):
        session.add(Owner(id=1, name="Ada Geheim"))
        session.flush()
        session.add_all([Page(owner_id=1, number=n, words=f"geheim {n}") for n in (1, 2)])
        session.commit()
        assert session.get(Page, (1, 2)).words == "geheim 2"
        session.execute(update(Page), [{"owner_id": 1, "number": 1, "words": "geheim one"}])
        assert session.scalars(select(Page.words).order_by(Page.number)).first() == "geheim one"
        moved = "UPDATE page SET words = (SELECT words FROM page WHERE number = 2) WHERE number = 1"
        session.execute(text(moved))
        session.expunge_all()
        with pytest.raises(VaultLayerError):
            assert session.get(Page, (1, 1)).words


@pytest.mark.parametrize(
    ("subject", "words"),
    [
        ("nothing", "leads to no data subject"),
        ("plain_id", "leads to no data subject"),
        ("pages", "leads to no data subject"),
        ("amount", "leads to no data subject"),
        ("setting_id", "leads to no data subject"),
    ],
)
def test_a_subject_that_leads_nowhere(base, subject, words):
    """__subject__ names what isn't there, no person, a collection, a bare column, nobody's row."""

    class Plain(base):
        __tablename__ = "plain"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Setting(PersonalData, base):
        __tablename__ = "setting"
        __subject__ = None
        id: Mapped[int] = mapped_column(primary_key=True)

    class Owner(PersonalData, base):
        __tablename__ = "owner"
        id: Mapped[int] = mapped_column(primary_key=True)
        page_id: Mapped[int | None] = mapped_column(ForeignKey("page.id"))

    class Page(PersonalData, base):
        __tablename__ = "page"
        __subject__ = subject
        id: Mapped[int] = mapped_column(primary_key=True)
        plain_id: Mapped[int] = mapped_column(ForeignKey("plain.id"))
        setting_id: Mapped[int] = mapped_column(ForeignKey("setting.id"))
        amount: Mapped[int]
        pages: Mapped[list[Owner]] = relationship()
        words: Mapped[str] = personal("content.text", str)

    with pytest.raises(ConfigurationError) as refused:
        configure_mappers()
    assert words in str(refused.value)
    assert "many-to-one" in refused.value.hint


def test_declarations_the_database_would_serve_are_refused(base):
    """Defaults of the database, plain indexes, a unique without an index, unknown types."""
    for options in (
        {"server_default": "x"},
        {"onupdate": "x"},
        {"index": True},
        {"insert_default": "x"},
        {"unique": True},
    ):
        with pytest.raises(ConfigurationError):
            personal("identity.name", str, **options)

    class Owner(PersonalData, base):
        __tablename__ = "owner"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str] = personal("identity.name", str, default=func.now())

    with pytest.raises(ConfigurationError) as refused:
        configure_mappers()
    assert "without arguments" in refused.value.hint


def test_a_composite_of_personal_fields_is_refused(base):
    """It would keep the opened values on the instance."""

    class Owner(PersonalData, base):
        __tablename__ = "owner"
        id: Mapped[int] = mapped_column(primary_key=True)
        first: Mapped[str] = personal("identity.name", str)
        last: Mapped[str] = personal("identity.name", str)
        both = composite(lambda first, last: (first, last), "first", "last")

    with pytest.raises(ConfigurationError) as refused:
        configure_mappers()
    assert "property" in refused.value.hint


def test_tenants_are_kept_apart(world, m):
    """Each tenant's principal writes, reads and finds only that tenant's rows."""
    with world.acting(tenant="red") as session:
        session.add(m.Member(club="red", name="Ada Geheim"))
        session.commit()
    with world.acting(tenant="blue") as session:
        session.add(m.Member(club="blue", name="Ada Geheim"))
        session.commit()
        named = select(m.Member.id).where(m.Member.name == "ada geheim")
        assert session.scalars(named).all() == [2]
        red, blue = session.scalars(select(m.Member).order_by(m.Member.id))
        assert blue.name == "Ada Geheim"
        for attempt in (
            lambda: red.name,
            lambda: session.scalars(select(m.Member.name)).all(),
            lambda: (setattr(red, "name", "Eve Geheim"), session.flush()),
            lambda: session.execute(insert(m.Member), [{"club": "red", "name": "Eve Geheim"}]),
            lambda: session.execute(update(m.Member), [{"id": 1, "name": "Eve Geheim"}]),
        ):
            with pytest.raises(AccessDenied) as refused:
                attempt()
            assert refused.value.reason == "tenant"
            session.rollback()
    with world.acting(tenant="red") as session:
        red = session.get(m.Member, 1)
        red.club = "blue"
        with pytest.raises(ConfigurationError):
            session.flush()
    world.assert_sealed()


def test_a_tenants_first_keys_in_a_rolled_back_savepoint(world, m):
    """KEK, index root and subject key that a rollback took away are made anew, not remembered."""
    with world.acting(tenant="red") as session:
        for name in ("Lost Geheim", "Also Geheim"):
            nested = session.begin_nested()
            session.add(m.Member(club="red", name=name))
            session.flush()
            nested.rollback()
        session.add(m.Member(club="red", name="Kept Geheim"))
        session.commit()
    _forget_keys(world)
    with world.acting(tenant="red") as session:
        found = select(m.Member.name).where(m.Member.name == "kept geheim")
        assert session.scalars(found).one() == "Kept Geheim"


def test_a_tenants_first_keys_in_a_rolled_back_transaction(world, m):
    """The same when the whole transaction goes, and another session writes next."""
    with world.acting(tenant="red") as session:
        session.add(m.Member(club="red", name="Lost Geheim"))
        session.flush()
        session.rollback()
    with world.acting(tenant="red") as session:
        session.add(m.Member(club="red", name="Kept Geheim"))
        session.commit()
    _forget_keys(world)
    with world.acting(tenant="red") as session:
        found = select(m.Member.name).where(m.Member.name == "kept geheim")
        assert session.scalars(found).one() == "Kept Geheim"


def test_an_object_added_again_long_after_a_rollback(world, m):
    """Its key left the database and the cache; the session has kept it for this."""
    with world.acting() as session:
        eve = m.Customer(name="Eve Geheim", invoices=[m.Invoice(address="geheim 4")])
        session.add(eve)
        session.flush()
        session.rollback()
        world.vault.keys.cached.clear()
        session.add(eve)
        session.commit()
        world.vault.keys.cached.clear()
        assert (eve.name, eve.invoices[0].address) == ("Eve Geheim", "geheim 4")


def test_a_subject_id_given_by_the_application(world, m):
    """It may come from elsewhere; nobody gets another's by it."""
    given = uuid.uuid4()
    with world.acting() as session:
        session.add(m.Customer(name="Eve Geheim", subject_id=given))
        session.execute(insert(m.Customer).values(name="Bob Geheim", subject_id=uuid.uuid4()))
        session.commit()
        found = select(m.Customer).where(m.Customer.subject_id == given)
        assert session.scalars(found).one().name == "Eve Geheim"
        assert session.scalars(select(m.Customer.name).order_by(m.Customer.id)).all()[2:] == [
            "Eve Geheim",
            "Bob Geheim",
        ]


def _forget_keys(world) -> None:
    """As another process would see it: nothing unwrapped is at hand."""
    keys = world.vault.keys
    world.vault.keys = type(keys)(world.vault, keys.keks.providers)
