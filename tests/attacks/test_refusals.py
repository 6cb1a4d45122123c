"""What isn't allowed, or can't work, is refused: one clear error each, and never a value."""

from __future__ import annotations

import time
from contextlib import nullcontext
from datetime import datetime
from enum import Flag, auto
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, configure_mappers, mapped_column

from vaultlayer import Masked, PersonalData, personal
from vaultlayer.errors import (
    AccessDenied,
    ConfigurationError,
    NoAccess,
    UnsupportedQuery,
)
from vaultlayer.testing import audit_events


class Mood(Flag):
    GOOD = auto()


def test_a_field_of_an_undeclared_category_is_read_and_written_by_nobody(shop, refused):
    """personal("contact.fax") is no category of categories.toml: refused, with that reason."""

    class Own(DeclarativeBase):
        pass

    class Machine(PersonalData, Own):
        __tablename__ = "machine"
        id: Mapped[int] = mapped_column(primary_key=True)
        fax: Mapped[str] = personal("contact.fax")

    Own.metadata.create_all(shop.engine)
    with refused(AccessDenied) as caught:
        shop.add(Machine(fax=shop.phone))
    assert caught.error.reason == "category_unknown"
    shop.add(shop.zenobia())
    subject, sealed = shop.sql("SELECT subject_id, phone FROM customer")[0]
    shop.sql("INSERT INTO machine VALUES (1, :fax, :subject)", fax=sealed, subject=subject)
    for way in ("attribute", "reveal", "column"):
        with refused(AccessDenied) as caught:
            shop.read(Machine, 1, "fax", way)
        assert caught.error.reason == "category_unknown"


@pytest.mark.smoke
@pytest.mark.parametrize("kind", [object, complex, Mood, dict[int, str], tuple, set[str]])
def test_a_field_of_an_unknown_type_is_refused_when_mapped(refused, kind):
    """Before any value is taken."""

    class Own(DeclarativeBase):
        pass

    class Machine(PersonalData, Own):
        __tablename__ = "machine"
        id: Mapped[int] = mapped_column(primary_key=True)
        fax: Mapped[Any] = personal("contact.phone", kind)

    with refused(ConfigurationError):
        configure_mappers()
    Own.registry.dispose()


@pytest.mark.parametrize("purpose", ["", None, 7, b"provide_service"])
def test_an_access_without_a_purpose_is_refused(shop, refused, purpose):
    """Before it begins."""
    with refused(ConfigurationError):
        shop.access(purpose)


@pytest.mark.parametrize(
    ("purpose", "roles", "reason"),
    [
        ("world_domination", ["service"], "purpose_unknown"),
        ("Provide_Service", ["service"], "purpose_unknown"),
        ("provide_service ", ["service"], "purpose_unknown"),
        ("provide_service", [], "no_roles"),
        ("provide_service", ["Service"], "role"),
        ("provide_service", ["support"], "role"),
        ("provide_service", ["*"], "role"),
        ("customer_service", ["marketer"], "role"),
        ("product_improvement", ["service"], "purpose_category"),
        ("direct_marketing", ["marketer"], "consent_missing"),
    ],
)
@pytest.mark.parametrize("way", ["attribute", "reveal", "column"])
def test_who_may_not_read_is_told_why_and_recorded(shop, refused, way, purpose, roles, reason):
    """A stable reason code, and a record of the attempt with the same code."""
    (pk,) = shop.add(shop.zenobia())
    with refused(AccessDenied) as caught:
        shop.read(shop.Customer, pk, "name", way, purpose=purpose, roles=roles, sub="eve")
    assert caught.error.reason == reason
    assert reason in str(caught.error)
    (event,) = (
        each for each in audit_events(shop.vault) if each.get("actor", {}).get("sub") == "eve"
    )
    told = event["event"], event["decision"], event["reason_code"], event["count"]
    assert told == ("read", "deny", reason, 1)


@pytest.mark.smoke
def test_without_an_access_nothing_is_read_written_or_searched(shop, refused):
    """Not an attribute, a column, a flush, an INSERT, an UPDATE or a search; nor after its end."""
    (pk,) = shop.add(shop.zenobia())
    with shop.sessions() as session:
        row = session.get_one(shop.Customer, pk)
        with shop.access() as ended:
            assert row.name == shop.name
        attempts = [
            lambda: row.name,
            lambda: ended.reveal(row, shop.Customer.name),
            lambda: session.scalars(select(shop.Customer.name)).all(),
            lambda: session.scalars(
                select(shop.Customer.id).where(shop.Customer.email == shop.email)
            ).all(),
            lambda: session.execute(
                update(shop.Customer), [{"id": pk, "name": "Quillfeather again"}]
            ),
        ]
        for attempt in attempts:
            with refused(NoAccess, given=True):
                attempt()
    for attempt in (
        lambda session: session.add(shop.zenobia(email="other@example.com")),
        lambda session: setattr(session.get_one(shop.Customer, pk), "name", shop.name),
    ):
        with shop.sessions() as session, refused(NoAccess):
            attempt(session)
            session.flush()
    table = shop.Customer.__table__
    for how in ({}, {"roles": ["support"]}):
        acting = shop.access(**how) if how else nullcontext()
        kind = AccessDenied if how else NoAccess
        for statement, parameters in (
            (table.insert(), {"name": shop.name, "email": shop.email}),
            (table.insert(), [{"name": shop.name, "email": shop.email}] * 2),
            (table.insert().values(name=shop.name, email=shop.email), None),
        ):
            with acting, shop.engine.begin() as connection, refused(kind, given=True):
                connection.execute(statement, parameters)
            acting = shop.access(**how) if how else acting


