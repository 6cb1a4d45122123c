"""Canaries planted in every field are in no log, error, repr, dump or warning afterwards."""

from __future__ import annotations

import copy
import io
import json
import logging
import pickle
import sys
import warnings

import pytest
import structlog
from sqlalchemy import create_engine, insert, inspect, select, update
from sqlalchemy.exc import IntegrityError as UniqueViolation
from sqlalchemy.exc import StatementError
from sqlalchemy.orm import sessionmaker

from vaultlayer import Sealed
from vaultlayer.errors import ConfigurationError, PlaintextFound
from vaultlayer.testing import assert_no_plaintext


@pytest.fixture
def said(caplog):
    """Everything the loggers say, SQLAlchemy's statements and parameters among it."""
    caplog.set_level(logging.DEBUG)
    for name in ("sqlalchemy.engine", "sqlalchemy.pool", "sqlalchemy.orm"):
        caplog.set_level(logging.DEBUG, name)
    return caplog


def work(shop, sessions):
    """All that an application does with people's data, by every way in and out."""
    customer = shop.Customer
    with sessions() as session, shop.access(reason="leak hunt") as access:
        zenobia = shop.zenobia(nick="Quillfeather")
        session.add_all([zenobia, shop.Invoice(id=1, customer=zenobia, address=shop.street)])
        session.commit()
        values = {"name": shop.name, "email": "2" + shop.email, "phone": shop.phone}
        session.execute(insert(customer), [values, {**values, "email": "3" + shop.email}])
        session.execute(insert(customer).values(**{**values, "email": "4" + shop.email}))
        session.execute(update(customer), [{"id": zenobia.id, "nick": shop.name}])
        zenobia.phone = shop.phone + "99"
        session.commit()
        found = session.scalars(select(customer).where(customer.email == shop.email)).one()
        in_list = session.scalars(select(customer).where(customer.phone.in_([shop.phone]))).all()
        read = [found.name, found.born, *access.reveal(in_list, customer.name, customer.email)]
        read += session.execute(
            select(customer.name, shop.Invoice.address).join(shop.Invoice)
        ).all()
        session.refresh(found)
        session.delete(session.get_one(shop.Invoice, 1))
        session.commit()
    assert shop.name in read


def test_no_value_is_in_sqlalchemys_log(any_shop, said, capsys):
    """echo=True, at debug level, with every statement, parameter and result row."""
    shop = any_shop
    engine = create_engine(shop.engine.url, echo="debug")
    sessions = sessionmaker(engine)
    shop.vault.attach(sessions)
    work(shop, sessions)
    engine.dispose()
    shown = said.text + capsys.readouterr().out
    assert "INSERT INTO customer" in shown
    assert "vaultlayer_subject_key" in shown
    assert_no_plaintext(shown.encode(), shop.canaries)


@pytest.mark.smoke
def test_no_value_is_in_a_unique_violation(shop):
    """The second equal e-mail: the error, its parameters, its traceback and all its variables."""
    shop.add(shop.zenobia())
    with shop.sessions() as session, shop.access():
        session.add(shop.zenobia(email="  Quill.Feather@CANARY.example "))
        with pytest.raises(UniqueViolation) as caught:
            session.flush()
    error = caught.value
    assert_no_plaintext(everything_of(error), [*shop.canaries, "Quill.Feather@CANARY.example"])
    assert "[parameters: (" in str(error)


def test_no_value_is_in_a_statement_error(shop):
    """A statement the database refuses, with a searched value and sealed ones beside it."""
    shop.add(shop.zenobia())
    shop.sql("DROP TABLE invoice")
    shop.sql("ALTER TABLE customer RENAME COLUMN nick TO nack")
    attempts = [
        lambda session: session.add(shop.zenobia(email="new" + shop.email)),
        lambda session: session.scalars(
            select(shop.Customer).where(shop.Customer.email == shop.email)
        ).all(),
    ]
    for attempt in attempts:
        with shop.sessions() as session, shop.access(), pytest.raises(StatementError) as caught:
            attempt(session)
            session.flush()
        assert_no_plaintext(everything_of(caught.value), shop.canaries)


