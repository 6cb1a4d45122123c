"""A trail of its own for each test: an audit directory, a log and a journal."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import resource
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Engine, NullPool, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from vaultlayer import PersonalData, Principal, Vault, personal
from vaultlayer.audit import notary
from vaultlayer.audit import trail as process
from vaultlayer.audit.heads import heads_at
from vaultlayer.audit.heads_database import metadata
from vaultlayer.audit.journal import Journal
from vaultlayer.audit.log import Log
from vaultlayer.audit.note import Checkpoint, open_checkpoint
from vaultlayer.audit.recover import recover
from vaultlayer.audit.sinks.group import Sinks
from vaultlayer.audit.slots import texts
from vaultlayer.audit.verify import Report, keys_and_heads, verify
from vaultlayer.keys.provider import MemoryProvider
from vaultlayer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CONTEXT = {
    "actor": {"iss": "https://id.example", "sub": "u-17", "client": "desk", "roles": {"support"}},
    "purpose": "customer_service",
    "reason": "ticket 4711",
    "policy": "ab" * 32,
    "request": "r-1",
}


class Base(DeclarativeBase):
    pass


class Customer(PersonalData, Base):
    __tablename__ = "customer"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = personal("identity.name")
    phone: Mapped[str] = personal("contact.phone", mask="last4")


class Shop:
    """A vault and its customers on SQLite, with short names for what the tests do to them."""

    Customer = Customer

    def __init__(self, vault: Vault, engine: Engine) -> None:
        self.vault, self.engine = vault, engine
        self.sessions = sessionmaker(engine)
        vault.attach(self.sessions)
        vault.create_tables(engine)
        Base.metadata.create_all(engine)

    def add(self, *names: str) -> list[Any]:
        """The subject ids of new customers."""
        writer = self.vault.access(Principal("shop", ["service"]), purpose="provide_service")
        with self.sessions(expire_on_commit=False) as session, writer:
            rows = [Customer(name=name, phone="+44 20 7946 0000") for name in names]
            session.add_all(rows)
            session.commit()
            return [row.subject_id for row in rows]

    def read(self, *names: str, only: Any = None, **access: Any) -> list[Any]:
        """What support (or ``as_``) gets to see of the customers, each attribute by itself."""
        who = access.pop("as_", None) or Principal("sam", ["support"], iss="https://id.example")
        access.setdefault("purpose", "customer_service")
        statement = select(Customer).order_by(Customer.id)
        if only is not None:
            statement = statement.where(Customer.subject_id == only)
        with self.sessions() as session, self.vault.access(who, **access):
            rows = session.scalars(statement).all()
            return [getattr(row, name) for row in rows for name in names]


class Trail:
    """An open journal and log with short names for what the tests do to them."""

    context = CONTEXT

    def __init__(self, directory: Path, durability: str = "process") -> None:
        self.directory = directory
        self.log = Log(directory, durability=durability)
        self.journal = Journal(directory, durability=durability, log=self.log)

    def access(self, **changes: object) -> int:
        return self.journal.open_access({**CONTEXT, **changes})

    def reading(self, *fields: str, access: int | None = None, outcome: str = "allow") -> tuple:
        number = self.access() if access is None else access
        return number, self.journal.spec(number, "customer", fields, "read", outcome)

    def close(self) -> None:
        self.journal.close()
        self.log.close()

    def records(self) -> list[dict[str, Any]]:
        """All records of all shards, shard by shard."""
        files = sorted((self.directory / "log").glob("*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_bytes().splitlines()]

    def events(self, name: str = "read") -> list[dict[str, Any]]:
        return [record for record in self.records() if record["event"] == name]

    def values(self, name: str = "read") -> int:
        """How many values the log says were touched."""
        return sum(record["count"] for record in self.events(name))

    def told(self, **only: object) -> Counter[bytes]:
        """Each ref in the log's reads (``only`` those with such values), and in how many."""
        events = [e for e in self.events() if all(e[name] == only[name] for name in only)]
        texts = [text for event in events for text in event["refs"]]
        return Counter(base64.urlsafe_b64decode(text + "==") for text in texts)

    def crash(self) -> None:
        """Let go of everything, as the kernel does for a process that was killed."""
        self.journal.release()
        self.log.release()

    def journal_files(self) -> list[str]:
        return sorted(path.name for path in (self.directory / "journal").iterdir())


