"""The policies in force: taken up whole when they change, never by half, never a bad one."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Engine, create_engine, text

from vaultlayer import AccessDenied, ConfigurationError, PolicyError, Principal, Vault
from vaultlayer.access.bundle import read_files
from vaultlayer.access.policies import Policies
from vaultlayer.access.snapshot import Snapshot
from vaultlayer.access.source import Folder, Stored
from vaultlayer.testing import audit_events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ASKED = (frozenset({"support"}), "a.address", "contact.address", "read", "customer_service")
RULE = "p, support, contact.address, read, customer_service, allow\n"
TEST = """role = "support"
category = "contact.address"
action = "read"
purpose = "customer_service"
expect = "allow\"
"""


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Told:
    """What was told of changes, and a clock that a test moves."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder, self.clock = folder, Clock()
        self.told: list[tuple[str, str]] = []
        self.policies = Policies(
            Folder(folder), max_age=60, tell=self.tell, clock=self.clock, **options
        )

    def tell(self, change: str, snapshot: Snapshot, error: PolicyError | None) -> None:
        self.told.append((change, str(error) if error else snapshot.digest))

    def later(self, seconds: float = 1.0) -> None:
        self.clock.now += seconds
        self.policies.look()

    def allowed(self) -> bool:
        return self.policies.snapshot.decide(*ASKED).effect == "allow"

    def edit(self, name: str, old: str, new: str) -> None:
        content = (self.folder / name).read_text()
        assert old in content
        (self.folder / name).write_text(content.replace(old, new))

    def forbid(self) -> None:
        """A good change: the rule goes, and its test with it."""
        self.edit("roles.csv", RULE, "")
        self.edit("tests.toml", TEST, TEST.replace('"allow"', '"deny"'))


@pytest.fixture
def told(folder: Path) -> Told:
    return Told(folder)


def test_a_change_is_taken_up_once_it_has_lasted(told: Told) -> None:
    """Seen at one look, loaded at the next; told of once."""
    assert told.allowed()
    told.later()
    told.forbid()
    told.policies.look()  # within the second: nobody looks
    assert told.allowed()
    told.later()
    assert told.allowed()
    told.later()
    assert not told.allowed()
    told.later()
    assert told.told == [("loaded", told.policies.snapshot.digest)]


def test_a_file_that_is_being_written_is_waited_for(told: Told) -> None:
    """Another stamp at every look: not read yet, though each state would be a valid bundle."""
    lines = (told.folder / "roles.csv").read_text().splitlines(keepends=True)
    for end in range(len(lines) - 3, len(lines)):
        (told.folder / "roles.csv").write_text("".join(lines[:end]))
        told.later()
    assert told.told == []
    (told.folder / "roles.csv").write_text("".join(lines))
    told.later()
    told.later()
    assert [change for change, _ in told.told] == ["loaded"]


