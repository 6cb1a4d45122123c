"""Two installed versions of vaultlayer at work on one database: the one of the first key backups
(the oldest whose key tables are today's), built and installed from the history, and this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vaultlayer.audit.verify import verify
from vaultlayer.keys.local import WEAK_KDF_FOR_TESTS, LocalKeyring

ROOT = Path(__file__).parents[2]
BEGAN_WITH = "vaultlayer/lifecycle/backups.py"  # the commit that brought this file
PASSPHRASE = "correct horse battery staple"
SETTINGS = """
[vault]
database = "sqlite:///app.db"
policies = "{policies}"
[keys]
provider = "local:keyring.json"
ttl = 1
[audit]
directory = "audit"
"""
PROGRAM = """
import json, os, sys
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker
import vaultlayer
from vaultlayer import Equality, IntegrityError, KeyErased, PersonalData, Principal, Vault, personal

class Base(DeclarativeBase):
    pass

class Person(PersonalData, Base):
    __tablename__ = "person"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = personal("identity.name")
    email: Mapped[str] = personal("contact.email", search=Equality("email"), unique=True)

os.chdir(sys.argv[1])
engine = create_engine("sqlite:///app.db", connect_args={"timeout": 30})
vault, sessions = Vault.open("vaultlayer.toml"), sessionmaker(engine)
vault.models = (Base,)
vault.attach(sessions)

def service():
    return vault.access(Principal("app", ["service"]), purpose="provide_service")

def officer():
    return vault.access(Principal("olga", ["privacy_officer"]), purpose="legal_obligation")

def whose():
    return os.path.dirname(vaultlayer.__file__)

def create():
    vault.create_tables(engine)
    Base.metadata.create_all(engine)

def add(name):
    with sessions() as session, service():
        session.add(Person(name=name, email=name + "@example.com"))
        session.commit()

def find(*names):
    with sessions() as session, service():
        rows = [session.scalars(select(Person).where(Person.email == name + "@example.com")).all()
                for name in names]
        return [[row.name for row in some] for some in rows]

def name_of(number):
    with sessions() as session, service():
        try:
            return session.get(Person, int(number)).name
        except (KeyErased, IntegrityError):  # the older one took what was just emptied for damage
            return "erased"

def rotate(what):
    with officer():
        return vault.keys.rotate(what).ok

def erase(number):
    with sessions() as session:
        subject = session.get(Person, int(number)).subject_id
    with officer():
        vault.subjects.erase(subject, reason="article 17")

for line in sys.stdin:
    what, *given = line.split()
    print(json.dumps(globals()[what](*given)), flush=True)
vault.close()
"""


class Process:
    """An application process under one version; ``ask`` has it do something."""

    def __init__(self, folder, site):
        environment = {**os.environ, "PYTHONPATH": str(site or ROOT)}
        self._running = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, folder],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
            cwd=folder,
        )  # fmt: skip

    def start(self, *words):
        self._running.stdin.write(" ".join(words) + "\n")
        self._running.stdin.flush()

    def told(self):
        return json.loads(self._running.stdout.readline())

    def ask(self, *words):
        self.start(*words)
        return self.told()

    def end(self):
        self._running.stdin.close()
        return self._running.wait(30)


@pytest.fixture(scope="module")
def older(tmp_path_factory, missing_part):
    """Where the older version is installed."""
    folder = tmp_path_factory.mktemp("older")
    log = ["git", "log", "--diff-filter=A", "--format=%H", "--", BEGAN_WITH]
    found = subprocess.run(log, cwd=ROOT, capture_output=True, text=True, check=False)
    if found.returncode or not found.stdout.strip():
        missing_part("the history of the repository")
    archive = ["git", "archive", "--output", folder / "older.tar", found.stdout.split()[-1]]
    subprocess.run(archive, cwd=ROOT, check=True)
    (folder / "source").mkdir()
    subprocess.run(["tar", "xf", folder / "older.tar", "-C", folder / "source"], check=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--target", folder / "site", folder / "source"], check=True)
    return folder


@pytest.fixture
def both(older, tmp_path, monkeypatch):
    """A process of each version, on one database and one audit directory."""
    monkeypatch.setenv("VAULTLAYER_PASSPHRASE", PASSPHRASE)
    LocalKeyring.create(tmp_path / "keyring.json", PASSPHRASE, kdf_for_tests=WEAK_KDF_FOR_TESTS)
    policies = older / "source" / "policies"  # which both can read
    (tmp_path / "vaultlayer.toml").write_text(SETTINGS.format(policies=policies))
    new = Process(tmp_path, None)
    new.ask("create")
    old = Process(tmp_path, older / "site")
    assert old.ask("whose") == str(older / "site" / "vaultlayer") != new.ask("whose")
    yield old, new
    assert [each.end() for each in (old, new)] == [0, 0]
    assert verify(tmp_path / "audit").findings == []


@pytest.mark.soak
def test_two_versions_side_by_side(both):
    """Each rotates everything while the other writes, reads and finds; each erases; nobody is
    lost, and an erased person is so in both."""
    people, number = ["ada", "bob"], 0
    for each, name in zip(both, people, strict=True):
        each.ask("add", name)
    for one, other in (both, both[::-1]):
        for what in ("provider", "kek", "subject", "index"):
            one.start("rotate", what)
            for _ in range(3):  # meanwhile
                people.append(f"p{number}")
                number += 1
                other.ask("add", people[-1])
                assert other.ask("find", *people) == [[name] for name in people], what
            assert one.told() is True, what
            for each in both:
                assert each.ask("find", *people) == [[name] for name in people], what
    for place, (one, other) in enumerate((both, both[::-1]), 1):
        one.ask("erase", str(place))
        assert one.ask("name_of", str(place)) == "erased"
        assert other.ask("name_of", str(place)) == "erased"
    for each in both:
        assert each.ask("find", *people) == [[], [], *([name] for name in people[2:])]
