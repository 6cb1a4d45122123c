"""Consent and policies in several processes, and with asyncio: told of, or found out in time."""

from __future__ import annotations

import os
import signal
import time
from importlib import import_module
from pathlib import Path

import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from vaultlayer import AccessDenied, PersonalData, Principal, Vault, personal
from vaultlayer.keys.local import WEAK_KDF_FOR_TESTS, LocalKeyring

PASSPHRASE = "a passphrase for the tests"
REDIS = "redis://127.0.0.1:6379/0"
SHOP = Principal("shop", ["service"])
MONA = Principal("mona", ["marketer"])


class Base(DeclarativeBase):
    pass


class Guest(PersonalData, Base):
    __tablename__ = "guest_of_processes"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = personal("identity.name")


def outcome(guest):
    try:
        return guest.name
    except AccessDenied as refusal:
        return refusal.reason


@pytest.fixture(params=["redis", "postgresql"])
def wire(request, missing_part):
    """The URL of something that carries messages."""
    try:
        import_module(f"vaultlayer_adapters.{request.param}")
    except ImportError:
        missing_part(f"the library for {request.param}")
    if request.param == "postgresql":
        engine = request.getfixturevalue("postgres_engine")
        return engine.url.render_as_string(hide_password=False)
    try:
        import redis

        redis.Redis.from_url(REDIS).ping()
    except Exception:
        missing_part("Redis at 127.0.0.1:6379")
    return REDIS


@pytest.fixture
def settings(bundle, tmp_path, monkeypatch):
    """Writes the settings of one of the processes; all share keyring, policies and database."""
    monkeypatch.setenv("VAULTLAYER_PASSPHRASE", PASSPHRASE)
    LocalKeyring.create(
        tmp_path / "keyring.json", PASSPHRASE, kdf_for_tests=WEAK_KDF_FOR_TESTS
    )

    def write(name: str, watch: str | None) -> Path:
        file = tmp_path / f"{name}.toml"
        told = f'[watch]\nurl = "{watch}"\n' if watch else ""
        file.write_text(
            '[vault]\npolicies = "policies"\n[keys]\nprovider = "local:keyring.json"\n'
            f'[audit]\ndirectory = "audit-{name}"\n{told}'
        )
        return file

    return write


def within(seconds, ask):
    """Seconds until ``ask`` says yes."""
    start = time.monotonic()
    while not ask():
        assert time.monotonic() - start < seconds
        time.sleep(0.02)
    return time.monotonic() - start


def test_other_processes_hear_of_consent_and_policies_within_a_second(
    wire, settings, bundle, tmp_path
):
    """Two vaults that share nothing but files, a database and a wire; an open access hears too."""
    engine = create_engine(f"sqlite:///{tmp_path}/app.db", connect_args={"timeout": 20})
    one, other = (Vault.open(settings(name, wire)) for name in ("one", "other"))
    sessions = []
    for vault in (one, other):
        made = sessionmaker(create_engine(engine.url, connect_args={"timeout": 20}))
        vault.attach(made)
        sessions.append(made)
        assert vault.watch.listening.wait(10)
    one.create_tables(engine)
    Base.metadata.create_all(engine)
    with sessions[0]() as session, one.access(SHOP, purpose="provide_service"):
        guest = Guest(name="Ada")
        session.add(guest)
        session.commit()
        person = guest.subject_id
        one.consent.grant(person, "direct_marketing")
    with sessions[1]() as session, other.access(MONA, purpose="direct_marketing"):
        guest = session.scalars(select(Guest)).one()
        assert outcome(guest) == "Ada"
        session.commit()
        with one.access(SHOP, purpose="provide_service"):
            one.consent.withdraw(person, "direct_marketing")
        assert within(5, lambda: outcome(guest) == "consent_withdrawn") < 1
        session.commit()
        with one.access(SHOP, purpose="provide_service"):
            one.consent.grant(person, "direct_marketing")
        assert within(5, lambda: outcome(guest) == "Ada") < 1
        with (bundle / "roles.csv").open("a") as rules:
            rules.write("p, marketer, contact.phone, read, direct_marketing, deny\n")
        old = other.snapshot.digest
        one.reload_policy()
        assert within(5, lambda: other.snapshot.digest != old) < 1
        session.rollback()
    for vault in (one, other):
        vault.close()


def test_without_a_wire_others_find_out_when_their_time_comes(settings, tmp_path):
    """At the latest when what they know has grown as old as a key may: here a second."""
    files = [settings(name, None) for name in ("one", "other")]
    for file in files:
        file.write_text(file.read_text().replace("[audit]", "ttl = 1.0\n[audit]"))
    one, other = map(Vault.open, files)
    engine = create_engine(f"sqlite:///{tmp_path}/app.db")
    sessions = sessionmaker(engine)
    for vault in (one, other):
        vault.attach(sessions)
    one.create_tables(engine)
    Base.metadata.create_all(engine)
    with sessions() as session, one.access(SHOP, purpose="provide_service"):
        guest = Guest(name="Ada")
        session.add(guest)
        session.commit()
        person = guest.subject_id
        one.consent.grant(person, "direct_marketing")
    with sessions() as session, other.access(MONA, purpose="direct_marketing"):
        guest = session.scalars(select(Guest)).one()
        assert outcome(guest) == "Ada"
        with one.access(SHOP, purpose="provide_service"):
            one.consent.withdraw(person, "direct_marketing")
        assert within(5, lambda: outcome(guest) == "consent_withdrawn") < 1.5
    for vault in (one, other):
        vault.close()


def test_a_child_forked_in_the_middle_decides_and_asks(shop):
    """Locks that other threads of the parent held are its own to take anew."""
    (person,) = shop.populate(1)
    shop.say("grant", person)
    vault = shop.vault
    with vault.policies._reading, vault.policies.snapshot._lock, vault.standing._lock:
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            decided = vault.snapshot.decide(frozenset({"auditor"}), "x.y", "identity.name",
                                            "read", "security")  # fmt: skip
            vault.standing.forget()
            vault.reload_policy()
            os._exit(0 if decided.effect == "mask" else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert shop.names() == ["Ada 0"]
