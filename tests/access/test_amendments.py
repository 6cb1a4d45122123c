"""A version that reduces rights counts after its notice has run, whatever the files say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from vaultlayer import Principal, Vault
from vaultlayer.access.amendments import Amendments, metadata
from vaultlayer.access.bundle import read_bundle
from vaultlayer.access.policies import Policies
from vaultlayer.access.snapshot import Snapshot
from vaultlayer.access.source import Folder
from vaultlayer.errors import PolicyError
from vaultlayer.keys.provider import MemoryProvider
from vaultlayer.settings import Settings
from vaultlayer.testing import audit_events

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection, Engine

WIDER = "p, marketer, contact.phone, read, direct_marketing, mask\n"
NARROWER = "p, support, contact.email, search, customer_service, allow\n"
DAY = 86_400


class Record:
    """The record, its clock, and what it notes."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self.now, self.noted = connection, 1_800_000_000.0, []
        self.amendments = Amendments(self.note, lambda: self.now)

    def note(self, event: str, **fields: Any) -> None:
        self.noted.append((event, fields["change"], fields["version"]))

    def permit(self, folder: Path) -> None:
        self.amendments.permit(self.connection, Snapshot(read_bundle(folder)))

    def publish(self, folder: Path) -> Any:
        return self.amendments.publish(self.connection, Snapshot(read_bundle(folder)), "pat")


@pytest.fixture
def record() -> Iterator[Record]:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        metadata.create_all(connection)
        yield Record(connection)


def widen(folder: Path, version: int | None = 2, told: str = "Marketing sees phones.") -> None:
    with (folder / "purposes.toml").open("a") as file:
        file.write(
            "[profiling]\nwords = 'To guess'\nbasis = 'legitimate_interests'\nconsent = false\n"
            "categories = ['usage.log']\nregions = ['*']\nretention = '1 year'\n"
        )
    if version is not None:
        file_ = folder / "version.toml"
        file_.write_text(file_.read_text().replace("version = 1", f"version = {version}"))
    if told:
        (folder / "notice.md").write_text((folder / "notice.md").read_text() + told)


def narrow(folder: Path) -> None:
    rules = folder / "roles.csv"
    assert NARROWER in rules.read_text()
    rules.write_text(rules.read_text().replace(NARROWER, ""))


def refused(call: Any, *arguments: Any) -> str:
    with pytest.raises(PolicyError) as caught:
        call(*arguments)
    assert caught.value.hint
    return caught.value.message


def test_the_first_version_is_recorded(record: Record, folder: Path) -> None:
    """And asked for again it changes nothing."""
    record.permit(folder)
    record.permit(folder)
    assert record.noted == [("policy", "in_force", 1)]
    told = record.amendments.at(record.connection)
    assert told is not None
    assert (told.version, told.digest) == (1, read_bundle(folder).digest)


def test_what_reduces_nothing_takes_effect_at_once(record: Record, folder: Path) -> None:
    """No notice, no higher number."""
    record.permit(folder)
    narrow(folder)
    record.permit(folder)
    assert record.noted[-1] == ("policy", "in_force", 1)


def test_what_reduces_rights_waits_for_its_notice(record: Record, folder: Path) -> None:
    """Unpublished never; published after the period of the version in force, to the second."""
    record.permit(folder)
    widen(folder)
    (folder / "version.toml").write_text("version = 2\nnotice_days = 0\n")  # not its own to say
    record.now += 1000 * DAY
    assert "has not been published" in refused(record.permit, folder)
    amendment = record.publish(folder)
    assert amendment.reduces
    assert amendment.due == datetime.fromtimestamp(record.now, UTC) + timedelta(days=30)
    assert "takes effect on" in refused(record.permit, folder)
    record.now += 30 * DAY - 1
    assert "takes effect on" in refused(record.permit, folder)
    record.publish(folder)  # published again, the period doesn't begin anew
    record.now += 1
    record.permit(folder)
    assert record.noted == [
        ("policy", "in_force", 1),
        ("policy", "published", 2),
        ("policy", "in_force", 2),
    ]


def test_the_notice_is_for_exactly_those_files(record: Record, folder: Path) -> None:
    """Another line added after the publication, and it is another version."""
    record.permit(folder)
    widen(folder)
    record.publish(folder)
    record.now += 31 * DAY
    with (folder / "roles.csv").open("a") as file:
        file.write(
            WIDER.replace("contact.phone", "usage.log").replace("direct_marketing", "profiling")
        )
    assert "has not been published" in refused(record.permit, folder)


def test_an_effective_day_is_waited_for(record: Record, folder: Path) -> None:
    """Whether the version reduces rights or not; an earlier one shortens nothing."""
    record.permit(folder)
    narrow(folder)
    day = datetime.fromtimestamp(record.now, UTC).date() + timedelta(days=3)
    (folder / "version.toml").write_text(f"version = 2\neffective = {day}\n")
    assert f"takes effect on {day}" in refused(record.permit, folder)
    record.now += 3 * DAY
    record.permit(folder)
    widen(folder, None)
    (folder / "version.toml").write_text("version = 3\neffective = 2020-01-01\n")
    record.publish(folder)
    assert "takes effect on" in refused(record.permit, folder)


