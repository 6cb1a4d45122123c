"""The command line as a user meets it, in the test's own process or in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import jwt
import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from vaultlayer import AccessDenied, PersonalData, Principal, Vault, personal
from vaultlayer.cli import main
from vaultlayer.keys.local import WEAK_KDF_FOR_TESTS, LocalKeyring
from vaultlayer.testing import audit_events

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PROGRAM = "from vaultlayer.cli import main; main()"


@pytest.fixture
def settings_of_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In tmp_path, 80 columns, without colour and without any VAULTLAYER_... variable."""
    for name in [name for name in os.environ if name.startswith("VAULTLAYER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def vaultlayer(
    settings_of_nobody: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``vaultlayer ARGUMENTS`` here, with the variables ``env`` added."""

    def run(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
        words = ["vaultlayer", *map(str, arguments)]
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", words)
            for name, value in env.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as left:
                main()
        told = capsys.readouterr()
        code = left.value.code
        assert isinstance(code, int | None)
        return subprocess.CompletedProcess(words, code or 0, told.out, told.err)

    return run


@pytest.fixture
def process(settings_of_nobody: None) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``vaultlayer ARGUMENTS`` as a process of its own, after ``prelude``."""

    def run(
        *arguments: object, prelude: str = "", **env: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", f"{prelude}\n{PROGRAM}", *map(str, arguments)],
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
        )

    return run


PASSPHRASE = "correct horse battery staple"
SECRET = "0123456789abcdef0123456789abcdef"
SETTINGS = """
[vault]
database = "sqlite:///app.db"
policies = "{policies}"
[keys]
provider = "local:keyring.json"
[audit]
directory = "audit"
[tokens]
issuer = "https://id.example"
audience = "shop"
algorithms = ["HS256"]
secret_file = "secret"
"""


class Base(DeclarativeBase):
    pass


class Customer(PersonalData, Base):
    __tablename__ = "customer"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = personal("identity.name")
    phone: Mapped[str] = personal("contact.phone", mask="last4")


@pytest.fixture
def shop(vaultlayer, tmp_path, policies, monkeypatch):
    """A shop with three customers whom Sam, Mona and a token have read or tried to."""
    (tmp_path / "vaultlayer.toml").write_text(SETTINGS.format(policies=policies))
    (tmp_path / "secret").write_text(SECRET)
    LocalKeyring.create(tmp_path / "keyring.json", PASSPHRASE, kdf_for_tests=WEAK_KDF_FOR_TESTS)
    monkeypatch.setenv("VAULTLAYER_PASSPHRASE", PASSPHRASE)
    claims = {"iss": "https://id.example", "aud": "shop", "sub": "tom", "exp": 4_000_000_000}
    token = jwt.encode({**claims, "roles": ["support"]}, SECRET, "HS256")
    engine = create_engine("sqlite:///app.db")
    sessions = sessionmaker(engine)
    with Vault.open() as vault:
        vault.attach(sessions)
        vault.create_tables(engine)
        Base.metadata.create_all(engine)
        shop = Principal("shop", ["service"])
        with sessions() as session, vault.access(shop, purpose="provide_service"):
            names = ("Zenobia", "Ada", "Grace")
            session.add_all([Customer(name=name, phone="+44 20 7946 0000") for name in names])
            session.commit()
        with sessions() as session:
            subjects = [str(row.subject_id) for row in session.scalars(select(Customer))]
            for who, purpose, rows in (
                (Principal("sam", ["support"]), "customer_service", 2),
                (Principal("mona", ["marketer"]), "direct_marketing", 3),
                (token, "customer_service", 1),
            ):
                with vault.access(who, purpose=purpose, reason="ticket\x1b[31m 4711"):
                    for row in session.scalars(select(Customer).order_by(Customer.id).limit(rows)):
                        try:
                            assert row.name in names
                        except AccessDenied:
                            assert purpose == "direct_marketing"
    engine.dispose()
    return SimpleNamespace(
        subjects=subjects, token=token, events=lambda: _events(tmp_path), Customer=Customer
    )


def _events(folder):
    """Checked against the schema too."""
    settings = SimpleNamespace(audit_directory=folder / "audit")
    return audit_events(SimpleNamespace(settings=settings))
