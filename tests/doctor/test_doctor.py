"""`vaultlayer doctor`: each check fires on what it is for, and is quiet otherwise."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import sentry_sdk
import structlog
from sqlalchemy import create_engine, delete, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.schema import ForeignKey
from typer.testing import CliRunner

from vaultlayer import PersonalData, Principal, Vault, personal
from vaultlayer.cli.root import app
from vaultlayer.doctor import examine
from vaultlayer.keys.local import WEAK_KDF_FOR_TESTS, LocalKeyring
from vaultlayer.keys.tables import metadata, subject_key
from vaultlayer.privacy.package import new_key


class Odd(DeclarativeBase):
    """Models with something wrong in them."""


class Guest(PersonalData, Odd):
    __tablename__ = "guest"
    id: Mapped[int] = mapped_column(primary_key=True)
    blood: Mapped[str] = personal("health.blood")
    place: Mapped[str] = personal("location")


class Stay(PersonalData, Odd):
    __tablename__ = "stay"
    __subject__ = "guest"
    id: Mapped[int] = mapped_column(primary_key=True)
    guest_id: Mapped[int] = mapped_column(ForeignKey("guest.id"))
    note: Mapped[str] = personal("content.text")
    guest: Mapped[Guest] = relationship()


def test_a_vault_that_is_well_has_no_findings(any_clinic):
    """On every database, with rows in it."""
    assert any_clinic.found() == []


def test_plaintext_and_foreign_keys_are_found_in_a_sample(any_clinic):
    """Something that was never sealed; values of a keyset that the key tables don't have."""
    clinic = any_clinic
    with clinic.engine.begin() as connection:
        connection.execute(text("UPDATE patient SET name = :it WHERE id = 2"), {"it": b"Eve"})
    [found] = clinic.found()
    assert (found.code, found.where) == ("plaintext_found", "patient.name")
    assert found.what.startswith("1 of 3 ")
    assert "Eve" not in repr(found)
    with clinic.engine.begin() as connection:
        connection.execute(delete(subject_key))
    clinic.vault.keys.forget()
    unknown = clinic.found()[-1]
    assert (unknown.code, unknown.where) == (
        "key_unknown", "patient.email, patient.name, visit.note"
    )  # fmt: skip


def test_the_newest_rows_are_looked_at_too(clinic):
    """A sample of two rows has the first and the last."""
    with clinic.engine.begin() as connection:
        connection.execute(text("UPDATE patient SET name = x'457665' WHERE id = 3"))
    assert [each.code for each in examine(clinic.vault, sample=2)] == ["plaintext_found"]
    with clinic.engine.begin() as connection:
        connection.execute(text("DELETE FROM visit"))
        connection.execute(text("DELETE FROM patient WHERE id = 3"))
    assert examine(clinic.vault, sample=2) == []


def test_a_column_that_is_too_short_or_no_binary_is_found(any_clinic):
    """Before it cuts something off."""
    clinic, unfit = any_clinic, []
    with clinic.engine.begin() as connection:
        match connection.dialect.name:
            case "mysql":
                change = "ALTER TABLE visit MODIFY note VARBINARY(200) NOT NULL"
                connection.execute(text(change))
                unfit = ["holds 200 bytes", "BLOB(4294967295)"]
            case "postgresql":
                connection.execute(text("ALTER TABLE visit ALTER note TYPE text USING 'x'"))
                unfit = ["is TEXT", "BYTEA"]
            case _:
                connection.execute(text("ALTER TABLE visit DROP COLUMN note"))
                connection.execute(text("ALTER TABLE visit ADD COLUMN note VARCHAR(80)"))
                unfit = ["is VARCHAR(80)", "BLOB"]
    found = next(each for each in clinic.found() if each.code == "column_unfit")
    assert found.where == "visit.note"
    assert unfit[0] in found.what
    assert unfit[1] in found.remedy


def test_missing_tables_are_named(empty_clinic):
    """None of the vault's own is there; and the other checks say what they couldn't look at."""
    found = empty_clinic.found()
    missing = next(each for each in found if each.code == "tables_missing")
    assert missing.where == ", ".join(sorted(metadata.tables))
    assert "database_unreachable" in [each.code for each in found]