def test_who_may_only_read_changes_nothing(shop, refused):
    """The support role reads names for customer service and writes none: nothing is stored."""
    (pk,) = shop.add(shop.zenobia())
    before = shop.stored("customer", pk, "name")
    with (
        shop.sessions() as session,
        shop.access("customer_service", roles=["support"]),
        refused(AccessDenied) as caught,
    ):
        session.get_one(shop.Customer, pk).name = "Quillfeather the Second"
        session.commit()
    assert caught.error.reason == "role"
    assert shop.stored("customer", pk, "name") == before


def test_a_masked_value_can_not_be_assigned_back(shop, refused):
    """It would destroy the real one; the same for a masked value on its way into another row."""
    (pk,) = shop.add(shop.zenobia())
    with shop.sessions() as session, shop.access("customer_service", roles=["support"]):
        row = session.get_one(shop.Customer, pk)
        phone, born = row.phone, row.born
        assert isinstance(phone, Masked)
        assert isinstance(born, Masked)
        assert (str(phone)[-4:], str(born)) == ("4711", "1931")
        for assign in (
            lambda: setattr(row, "phone", phone),
            lambda: setattr(row, "name", phone),
            lambda: setattr(row, "born", born),
            lambda: shop.Customer(name="Ada", email="a@example.com", phone=phone),
        ):
            with refused(ConfigurationError):
                assign()
    assert shop.read(shop.Customer, pk, "phone") == shop.phone


def test_anothers_sealed_value_can_not_be_assigned(shop, refused):
    """A Sealed opens in its own place only, so nothing of it is stored elsewhere."""
    first, second = shop.add(shop.zenobia(), shop.Customer(name="Ada", email="ada@example.com"))
    for source, target, field in [(first, second, "name"), (first, first, "nick")]:
        with shop.sessions() as session, shop.access():
            taken = session.get_one(shop.Customer, source).__dict__["name"]
            setattr(session.get_one(shop.Customer, target), field, taken)
            with refused(ConfigurationError):
                session.flush()


def test_a_value_of_another_type_is_refused_where_it_is_assigned(shop, refused):
    """The error names types, never the value."""
    for field, value in [
        ("name", shop.name.encode()),
        ("name", 4711_0815),
        ("born", "1931-07-23"),
        ("born", datetime(1931, 7, 23)),
        ("email", [shop.email]),
    ]:
        customer = shop.zenobia()
        with refused(ConfigurationError, "47110815", given=True):
            setattr(customer, field, value)


def test_a_token_that_expires_ends_an_open_access(shop, refused):
    """Reads, batches, columns, searches and writes are refused from that moment on."""
    (pk,) = shop.add(shop.zenobia())
    with shop.sessions() as session, shop.access(expires=time.time() + 0.3) as access:
        row = session.get_one(shop.Customer, pk)
        assert row.name == shop.name
        time.sleep(0.4)
        attempts = [
            lambda: row.name,
            lambda: row.phone,
            lambda: access.reveal(row, shop.Customer.name),
            lambda: session.scalars(select(shop.Customer.name)).all(),
            lambda: session.scalars(
                select(shop.Customer.id).where(shop.Customer.email == shop.email)
            ).all(),
            lambda: (setattr(row, "nick", shop.name), session.flush()),
        ]
        for attempt in attempts:
            with refused(AccessDenied) as caught:
                attempt()
            assert caught.error.reason == "token_expired"


def test_operators_a_sealed_column_can_not_serve_name_a_remedy(shop, refused):
    """Refused while the statement is built; the compared value stays out of the error."""
    customer = shop.Customer
    for build in (
        lambda: customer.name == shop.name,
        lambda: customer.name < shop.name,
        lambda: customer.email.like(f"%{shop.email}%"),
        lambda: customer.email.contains(shop.email),
        lambda: customer.name.in_([shop.name]),
        lambda: customer.born > shop.born,
        lambda: customer.name + shop.name,
    ):
        with refused(UnsupportedQuery, given=True):
            build()
    with shop.sessions() as session, shop.access(), refused(UnsupportedQuery, given=True):
        session.execute(update(customer).values(name=shop.name))


def test_a_value_that_is_not_stored_yet_is_recorded_too(shop):
    """Read between its assignment and the flush: decided and noted like any other."""
    with shop.access():
        assert shop.zenobia().name == shop.name
    [event] = [each for each in audit_events(shop.vault) if each["event"] == "read"]
    assert (event["entity"], event["fields"], event["count"]) == ("customer", ["name"], 1)
