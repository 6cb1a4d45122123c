"""kill -9 at any moment: whatever was read is in the log after recovery."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from vaultlayer.audit.recover import recover
from vaultlayer.audit.verify import verify
from vaultlayer.testing import assert_no_plaintext, audit_events

READER = '''
"""Reads names for ever, one access after the other, and says after each which one it was."""

import importlib.util, itertools, os, sys
from pathlib import Path
from sqlalchemy import create_engine, select
from sqlalchemy.orm import sessionmaker
from vaultlayer import Principal, Vault

spec = importlib.util.spec_from_file_location("models", sys.argv[1])
models = importlib.util.module_from_spec(spec)
sys.modules["models"] = models
spec.loader.exec_module(models)

folder = Path(sys.argv[2])
sessions = sessionmaker(create_engine(f"sqlite:///{folder}/shop.db"))
vault = Vault.open(folder / "vaultlayer.toml")
vault.attach(sessions)
for number in itertools.count():
    reason = f"{os.getpid()}.{number}"
    with sessions() as session, vault.access(
        Principal("reader", roles=["service"]), purpose="provide_service", reason=reason
    ) as access:
        rows = session.scalars(select(models.Customer)).all()
        for row in rows:
            assert row.name
            os.write(1, f"{reason} name\\n".encode())
        for row in rows:
            assert row.email
            os.write(1, f"{reason} email\\n".encode())
        assert access.reveal(rows, models.Customer.phone)
        os.write(1, f"{reason} phone\\n".encode() * len(rows))
'''


def killed_reader(shop, after: float) -> Counter:
    """What a reader said it had read until it was killed, ``after`` seconds from its first word."""
    models = Path(__file__).with_name("conftest.py")
    command = [sys.executable, "-c", READER, str(models), str(shop.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=shop.folder) as process:
        first = process.stdout.readline()
        time.sleep(after)
        process.kill()
        said = first + process.stdout.read()
    assert process.returncode == -9
    return Counter(line for line in said.decode().split("\n") if line.count(" ") == 1)


def test_every_read_is_in_the_log_after_kill_9(shop):
    """Ten readers, each killed at a random moment; the living process's own log stays whole."""
    seed = random.randrange(1 << 32)
    moments = random.Random(seed)
    people = [
        shop.Customer(name=f"Zenobia {n}", email=f"{n}{shop.email}", phone=shop.phone)
        for n in range(20)
    ]
    shop.add(*people)
    said = Counter()
    for _ in range(10):
        said += killed_reader(shop, moments.uniform(0, 0.15))
        recover(shop.vault.settings.audit_directory)
    logged = Counter()
    for event in audit_events(shop.vault):
        if event["event"] == "read":
            values = event["count"] // len(event["fields"])
            for field in event["fields"]:
                logged[f"{event['reason']} {field}"] += values
    missing = said - logged
    assert not missing, f"seed {seed}"
    assert len({line.split(".")[0] for line in said}) == 10
    assert verify(shop.vault.settings.audit_directory).findings == []
    assert_no_plaintext(shop.vault.settings.audit_directory, shop.canaries)


@pytest.mark.smoke
def test_a_restart_recovers_a_killed_process(shop):
    """Opening the vault is enough: nobody needs to run anything."""
    shop.add(*[shop.Customer(name=f"Zenobia {n}", email=f"{n}{shop.email}") for n in range(3)])
    said = killed_reader(shop, 0.05)
    shop.restart()
    events = [event for event in audit_events(shop.vault) if event["event"] == "read"]
    assert {line.split()[0] for line in said} <= {event["reason"] for event in events}
    assert shop.vault.audit.verify().findings == []
