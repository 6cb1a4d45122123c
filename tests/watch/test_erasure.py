"""An erasure in one process is known in another within a second, whatever that one holds."""

from __future__ import annotations

import socket
import time

import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from vaultlayer import KeyErased, PersonalData, Principal, Vault, personal
from vaultlayer.keys.local import WEAK_KDF_FOR_TESTS, LocalKeyring


class Base(DeclarativeBase):
    pass


class Visitor(PersonalData, Base):
    __tablename__ = "visitor"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None] = personal("identity.name")


@pytest.mark.parametrize("through", ["redis", "postgresql", "nothing"])
def test_an_open_access_stops_reading_within_a_second(
    through, request, tmp_path, policies, monkeypatch, missing_part
):
    """The other process has loaded the row, and holds the key as the one it used last."""
    url = ""
    if through == "redis":
        try:
            socket.create_connection(("127.0.0.1", 6379), timeout=2).close()
        except OSError:
            missing_part("Redis at 127.0.0.1:6379")
        url = "redis://127.0.0.1:6379/0"
    elif through == "postgresql":
        url = request.getfixturevalue("postgres_engine").url.render_as_string(hide_password=False)
    monkeypatch.setenv("VAULTLAYER_PASSPHRASE", "correct horse")
    LocalKeyring.create(
        tmp_path / "keyring.json", "correct horse", kdf_for_tests=WEAK_KDF_FOR_TESTS
    )
    watch = f'[watch]\nurl = "{url}"\n' if url else ""
    (tmp_path / "vaultlayer.toml").write_text(
        f'[vault]\npolicies = "{policies}"\n[keys]\nprovider = "local:keyring.json"\nttl = 3\n'
        f'[audit]\ndirectory = "audit"\n{watch}'
    )
    engine = create_engine(f"sqlite:///{tmp_path}/visitors.db")
    Base.metadata.create_all(engine)
    one, other = (Vault.open(tmp_path / "vaultlayer.toml") for _ in range(2))
    for vault in (one, other):
        vault.models = (Base,)
        vault.attach(engine)
        assert not url or vault.watch.listening.wait(5)
    one.create_tables(engine)
    app = Principal("app", roles=["service"])
    with Session(engine) as session, one.access(app, purpose="provide_service"):
        session.add(visitor := Visitor(name="Ada"))
        session.commit()
        subject_id = visitor.subject_id
    officer = Principal("olga", roles=["privacy_officer"])
    with other.access(app, purpose="provide_service") as access, Session(engine) as session:
        held = session.scalars(select(Visitor)).one()
        assert held.name == "Ada"
        value = held.__dict__["name"]
        session.rollback()
        with one.access(officer, purpose="legal_obligation", reason="request 12"):
            one.subjects.erase(subject_id, reason="article 17")
        erased = time.monotonic()
        key_id = value[3:19]
        while key_id in access.cached_keys and time.monotonic() - erased < 1:
            time.sleep(0.01)
        assert (key_id in access.cached_keys) == (not url)
    with Session(engine) as session, other.access(app, purpose="provide_service"):
        if not url:
            time.sleep(3)  # else by TTL
        held = session.scalars(select(Visitor)).one()
        assert held.name is None
        with engine.connect() as connection, pytest.raises(KeyErased):
            other.keys.fetch(connection, [key_id])
    for vault in (one, other):
        vault.close()
    engine.dispose()