class SignedTrail(Trail):
    """A trail with a notary, and heads in a database of its own beside the directory."""

    def __init__(
        self, folder: Path, *, name: str = "audit", durability: str = "process", **settings: Any
    ) -> None:
        self.directory, self.folder = folder / name, folder
        self.url = f"sqlite:///{folder / 'heads.db'}"
        engine = create_engine(self.url, poolclass=NullPool)
        metadata.create_all(engine)
        self.settings = Settings(
            folder=folder,
            database=self.url,
            policies=folder,
            provider="memory:",
            audit_directory=self.directory,
            durability=durability,
            **settings,
        )
        self.provider = MemoryProvider([bytes(32)])
        self.heads = heads_at(self.url)
        self.open()

    def open(self) -> None:
        self.trail = process.Trail(self.settings, self.provider, Sinks())
        self.log, self.journal, self.notary = (
            self.trail.log, self.trail.journal, self.trail.notary
        )  # fmt: skip

    def close(self) -> None:
        self.trail.close()

    def crash(self) -> None:
        super().crash()
        self.notary.discard()

    def read(self, refs: list[bytes], *fields: str) -> None:
        """Read something in an access of its own."""
        number, prefix = self.reading(*fields or ("email",))
        self.journal.append_many(prefix, refs)
        self.journal.close_access(number)

    def signed(self) -> None:
        """Wait until everything that was written is signed."""
        written = self.log.written()
        until(lambda: self.head(written.path.stem).size >= written.records)

    def head(self, name: str = "") -> Checkpoint:
        """The published head of a shard, or of the registry."""
        path = self.directory / (f"tree/{name}" if name else "registry") / "checkpoint"
        try:
            return open_checkpoint(path.read_text(), self.heads.keys())
        except FileNotFoundError:
            return Checkpoint("", -1, b"")

    def verify(self, *, keys: bool = True, stored: bool = True) -> Report:
        known, heads = keys_and_heads(self.heads, self.directory)
        return verify(self.directory, known if keys else (), heads if stored else None)

    def shards(self) -> list[Path]:
        return sorted((self.directory / "log").glob("*.jsonl"))


@pytest.fixture(name="until")
def until_fixture():
    """Wait for something that another thread or process does."""
    return until


def until(happened: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for something that another thread or process does."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


@pytest.fixture
def fast_rounds(monkeypatch):
    """A notary that looks fifty times a second."""
    monkeypatch.setattr(notary, "ROUND", 0.02)


@pytest.fixture
def new_signed(tmp_path, fast_rounds):
    """Make signed trails in the test's folder."""
    made = []

    def make(folder: Path | None = None, **options: Any) -> SignedTrail:
        made.append(SignedTrail(folder or tmp_path, **options))
        return made[-1]

    yield make
    for trail in made:
        trail.crash()


@pytest.fixture
def signed(new_signed):
    """An open trail with a notary."""
    return new_signed()


@pytest.fixture
def new_trail(tmp_path):
    """Make trails in the test's folder, by default all in one audit directory."""
    made = []

    def make(directory: Path | None = None, durability: str = "process") -> Trail:
        made.append(Trail(directory or tmp_path / "audit", durability))
        return made[-1]

    yield make
    for trail in made:
        trail.crash()


@pytest.fixture
def trail(new_trail):
    """An open trail."""
    return new_trail()


@pytest.fixture
def shop(tmp_path, policies):
    """A shop under the starter policies."""
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    with Vault.ephemeral(policies=policies) as vault:
        yield Shop(vault, engine)
    engine.dispose()


@pytest.fixture(scope="session")
def write_log():
    """Write a large log quickly: see synthetic.py."""
    where = Path(__file__).with_name("synthetic.py")
    spec = importlib.util.spec_from_file_location("synthetic", where)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.write_log


@pytest.fixture
def refs():
    """Make n different refs."""
    return lambda n: [os.urandom(16) for _ in range(n)]


@pytest.fixture
def small_segments(monkeypatch):
    """Segments of 64 slots, so that a test goes through many."""
    monkeypatch.setattr("vaultlayer.audit.segment.SLOTS", 64)


@pytest.fixture
def file_size_limit():
    """No file may grow beyond so many bytes: what a full disk or a quota does."""

    @contextmanager
    def limit(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limit


@pytest.fixture
def in_child():
    """Run something in a forked child; the child's process id."""

    def run(work: Callable[[], object]) -> int:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                work()
                status = 0
            finally:
                os._exit(status)
        return child

    return run


@pytest.fixture
def check_whole():
    """After recovery: released ⊆ logged, nothing told twice, no leftovers, nothing to find."""

    def check(directory: Path, released: list[bytes], *, event: str = "read") -> int:
        records = [
            json.loads(line)
            for path in sorted((directory / "log").glob("*.jsonl"))
            for line in path.read_bytes().splitlines()
        ]
        told = [text for record in records for text in record.get("refs", ())]
        assert {record["event"] for record in records} <= {"open", event, "recover", "close"}
        assert set(texts(released)) <= set(told)
        assert len(told) == len(set(told))
        assert list((directory / "journal").iterdir()) == []
        assert verify(directory).findings == []
        assert recover(directory) == []
        return len(told)

    return check