def everything_of(error):
    """An error as logs and error trackers show it, with all variables of the library's frames."""
    tracker = structlog.tracebacks.ExceptionDictTransformer(
        show_locals=True, locals_max_length=10_000, locals_max_string=10_000, max_frames=500
    )
    frames = tracker((type(error), error, error.__traceback__))
    for trace in frames:
        ours = [frame for frame in trace["frames"] if "/tests/" not in frame["filename"]]
        trace["frames"] = ours
    shown = [str(error), repr(error), json.dumps(frames, ensure_ascii=False)]
    return "\n".join(shown).encode()


def test_no_value_is_in_a_structlog_traceback(shop, refused):
    """structlog with show_locals=True renders the variables of each frame on the way."""
    (pk,) = shop.add(shop.zenobia())
    shop.store("customer", pk, "name", shop.name.encode())
    with refused(PlaintextFound) as caught:
        shop.read(shop.Customer, pk, "name")
    assert_no_plaintext(everything_of(caught.error), shop.canaries)


def test_no_value_is_in_what_objects_say_of_themselves(shop):
    """repr, str, format and vars() of rows, values, accesses, vaults, sessions and states."""
    (pk,) = shop.add(shop.zenobia())
    with shop.sessions() as session, shop.access() as access:
        row = session.get_one(shop.Customer, pk)
        assert row.name == shop.name
        fresh = shop.zenobia(email="2" + shop.email)
        session.add(fresh)
        objects = [row, fresh, access, shop.vault, session, inspect(row), inspect(fresh), shop]
        objects += [vars(row), vars(fresh), inspect(row).dict, inspect(fresh).committed_state]
        objects += [history(row), history(fresh), access.principal, access.grants]
        objects += [shop.vault.journal, shop.vault.keys, shop.vault.settings, shop.vault.audit]
        objects += [*vars(row).values(), *vars(fresh).values(), shop.vault.keys.cached]
        session.flush()
        objects += [vars(fresh), history(fresh), *session.identity_map.values()]
        shown = [form(each) for each in objects for form in (repr, str, "{0}".format)]
    assert "<Sealed>" in "".join(shown)
    assert_no_plaintext("\n".join(shown).encode(), shop.canaries)


def history(row):
    return {name: attribute.history for name, attribute in inspect(row).attrs.items()}


def test_sealed_values_are_not_dumped(shop, refused):
    """pickle refuses them, json too; copies stay sealed; a row's own dict holds nothing plain."""
    (pk,) = shop.add(shop.zenobia())
    with shop.sessions() as session, shop.access():
        row = session.get_one(shop.Customer, pk)
        assert row.name == shop.name
        sealed = vars(row)["name"]
        assert isinstance(sealed, Sealed)
        pending = vars(shop.zenobia())["name"]
        session.expunge(row)
        for thing in (sealed, pending, row):
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
                with refused(ConfigurationError):
                    pickle.dumps(thing, protocol)
            with pytest.raises(TypeError):
                json.dumps(thing)
        shown = repr([copy.copy(sealed), copy.deepcopy(sealed), copy.copy(pending)])
        shown += json.dumps(vars(row), default=str)
    assert_no_plaintext(shown.encode(), shop.canaries)


def test_no_value_is_in_a_warning_or_on_the_terminal(shop, capfd):
    """Everything an application does, with all warnings on."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        work(shop, shop.sessions)
    shown = "".join(str(each.message) for each in caught) + "".join(capfd.readouterr())
    assert_no_plaintext(shown.encode() or b"silence", shop.canaries)


def test_no_value_is_in_the_audit_or_its_structlog_output(shop, capsys):
    """The journal, the log, and whatever the application's own structlog set-up prints."""
    output = io.StringIO()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(output))
    try:
        work(shop, shop.sessions)
    finally:
        structlog.reset_defaults()
    shown = output.getvalue() + capsys.readouterr().out
    trail = shop.vault.settings.audit_directory
    assert_no_plaintext([trail, shown.encode()], shop.canaries)
    assert sys.exc_info() == (None, None, None)
