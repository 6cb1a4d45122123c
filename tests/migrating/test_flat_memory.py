"""Backfilling a large table takes no more memory than a small one."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import sqlalchemy as sa

from vaultlayer.keys.local import WEAK_KDF_FOR_TESTS, LocalKeyring

PASSPHRASE = "correct horse battery staple"
PROGRAM = """if 1:
    import json, re, sys, time
    from pathlib import Path
    import sqlalchemy as sa
    from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
    from vaultlayer import PersonalData, Principal, Vault, personal

    class Base(DeclarativeBase):
        pass

    def moved(field, name):
        return personal(field, name=f"{name}_s", migrating_from=name, until="2999-01-01")

    class Adopted(PersonalData, Base):
        __tablename__ = "adopted"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str] = moved("identity.name", "name")
        email: Mapped[str] = moved("contact.email", "email")
        phone: Mapped[str] = moved("contact.phone", "phone")
        address: Mapped[str] = moved("contact.address", "address")

    settings, url, rows = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    engine = sa.create_engine(url)
    with Vault.open(settings) as vault:
        vault.models = (Base,)
        vault.attach(engine)
        vault.create_tables(engine)
        Base.metadata.create_all(engine)
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "INSERT INTO adopted (subject_id, name, email, phone, address) SELECT "
                "gen_random_uuid(), 'Ada ' || n, n || '@example.com', '+44 20 ' || n, "
                f"n || ' St James''s Square' FROM generate_series(1, {rows}) n"
            )
        began = time.monotonic()
        officer = Principal("olga", roles=["privacy_officer"])
        with vault.access(officer, purpose="legal_obligation", reason="adoption"):
            report = vault.migrations.backfill()
        seconds = time.monotonic() - began
    peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) >> 10
    of = report.proofs[-1].of
    print(json.dumps({"ok": report.ok, "of": of, "seconds": seconds, "mib": peak}))
"""


@pytest.fixture
def measured(postgres_engine, policies, tmp_path):
    """Backfill so many rows of four fields in a process of its own; its peak, in MiB."""

    def measure(rows):
        folder = tmp_path / str(rows)
        folder.mkdir()
        LocalKeyring.create(folder / "keyring.json", PASSPHRASE, kdf_for_tests=WEAK_KDF_FOR_TESTS)
        (folder / "vaultlayer.toml").write_text(
            f'[vault]\npolicies = "{policies}"\n[audit]\ndirectory = "audit"\n'
            '[keys]\nprovider = "local:keyring.json"\n'
        )
        url = postgres_engine.url.render_as_string(hide_password=False)
        told = subprocess.run(
            [sys.executable, "-c", PROGRAM, folder / "vaultlayer.toml", url, str(rows)],
            capture_output=True,
            check=True,
            timeout=3600,
            env=os.environ | {"VAULTLAYER_PASSPHRASE": PASSPHRASE},
        )
        answer = json.loads(told.stdout)
        assert answer["ok"] and answer["of"] == 4 * rows
        with postgres_engine.begin() as connection:  # the next one has a keyring of its own
            connection.execute(sa.text("DROP SCHEMA public CASCADE"))
            connection.execute(sa.text("CREATE SCHEMA public"))
        sys.stderr.write(f"{rows:,} rows: {answer['mib']} MiB, {answer['seconds']:.0f} s\n")
        return answer["mib"]

    return measure


@pytest.mark.parametrize(
    ("small", "larger"),
    [
        pytest.param(12_000, (20_000,), id="short"),
        pytest.param(10_000, (100_000, 1_000_000), id="soak", marks=pytest.mark.soak),
        pytest.param(10_000, (5_000_000,), id="soak-5M", marks=pytest.mark.soak),
    ],
)
def test_a_large_table_takes_no_more_memory(measured, small, larger):
    """At most 16 MiB more: a journal's segment is full from 10,900 rows on."""
    first = measured(small)
    for rows in larger:
        assert measured(rows) <= first + 16