def test_categories_that_nobody_declared_or_explains(clinic):
    """A field of an unknown category; one that no purpose is for."""
    clinic.vault.models = (Guest,)
    clinic.edit("purposes.toml", '"location", ', "")
    found = {each.where: each.code for each in clinic.found()}
    assert found == {
        "guest.blood": "category_undeclared",
        "guest.place": "category_unexplained",
        "stay": "row_unbound",
    }


def test_no_models_is_no_health(clinic):
    """Nothing to look at is said."""

    class Nobody:
        pass

    clinic.vault.models = (Nobody,)
    assert clinic.codes() == ["models_unknown"]


def test_engines_that_show_parameters(clinic):
    """The one that is attached."""
    clinic.engine.hide_parameters = False
    assert clinic.codes() == ["parameters_shown"]


def test_loggers_that_show_locals(clinic):
    """structlog's renderers with locals, configured as such or in logging's handlers."""
    handler = logging.StreamHandler()
    try:
        structlog.configure([structlog.processors.dict_tracebacks])
        assert clinic.codes() == ["locals_shown"]
        quiet = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        structlog.configure([structlog.processors.ExceptionRenderer(quiet)])
        assert clinic.codes() == []
        rich = structlog.dev.ConsoleRenderer(
            exception_formatter=structlog.dev.RichTracebackFormatter(show_locals=True)
        )
        handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=[rich]))
        logging.getLogger().addHandler(handler)
        assert clinic.codes() == ["locals_shown"]
        plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=[plain]))
        assert clinic.codes() == []
    finally:
        logging.getLogger().removeHandler(handler)
        structlog.reset_defaults()


def test_sentry_that_sends_locals(clinic):
    """Its default; and the setting that the remedy names."""
    dsn = "http://key@127.0.0.1:9/1"  # nothing listens there, and nothing is sent
    options = {"dsn": dsn, "default_integrations": False, "auto_session_tracking": False}
    try:
        sentry_sdk.init(**options)
        assert clinic.codes() == ["locals_shown"]
        sentry_sdk.init(**options, include_local_variables=False)
        assert clinic.codes() == []
    finally:
        sentry_sdk.get_client().close(timeout=0)
        sentry_sdk.get_global_scope().set_client(None)


def test_shadow_mode(clinic):
    """Told for as long as it is on."""
    clinic.vault.settings = replace(clinic.vault.settings, shadow=clinic.folder)
    assert clinic.codes() == ["shadow_mode"]


@pytest.mark.parametrize(
    ("days", "codes"),
    [(-1, ["agreement_expired"]), (0, ["agreement_expires"]), (30, ["agreement_expires"]),
     (31, [])],
)  # fmt: skip
def test_agreements_that_run_out(clinic, agreement, days, codes):
    """Yesterday's is expired, today's still counts, and within 30 days it is told."""
    day = datetime.now(UTC).date() + timedelta(days=days)
    (clinic.folder / "processors.toml").write_text(agreement(expires=day))
    clinic.vault.reload_policy()
    assert clinic.codes() == codes


def test_emergencies_that_wait(clinic):
    """Until a second person has reviewed them."""
    sam = Principal("sam", ["support"])
    why = "the line is down and the lead away"
    with clinic.vault.access(sam, purpose="customer_service", emergency=why):
        pass
    [found] = clinic.found()
    assert found.code == "emergency_unreviewed"
    olga = Principal("olga", ["privacy_officer"])
    with clinic.vault.access(olga, purpose="legal_obligation"):
        clinic.vault.elevations.review(found.where, "it was so")
    assert clinic.codes() == []


def test_requests_that_are_late(clinic):
    """Until they are answered."""
    olga = Principal("olga", ["privacy_officer"])
    early = datetime.now(UTC) - timedelta(days=40)
    with clinic.vault.access(olga, purpose="legal_obligation"):
        requests = clinic.vault.requests
        requests.open(uuid4(), "access")
        late = requests.open(uuid4(), "erasure", received=early)
        [found] = clinic.found()
        assert (found.code, found.where) == ("request_overdue", str(late.request_id))
        requests.refuse(late.request_id, code="not_held", text="We hold nothing of yours.")
    assert clinic.codes() == []


