"""A small shop, sealed by the ORM, for the adapters that take whole columns."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session, sessionmaker

from vaultlayer import Principal, Vault
from vaultlayer.keys.local import WEAK_KDF_FOR_TESTS, LocalKeyring

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
SERVICE = Principal("shop", roles=["service"])
PASSPHRASE = "correct horse battery staple"
SETTINGS = """
[vault]
database = "sqlite:///{folder}/shop.db"
policies = "{policies}"
[keys]
provider = "local:keyring.json"
[audit]
directory = "audit"
"""
PEOPLE = [
    ("Ada geheim", "ada@geheim.example", "+44 20 7946 0001", date(1815, 12, 10), "Dear geheim"),
    ("Grace geheim", None, "+1 202 555 0172", None, None),
    ("Zoë 太郎 geheim", "zoe@geheim.example", None, date(1950, 1, 2), ""),
]


@dataclass
class World:
    """A vault, its database with a few rows, and the settings' file."""

    vault: Vault
    engine: sa.Engine
    m: Any
    config: Path

    def access(self, role: str = "service", purpose: str = "provide_service") -> Any:
        return self.vault.access(Principal("shop", roles=[role]), purpose=purpose, reason="test")

    def rows(self, cls: Any, *names: str) -> dict[str, list[Any]]:
        """Columns as they are stored, and the subject ids as text."""
        with self.engine.connect() as connection:
            listed = ", ".join(names)
            rows = connection.execute(
                sa.text(f"SELECT {listed} FROM {cls.__tablename__} ORDER BY id")
            ).all()
        columns = zip(*rows, strict=True)
        return {name: list(column) for name, column in zip(names, columns, strict=True)}


@pytest.fixture(scope="session")
def m() -> Any:
    sys.path.insert(0, str(HERE))
    try:
        return importlib.import_module("column_models")
    finally:
        sys.path.remove(str(HERE))


@pytest.fixture
def world(m: Any, tmp_path: Path, policies: Path, monkeypatch: Any) -> Iterator[World]:
    (tmp_path / "vaultlayer.toml").write_text(SETTINGS.format(folder=tmp_path, policies=policies))
    LocalKeyring.create(tmp_path / "keyring.json", PASSPHRASE, kdf_for_tests=WEAK_KDF_FOR_TESTS)
    monkeypatch.setenv("VAULTLAYER_PASSPHRASE", PASSPHRASE)
    engine = sa.create_engine(f"sqlite:///{tmp_path}/shop.db")
    sessions = sessionmaker(engine)
    with Vault.open(tmp_path / "vaultlayer.toml") as vault:
        vault.attach(sessions)
        vault.create_tables(engine)
        m.Base.metadata.create_all(engine)
        with sessions() as session, vault.access(SERVICE, purpose="provide_service"):
            for name, email, phone, born, letter in PEOPLE:
                buyer = m.Buyer(name=name, email=email, phone=phone, born=born, letter=letter)
                session.add(buyer)
                session.flush()
                session.add(m.Parcel(id=10 * buyer.id, buyer_id=buyer.id, address=f"1 {name} St"))
            session.commit()
        yield World(vault, engine, m, tmp_path / "vaultlayer.toml")
    engine.dispose()


@pytest.fixture
def session(world: World) -> Iterator[Session]:
    with sessionmaker(world.engine)() as session:
        yield session


@pytest.fixture
def people() -> list[dict[str, Any]]:
    """What was sealed, in the order of the rows."""
    names = ("name", "email", "phone", "born", "letter")
    return [dict(zip(names, row, strict=True)) for row in PEOPLE]
