"""What it costs to begin: imports, the command line, opening a vault that has grown large."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import Engine, create_engine, select, text
from sqlalchemy.orm import Session

from benchmarks.ours import POLICIES, SERVICE, Person, Vaulted
from benchmarks.race import Race, Runner
from benchmarks.verdicts import Measured, ratio
from vaultlayer import Vault
from vaultlayer.keys.local import LocalKeyring

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from benchmarks.sizes import Sizes

OURS = "import vaultlayer"
WITH_VAULT = "from vaultlayer import Vault"  # what a process needs that opens one
PARTS = "import sqlalchemy.orm, cryptography, casbin, structlog, jwt"
HELP = "from vaultlayer.cli import main; import sys; sys.argv[1:] = ['--help']"
CLI_PARTS = f"{PARTS}, typer, rich.console"
_FILLER = """
INSERT INTO vaultlayer_subject_key
  (key_id, tenant, subject, generation, state, kek_id, wrapped, created, changed)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)
SELECT randomblob(16), '', randomblob(16), 1, 'active', randomblob(16), randomblob(95), 0, 0 FROM n
"""


def test_import(sizes: Sizes, race: Race, report: Callable[..., None]) -> None:
    """Each import in a Python of its own, which tells how long it took."""
    runners = [
        Runner(statement, partial(_seconds, statement), own_clock=True)
        for statement in (OURS, WITH_VAULT, PARTS)
    ]
    times = race(runners, rounds=sizes.starts, group="import")
    measured = ratio(times[OURS], times[PARTS])
    report("import", "vaultlayer : the libraries it stands on", measured, at_most=1.3)
    report("import", "vaultlayer with Vault : the same", ratio(times[WITH_VAULT], times[PARTS]))


def test_help(sizes: Sizes, race: Race, report: Callable[..., None]) -> None:
    """``vaultlayer --help``, beside importing what a command line with these libraries imports."""
    told = f"{HELP}\ntry: main()\nexcept SystemExit: pass"
    runners = [
        Runner(name, partial(_seconds, statement), own_clock=True)
        for name, statement in (("--help", told), ("its libraries", CLI_PARTS))
    ]
    times = race(runners, rounds=sizes.starts, group="help")
    measured = ratio(times["--help"], times["its libraries"])
    report("start", "`vaultlayer --help` : importing the libraries", measured)


def test_opening(
    sizes: Sizes,
    race: Race,
    report: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From the settings file to the first name read, in a small vault and in one that has grown."""
    monkeypatch.setenv("VAULTLAYER_PASSPHRASE", "a passphrase of the benchmark")
    small = _grown(tmp_path / "small", rules=10, keys=1_000)
    large = _grown(tmp_path / "large", rules=10_000, keys=sizes.keys)
    runners = [
        Runner(name, partial(_first_name, folder))
        for name, folder in (("small", small), ("large", large))
    ]
    times = race(runners, rounds=min(sizes.rounds, 5), group="opening")
    what = f"open and read: 10,000 rules, {sizes.keys:,} keys : 10 rules, 1,000 keys"
    report("start", what, ratio(times["large"], times["small"]))
    report(
        "start", f"the same with {sizes.keys:,} keys, fastest", Measured(min(times["large"])), "s"
    )


def _grown(folder: Path, rules: int, keys: int) -> Path:
    """A folder with settings, keyring, rules and a database of people's keys, one of them real."""
    folder.mkdir()
    shutil.copytree(POLICIES, folder / "policies")
    (folder / "policies" / "tests.toml").unlink()
    with (folder / "policies" / "roles.csv").open("a") as lines:
        for number in range(rules):
            lines.write(f"p, role_{number}, contact.email, read, customer_service, allow\n")
    LocalKeyring.create(folder / "keyring.json", os.environ["VAULTLAYER_PASSPHRASE"])
    (folder / "vaultlayer.toml").write_text(
        f"""
[vault]
database = "sqlite:///{folder}/app.db"
policies = "policies"
[keys]
provider = "local:keyring.json"
[audit]
directory = "audit"
"""
    )
    ours = Vaulted(partial(_engine, folder), vault=Vault.open(folder / "vaultlayer.toml"))
    ours.insert(1)
    with ours.engine.begin() as connection:
        connection.execute(text(_FILLER), {"count": keys})
    ours.engine.dispose()
    ours.close()
    return folder


def _first_name(folder: Path) -> None:
    vault = Vault.open(folder / "vaultlayer.toml")
    engine = _engine(folder)
    vault.attach(engine)
    with Session(engine) as session:
        vault.attach(session)
        with vault.access(SERVICE, purpose="provide_service"):
            assert session.scalars(select(Person)).one().name
    engine.dispose()
    vault.close()


def _engine(folder: Path) -> Engine:
    return create_engine(f"sqlite:///{folder}/app.db")


def _seconds(statement: str) -> float:
    clock = "from time import perf_counter as now; began = now()"
    code = f"{clock}\n{statement}\nprint(now() - began)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])