def test_withheld_disclosures_whose_review_is_due(clinic):
    """From the day after; until they are told, or withheld anew."""
    day = datetime.now(UTC).date()
    olga = Principal("olga", ["privacy_officer"])
    rules = clinic.folder / "roles.csv"
    rules.write_text(
        f"{rules.read_text()}\np, privacy_officer, identity.name, disclose, legal_obligation, allow"
    )
    clinic.vault.reload_policy()
    court = {"kind": "judicial", "recipient": "court", "reference": "order 7", "reason": "order"}
    with (
        clinic.vault.access(olga, purpose="legal_obligation") as access,
        clinic.Session() as session,
    ):
        people = session.scalars(select(clinic.Patient)).all()
        today, late, told = (
            access.disclose(
                people, [clinic.Patient.name], **court, public_key=new_key()[1], session=session,
                withhold="an order of silence", review=day - timedelta(days=ago),
            ).disclosure_id
            for ago in (0, 1, 1)
        )  # fmt: skip
        clinic.vault.disclosures.review(told)
        [found] = clinic.found()
        assert (found.code, found.where) == ("disclosure_unreviewed", str(late))
        assert str(day - timedelta(days=1)) in found.what
        clinic.vault.disclosures.review(late, withhold="still", until=day)
    assert clinic.codes() == []
    tomorrow = clinic.vault.disclosures.unreviewed(day + timedelta(days=1))
    assert {each.disclosure_id for each in tomorrow} == {today, late}


def test_a_log_that_refuses(clinic):
    """What makes every read fail is found before the first one."""
    clinic.vault.log.fail("the disk is gone")
    [found] = [each for each in clinic.found() if each.code == "log_unreachable"]
    assert "the disk is gone" in found.what


def test_a_provider_that_lost_its_key(clinic, monkeypatch):
    """It is asked to wrap and to unwrap, really."""
    provider = clinic.vault.keys.keks.providers.of_region("")
    monkeypatch.setattr(provider, "unwrap", lambda *_: b"something else")
    assert clinic.codes() == ["provider_unreachable"]


@pytest.fixture
def config(bundle, tmp_path, monkeypatch):
    """Settings of a vault on the disk, with tables of its own and no models."""
    monkeypatch.setenv("VAULTLAYER_PASSPHRASE", "a passphrase for the tests")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    LocalKeyring.create(
        tmp_path / "keyring.json", "a passphrase for the tests", kdf_for_tests=WEAK_KDF_FOR_TESTS
    )
    file = tmp_path / "vaultlayer.toml"
    file.write_text(
        f'[vault]\ndatabase = "sqlite:///{tmp_path}/app.db"\npolicies = "policies"\n'
        'models = ["json"]\n[keys]\nprovider = "local:keyring.json"\n[audit]\ndirectory = "audit"\n'
    )
    engine = create_engine(f"sqlite:///{tmp_path}/app.db")
    with Vault.open(file) as vault:
        vault.attach(engine)
        vault.create_tables(engine)
    engine.dispose()
    return file


def run(*arguments):
    return CliRunner().invoke(app, ["doctor", *map(str, arguments)])


def test_the_command_shows_findings_and_remedies(config):
    """In 80 columns and as JSON; exit code 1, unless what is found is accepted."""
    shown = run("--config", config)
    assert shown.exit_code == 1
    for word in ("models_unknown", "[vault] models", "1 finding(s)."):
        assert word in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80
    told = json.loads(run("--config", config, "--json").stdout)
    assert [each["code"] for each in told["findings"]] == ["models_unknown"]
    accepted = run("--config", config, "--accept", "models_unknown")
    assert (accepted.exit_code, "Nothing is wrong." in accepted.stdout) == (0, True)
    assert "(accepted)" in accepted.stdout


def test_a_vault_that_cannot_be_opened_is_a_finding(config, tmp_path, monkeypatch):
    """The key provider that can't be reached, by its name, and no secret."""
    monkeypatch.setenv("VAULTLAYER_PASSPHRASE", "another passphrase for it")
    shown = run("--config", config, "--json")
    assert shown.exit_code == 1
    [found] = json.loads(shown.stdout)["findings"]
    assert found["code"] == "provider_unreachable"
    assert "another passphrase" not in shown.stdout