def test_publishing_asks_for_a_number_and_a_notice(record: Record, folder: Path) -> None:
    """People must be told something, and a version have a name of its own."""
    record.permit(folder)
    assert "in force already" in refused(record.publish, folder)
    widen(folder, version=None)
    assert "version.toml" in refused(record.publish, folder)
    widen_version = folder / "version.toml"
    widen_version.write_text("version = 2\n")
    record.publish(folder)
    silent = folder / "notice.md"
    silent.write_text(silent.read_text().replace("Marketing sees phones.", " \n"))
    assert "notice.md" in refused(record.publish, folder)


def test_what_was_in_force_when_is_known(record: Record, folder: Path) -> None:
    """A request keeps the version it was filed under."""
    assert record.amendments.at(record.connection) is None
    record.permit(folder)
    first = datetime.fromtimestamp(record.now, UTC)
    record.now += DAY
    narrow(folder)
    (folder / "version.toml").write_text("version = 2\n")
    record.permit(folder)

    def version(at: datetime) -> int | None:
        found = record.amendments.at(record.connection, at)
        return found and found.version

    hour = timedelta(hours=1)
    assert [version(first + hours) for hours in (-hour, hour, 23 * hour, 25 * hour)] == [
        None, 1, 1, 2,
    ]  # fmt: skip
    stored = record.amendments.stored(record.connection)
    assert stored is not None and stored.digest == read_bundle(folder).digest


@pytest.mark.parametrize(
    "text", ["version = 0", "version = true", 'version = "2"', "notice_days = -1", "effective = 7",
             "effective = 2026-01-31T10:00:00", "verison = 2", "version = 1.5", "version ="],
)  # fmt: skip
def test_an_odd_version_is_refused(folder: Path, text: str) -> None:
    """By file and remedy."""
    (folder / "version.toml").write_text(text + "\n")
    assert "version.toml" in refused(read_bundle, folder)


def open_vault(folder: Path, tmp_path: Path, engine: Engine | None = None) -> Vault:
    settings = Settings(
        folder=tmp_path,
        database=None,
        policies=folder,
        provider="local:none",
        audit_directory=tmp_path / "audit",
    )
    vault = Vault(settings, MemoryProvider())
    if engine is not None:
        vault.attach(engine)
    return vault


SAM = Principal("sam", ["support"])


def test_a_vault_refuses_to_reload_and_goes_on(folder: Path, tmp_path: Path) -> None:
    """The good version stays; a restart enforces the stored one, not the files'."""
    engine = create_engine(f"sqlite:///{tmp_path}/app.db")
    with open_vault(folder, tmp_path, engine) as vault:
        vault.create_tables(engine)
        first = vault.snapshot.digest
        widen(folder)
        assert "has not been published" in refused(vault.reload_policy)
        assert vault.snapshot.digest == first
    with open_vault(folder, tmp_path, engine) as vault:
        assert vault.snapshot.digest != first  # read from the files, and not enforced yet
        with vault.access(SAM, purpose="customer_service") as access:
            assert access.snapshot.digest == first
        told = vault.governing.in_force()
        assert told is not None and told.digest == first
    events = [event for event in audit_events(vault) if event["event"] == "policy"]
    assert [event["version"] for event in events if event["change"] == "in_force"] == [1]


def test_an_asynchronous_application_is_governed_too(folder: Path, tmp_path: Path) -> None:
    """With no engine that works without asyncio, at its first access."""
    engine = create_engine(f"sqlite:///{tmp_path}/app.db")
    with open_vault(folder, tmp_path, engine) as vault:
        vault.create_tables(engine)
        first = vault.snapshot.digest
    widen(folder)
    with open_vault(folder, tmp_path) as vault:
        vault.attach(
            async_sessionmaker(create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/app.db"))
        )
        with vault.access(SAM, purpose="customer_service") as access:
            assert access.snapshot.digest == first
        assert "has not been published" in refused(vault.reload_policy)


def test_a_version_that_waits_makes_nothing_stale(folder: Path) -> None:
    """Its files may lie there for weeks: the version in force goes on, and ends when it may."""
    now, may = [1000.0], [False]

    def permit(_: Snapshot) -> None:
        if not may[0]:
            raise PolicyError("not yet", hint="wait")

    policies = Policies(Folder(folder), max_age=30, permit=permit, clock=lambda: now[0])
    first = policies.snapshot.digest
    widen(folder)
    for _ in range(300):
        now[0] += 1
        policies.look()
        assert policies.fresh_until > now[0]
        assert policies.snapshot.digest == first
    may[0] = True
    for _ in range(62):
        now[0] += 1
        policies.look()
    assert policies.snapshot.digest != first


def test_a_vault_for_tests_takes_every_version(folder: Path) -> None:
    """It keeps no record."""
    with Vault.ephemeral(policies=folder) as vault:
        widen(folder)
        vault.reload_policy()
        assert "profiling" in vault.snapshot.bundle.purposes
        assert vault.governing.in_force() is None
