"""``vaultlayer demo``: the main job on invented people, to be watched.

Every step works on real files in a folder of its own and keeps what it saw as plain facts;
demo_show.py prints them. Nothing outside that folder is touched.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
import time
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import Engine, create_engine, select
from sqlalchemy.orm import Session, sessionmaker

from vaultlayer.access.principal import Principal
from vaultlayer.audit.verify import verify
from vaultlayer.cli import init as starter
from vaultlayer.cli.common import JsonOption, print_json
from vaultlayer.cli.demo_people import FIELDS, Base, Customer, invent
from vaultlayer.cli.demo_show import show
from vaultlayer.errors import AccessDenied, ConfigurationError, NoAccess
from vaultlayer.keys.provider import open_provider
from vaultlayer.sealed import Masked
from vaultlayer.settings import Settings
from vaultlayer.testing import assert_no_plaintext
from vaultlayer.vault import Vault

PEOPLE, WATCHED = 300, 5


@dataclass(frozen=True)
class Reader:
    """Somebody who looks at the five people; without roles: nobody, who opens no access."""

    title: str
    sub: str
    roles: list[str]
    purpose: str
    reason: str


READERS = (
    Reader("A support agent", "sam", ["support"], "customer_service", "ticket 4711"),
    Reader("A marketer", "mona", ["marketer"], "direct_marketing", "spring offers"),
    Reader("An auditor", "axel", ["auditor"], "security", "quarterly review"),
    Reader("Nobody", "", [], "", ""),
)


@dataclass(frozen=True)
class Cell:
    """What one read gave: the value as shown, or the reason code of its refusal."""

    outcome: str
    shown: str


@dataclass(frozen=True)
class View:
    """What the five people look like to one reader: a list of cells a person."""

    reader: Reader
    rows: list[list[Cell]]


@dataclass(frozen=True)
class Stored:
    """One column of one row as the database has it."""

    column: str
    content: bytes | int


@dataclass
class Facts:
    """All that the demo did and saw."""

    folder: str
    kept: bool
    people: int = PEOPLE
    write_seconds: float = 0.0
    views: list[View] = field(default_factory=list)
    name: str = ""
    row: list[Stored] = field(default_factory=list)
    name_offset: int = 0
    searched_values: int = 0
    searched_bytes: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)
    records: int = 0
    findings: list[str] = field(default_factory=list)
    tampered: tuple[str, str] = ("", "")
    tampered_line: int = 0
    tampered_findings: list[str] = field(default_factory=list)


def demo(
    folder: Annotated[
        Path | None, typer.Option(help="A new folder to work in and keep; else a temporary one.")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Show the main job on 300 made-up people: who sees what, the bytes, the log, a forgery."""
    if folder is not None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigurationError(
            f"{folder} is there already", hint="name a new or empty folder for the demo"
        )
    with nullcontext(folder) if folder else tempfile.TemporaryDirectory() as place:
        facts = watch(Path(place).absolute(), kept=folder is not None)
    if json_:
        print_json(asdict(facts))
    else:
        show(facts)


def watch(folder: Path, *, kept: bool = True) -> Facts:
    """Do everything in ``folder`` and return the facts."""
    facts = Facts(str(folder), kept)
    database = folder / "app.db"
    plan = starter.Plan(folder, f"sqlite:///{database}", passphrase=None)
    engine = create_engine(plan.database)
    with _open_vault(plan, starter.write(plan)) as vault:
        _write_people(vault, engine, facts)
        _read_as_each(vault, engine, facts)
    engine.dispose()
    _look_at_bytes(folder, database, facts)
    _look_at_log(folder / "audit", facts)
    _tamper(folder, facts)
    return facts


def _open_vault(plan: starter.Plan, passphrase: str) -> Vault:
    """As Vault.open does, but deaf to variables that name the user's own database or keys."""
    settings = Settings.load(plan.folder / "vaultlayer.toml")
    settings = replace(settings, database=plan.database, provider=f"local:{starter.KEYRING}")
    provider = open_provider(settings.provider, passphrase=lambda: passphrase, base=plan.folder)
    return Vault(settings, provider)


def _write_people(vault: Vault, engine: Engine, facts: Facts) -> None:
    sessions = sessionmaker(engine)
    vault.attach(sessions)
    vault.create_tables(engine)
    Base.metadata.create_all(engine)
    begin = time.perf_counter()
    application = Principal("shop", roles=["service"])
    with sessions() as session, vault.access(application, purpose="provide_service"):
        for name, email, phone, born in invent(PEOPLE):
            session.add(Customer(name=name, email=email, phone=phone, born=born))
        session.commit()
    facts.write_seconds = time.perf_counter() - begin


def _read_as_each(vault: Vault, engine: Engine, facts: Facts) -> None:
    for reader in READERS:
        principal = Principal(reader.sub or "nobody", roles=reader.roles)
        access = vault.access(principal, purpose=reader.purpose or "none", reason=reader.reason)
        with Session(engine) as session, access if reader.roles else nullcontext():
            vault.attach(session)
            five = session.scalars(select(Customer).order_by(Customer.id).limit(WATCHED)).all()
            rows = [[_read(customer, name) for name in FIELDS] for customer in five]
        facts.views.append(View(reader, rows))


def _read(customer: Customer, name: str) -> Cell:
    try:
        value = getattr(customer, name)
    except AccessDenied as refusal:
        return Cell("deny", refusal.reason)
    except NoAccess as refusal:
        return Cell("deny", refusal.code)
    return Cell("mask" if isinstance(value, Masked) else "allow", str(value))


def _look_at_bytes(folder: Path, database: Path, facts: Facts) -> None:
    """The first person's row as it lies in the file, and a search for everybody's values."""
    people = list(invent(PEOPLE))
    facts.name = people[0][0]
    with closing(sqlite3.connect(database)) as connection:  # as anybody does who has the file
        rows = connection.execute("SELECT * FROM customer ORDER BY id LIMIT 1")
        row = dict(zip([column[0] for column in rows.description], rows.fetchone(), strict=True))
    facts.row = [Stored(column, content) for column, content in row.items()]
    facts.name_offset = database.read_bytes().index(row["name"])
    values = [value for person in people for value in (*person[:3], person[3].isoformat())]
    facts.searched_values = len(values)
    facts.searched_bytes = assert_no_plaintext([database, folder / "audit"], values)


def _look_at_log(audit: Path, facts: Facts) -> None:
    report = verify(audit)
    facts.records = report.records
    facts.findings = [finding.what for finding in report.findings]
    lines = _shard(audit).read_text("utf-8").splitlines()
    facts.log = [record for record in map(json.loads, lines) if record["event"] == "read"]


def _tamper(folder: Path, facts: Facts) -> None:
    """In a copy of the log, let the marketer's refused reads look allowed."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(shutil.copytree(folder / "audit", Path(place) / "audit"))
        path = _shard(copy)
        lines = path.read_text("utf-8").splitlines(keepends=True)
        facts.tampered = ('"decision":"deny"', '"decision":"allow"')
        number = next(n for n, line in enumerate(lines) if facts.tampered[0] in line)
        lines[number] = lines[number].replace(*facts.tampered)
        path.write_text("".join(lines), "utf-8")
        facts.tampered_line = number + 1
        findings = verify(copy).findings
    facts.tampered_findings = [f"line {found.line}: {found.what}" for found in findings]


def _shard(audit: Path) -> Path:
    return next((audit / "log").glob("*.jsonl"))