@pytest.mark.parametrize("spoil", ["syntax", "test", "missing", "half", "model"])
def test_a_bad_bundle_never_replaces_a_good_one(
    told: Told, spoil: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The good one goes on, the reason is told once, also to logging; then it ages."""
    before = told.policies.snapshot
    match spoil:
        case "syntax":
            told.edit("roles.csv", RULE, RULE.replace("allow", "alow"))
        case "test":
            told.edit("roles.csv", RULE, RULE.replace("allow", "deny"))
        case "missing":
            (told.folder / "purposes.toml").unlink()
        case "half":
            whole = (told.folder / "roles.csv").read_bytes()
            (told.folder / "roles.csv").write_bytes(whole[: len(whole) // 2 + 3])
        case "model":
            told.edit("model.conf", "!some(where (p.eft == deny))", "true")
    with caplog.at_level(logging.ERROR, "vaultlayer"):
        for _ in range(5):
            told.later()
    assert told.policies.snapshot is before
    [(change, why)] = told.told
    assert change == "refused"
    assert ".csv" in why or ".toml" in why or ".conf" in why
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert why in caplog.text
    with pytest.raises(PolicyError):
        told.policies.reload()
    assert told.policies.snapshot is before
    assert told.policies.fresh_until <= told.clock.now + 60 - 4


def test_what_is_put_right_is_fresh_again(told: Told) -> None:
    """Back to what was loaded: confirmed without loading; to something new: loaded."""
    good = (told.folder / "roles.csv").read_text()
    stamp = (told.folder / "roles.csv").stat()
    told.edit("roles.csv", RULE, "nonsense\n")
    told.later()
    told.later(50)
    aging = told.policies.fresh_until
    (told.folder / "roles.csv").write_text(good)
    os.utime(told.folder / "roles.csv", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    told.later()
    assert told.policies.fresh_until > aging
    assert [change for change, _ in told.told] == ["refused"]


def test_reload_takes_it_up_at_once_and_hangup_at_the_next_look(told: Told) -> None:
    """Without waiting whether it lasts: somebody says that it is done."""
    told.forbid()
    told.policies.reload()
    assert not told.allowed()
    told.edit("roles.csv", "# support:", RULE + "# support:")
    told.edit("tests.toml", TEST.replace('"allow"', '"deny"'), TEST)
    told.policies.soon()
    assert not told.allowed()
    told.policies.look()
    assert told.allowed()


def test_eight_threads_decide_rightly_through_every_swap(folder: Path) -> None:
    """The short form of it; `make soak` has a hundred swaps."""
    decide_through_swaps(folder, 5)


@pytest.mark.soak
def test_eight_threads_decide_rightly_through_a_hundred_swaps(folder: Path) -> None:
    """A minute or two of it."""
    decide_through_swaps(folder, 100)


def decide_through_swaps(folder: Path, turns: int) -> None:
    """While two bundles take turns and bad ones come between, no answer is from neither."""
    other = folder.with_name("other")
    shutil.copytree(folder, other)
    told = Told(folder)
    forbidding = Told(other)
    forbidding.forbid()
    states = {name: [(each / name).read_text() for each in (folder, other)]
              for name in ("roles.csv", "tests.toml")}  # fmt: skip
    expected = {told.policies.snapshot.digest: "allow"}
    forbidding.policies.reload()
    expected[forbidding.policies.snapshot.digest] = "deny"
    other_question = (*ASKED[:2], "identity.document", *ASKED[3:])
    wrong: list[object] = []
    asked = [0]
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            snapshot = told.policies.snapshot
            effects = [snapshot.decide(*each).effect for each in (ASKED, other_question)]
            if effects != [expected[snapshot.digest], "deny"]:
                wrong.append((snapshot.digest, effects))
            asked[0] += 1

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(turns):
            for name, texts in states.items():
                (folder / name).write_text(texts[turn % 2])
            told.policies.reload()
            (folder / "roles.csv").write_text("p, half a rule")
            with pytest.raises(PolicyError):
                told.policies.reload()
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert asked[0] > 100


def test_a_million_unknown_names_leave_the_memory_flat(told: Told) -> None:
    """The short form of it; `make soak` has the million."""
    ask_unknown(told.policies.snapshot, 20_000)


@pytest.mark.soak
def test_a_million_unknown_names_leave_the_memory_flat_in_full(told: Told) -> None:
    """Roles, fields, categories, purposes, tenants that nobody knows."""
    ask_unknown(told.policies.snapshot, 1_000_000)


def ask_unknown(snapshot: Snapshot, count: int) -> None:
    def ask(start: int, number: int) -> None:
        for at in range(start, start + number):
            odd = f"name{at}"
            roles = frozenset({"support", odd})
            assert snapshot.decide(roles, *ASKED[1:], odd).effect == "allow"
            assert snapshot.decide(frozenset({odd}), *ASKED[1:]).effect == "deny"
            assert snapshot.decide(ASKED[0], f"t.{odd}", odd, "read", odd).effect == "deny"
            assert snapshot.decide(*ASKED, odd * 100, odd).effect == "allow"

    ask(0, count // 4)  # the memos fill up
    before = resident()
    ask(count // 4, count)
    grown = resident() - before
    assert grown < 16 << 20, f"{count:,} unknown names: {grown:+,} bytes"


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


# In a vault


def read(vault: Vault) -> str:
    """What a supporter's access to a name gives."""
    with vault.access(Principal("sam", ["support"]), purpose="customer_service") as access:
        return access.decide(*ASKED[1:4]).reason


@pytest.fixture
def vault(folder: Path) -> Iterator[Vault]:
    with Vault.ephemeral(policies=folder) as opened:
        yield opened


def test_a_vault_says_in_its_log_what_came_into_force_and_what_was_refused(
    vault: Vault, folder: Path
) -> None:
    """Digest and reason, as events of their own."""
    old = vault.snapshot.digest
    rules = (folder / "roles.csv").read_text()
    (folder / "roles.csv").write_text(rules.replace(RULE, "p, half"))
    with pytest.raises(PolicyError):
        vault.reload_policy()
    assert read(vault) == "rule"
    (folder / "roles.csv").write_text(rules + "\n# one more remark\n")
    vault.reload_policy()
    events = [event for event in audit_events(vault) if event["event"] == "policy"]
    assert [event["change"] for event in events] == ["refused", "loaded"]
    assert events[0]["policy"] == old
    assert "roles.csv:" in events[0]["why"]
    assert events[1]["policy"] == vault.snapshot.digest != old


def test_too_old_policies_deny_until_they_are_confirmed(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the rules say; also within an access that was open before."""
    with vault.access(Principal("sam", ["support"]), purpose="customer_service") as access:
        assert access.decide(*ASKED[1:4]).effect == "allow"
        monkeypatch.setattr(vault.policies, "_max_age", -1.0)
        assert access.decide(*ASKED[1:4]).reason == "policy_stale"
        monkeypatch.setattr(vault.policies, "_max_age", 60.0)
        assert access.decide(*ASKED[1:4]).effect == "allow"


def test_sighup_has_the_policies_read_and_calls_who_listened_before(
    vault: Vault, folder: Path
) -> None:
    """The signal itself, sent to this process."""
    heard: list[int] = []
    before = signal.signal(signal.SIGHUP, lambda number, _: heard.append(number))
    try:
        vault.reload_on_hangup()
        rules = (folder / "roles.csv").read_text()
        (folder / "roles.csv").write_text(rules + "\n# one more remark\n")
        old = vault.snapshot.digest
        os.kill(os.getpid(), signal.SIGHUP)
        assert read(vault) == "rule"
        assert vault.snapshot.digest != old
        assert heard == [signal.SIGHUP]
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_new_file_is_taken_up_by_accesses_that_open_later(vault: Vault, folder: Path) -> None:
    """No call, no signal: within two looks, and the records tell the new digest."""
    old = vault.snapshot.digest
    with (folder / "roles.csv").open("a") as file:
        file.write("# one more remark\n")
    deadline = time.monotonic() + 10
    while vault.snapshot.digest == old and time.monotonic() < deadline:
        read(vault)
        time.sleep(0.1)
    assert vault.snapshot.digest != old


# In a database


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    match request.param:
        case "sqlite":
            opened = create_engine(f"sqlite:///{tmp_path}/policies.db")
            yield opened
            opened.dispose()
        case "postgresql":
            yield request.getfixturevalue("postgres_engine")
        case _:
            yield request.getfixturevalue("mariadb_engine")


def test_a_bundle_in_a_database_is_the_same_bundle(engine: Engine, folder: Path) -> None:
    """Byte for byte, so that its digest is; a newer version counts, a bad one is not stored."""
    stored = Stored(engine)
    assert stored.store(read_files(folder)) == 1
    policies = Policies(stored, max_age=60)
    assert policies.snapshot.digest == Policies(Folder(folder), max_age=60).snapshot.digest
    changed = Told(folder)
    changed.forbid()
    assert stored.store(read_files(folder)) == 2
    policies.soon()
    policies.look()
    assert policies.snapshot.decide(*ASKED).effect == "deny"
    changed.edit("roles.csv", "p, support,", "p; support;")
    with pytest.raises(PolicyError):
        stored.store(read_files(folder))
    assert stored.stamp() == 2


def test_a_database_that_is_gone_lets_the_policies_age(
    engine: Engine, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Told once; the snapshot goes on until it is too old."""
    stored, clock = Stored(engine), Clock()
    stored.store(read_files(folder))
    policies = Policies(stored, max_age=60, clock=clock)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE vaultlayer_policy"))
    for _ in range(5):
        clock.now += 2
        policies.look()
    assert policies.fresh_until == 1060.0
    assert policies.snapshot.decide(*ASKED).effect == "allow"
    assert caplog.text.count("can't be read") == 1
    with pytest.raises(PolicyError, match="can't be read"):
        Policies(Stored(engine), max_age=60)


def test_an_empty_table_is_no_policy(engine: Engine, folder: Path) -> None:
    """Nothing to begin with."""
    stored = Stored(engine)
    stored.store(read_files(folder))
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM vaultlayer_policy"))
    with pytest.raises(PolicyError, match="no bundle is stored"):
        Policies(stored, max_age=60)


def test_a_vault_takes_its_policies_from_the_database_it_names(
    tmp_path: Path, folder: Path, settings_file: Callable[..., Path]
) -> None:
    """policies = "database:"; another vault hears of a new version through reload_policy()."""
    url = f"sqlite:///{tmp_path}/app.db"
    Stored.at(url).store(read_files(folder))
    file = settings_file(policies="database:", database=url)
    with Vault.open(file) as vault:
        assert vault.snapshot.digest == Snapshot(vault.snapshot.bundle).digest
        assert read(vault) == "rule"
        changed = Told(folder)
        changed.forbid()
        Stored.at(url).store(read_files(folder))
        vault.reload_policy()
        assert read(vault) == "role"
    with pytest.raises(ConfigurationError, match="needs \\[vault\\] database"):
        Vault.open(settings_file(policies="database:", database=None))


@pytest.fixture
def settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    from vaultlayer.keys.local import LocalKeyring

    monkeypatch.setenv("VAULTLAYER_PASSPHRASE", "a passphrase for the tests")
    LocalKeyring.create(tmp_path / "keyring.json", "a passphrase for the tests")

    def write(policies: str, database: str | None) -> Path:
        file = tmp_path / "vaultlayer.toml"
        named = f'database = "{database}"\n' if database else ""
        file.write_text(
            f'[vault]\n{named}policies = "{policies}"\n'
            '[keys]\nprovider = "local:keyring.json"\n[audit]\ndirectory = "audit"\n'
        )
        return file

    return write


def test_no_access_is_refused_by_a_look(vault: Vault) -> None:
    """An unknown purpose is still refused for what it is."""
    with (
        vault.access(Principal("sam", ["support"]), purpose="curiosity") as access,
        pytest.raises(AccessDenied),
    ):
        raise AccessDenied(access.decide(*ASKED[1:4]).reason)
