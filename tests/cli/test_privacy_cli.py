"""``vaultlayer report register | promises`` and ``privacy sweep`` as a privacy team meets them."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from datetime import UTC, date, datetime

import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.orm import sessionmaker

from vaultlayer import Principal, Vault

MODELS = """
from datetime import date
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from vaultlayer import PersonalData, personal
class Base(DeclarativeBase):
    pass
class Visitor(PersonalData, Base):
    __tablename__ = "visitor"
    __collected__ = "seen"
    id: Mapped[int] = mapped_column(primary_key=True)
    seen: Mapped[date]
    page: Mapped[str | None] = personal("usage.log")
class Undated(PersonalData, Base):
    __tablename__ = "undated"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = personal("identity.name")
"""


@pytest.fixture
def policies(policies, tmp_path):
    """A copy that may be changed."""
    return shutil.copytree(policies, tmp_path / "own")


@pytest.fixture
def pages(shop, tmp_path, monkeypatch):
    """What reading each visitor's page gives; one of them came in 2010, one today."""
    name = f"cli_privacy_models_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODELS)
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = tmp_path / "vaultlayer.toml"
    settings.write_text(settings.read_text().replace("[vault]", f'[vault]\nmodels = ["{name}"]'))
    visitor = importlib.import_module(name).Visitor
    engine = create_engine("sqlite:///app.db")
    visitor.metadata.create_all(engine)
    sessions = sessionmaker(engine)

    def run(deed):
        service = Principal("site", ["service"])
        with Vault.open() as vault:
            vault.attach(sessions)
            with sessions() as session, vault.access(service, purpose="provide_service"):
                return deed(session)

    def add(session):
        for day in (date(2010, 1, 1), datetime.now(UTC).date()):
            session.add(visitor(seen=day, page="/hats"))
        session.commit()

    run(add)
    yield lambda: run(lambda s: [v.page for v in s.scalars(select(visitor).order_by(visitor.id))])
    engine.dispose()
    sys.modules.pop(name)


def plain(told):
    """What was printed: 80 columns, no colour."""
    assert max(map(len, told.stdout.splitlines())) <= 80
    assert "\x1b" not in told.stdout
    return told.stdout


def test_the_register_is_shown_printed_and_published(vaultlayer, pages, policies, tmp_path):
    """Exit code 1, in all three, once a field has no purpose."""
    shown = vaultlayer("report", "register")
    assert shown.returncode == 0, shown.stderr
    assert "direct_marketing" in plain(shown)
    assert "2 fields, 9 purposes." in shown.stdout
    told = json.loads(vaultlayer("report", "register", "--json").stdout)
    assert {each["field"] for each in told["fields"]} == {"visitor.page", "undated.name"}
    assert told["unexplained"] == []
    written = vaultlayer("report", "register", "--html", "register.html")
    assert (written.returncode, written.stdout) == (0, "")
    page = (tmp_path / "register.html").read_text()
    assert all(each["words"] in page for each in told["purposes"])
    assert "src=" not in page

    purposes = policies / "purposes.toml"
    text = purposes.read_text().replace('"usage", ', "").replace('"usage.log", ', "")
    purposes.write_text(text.replace('"usage.log"', '"location"').replace('"usage"', '"location"'))
    (policies / "tests.toml").unlink()
    shown = vaultlayer("report", "register")
    assert shown.returncode == 1, shown.stderr
    assert "No purpose says what visitor.page is used for." in plain(shown)
    told = vaultlayer("report", "register", "--json", "--html", "register.html")
    assert (told.returncode, json.loads(told.stdout)["unexplained"]) == (1, ["visitor.page"])
    assert "visitor.page" in (tmp_path / "register.html").read_text()


def test_promises_are_shown_printed_and_published(vaultlayer, pages, policies, tmp_path):
    """Stale ones are no finding; a sentence without a control is."""
    shown = vaultlayer("report", "promises")
    assert shown.returncode == 0, shown.stderr
    assert "0 red." in plain(shown)
    told = json.loads(vaultlayer("report", "promises", "--json").stdout)
    assert told["counts"]["red"] == 0
    first = told["promises"][0]
    (tmp_path / "results.xml").write_text(
        f'<testsuites><testsuite timestamp="{datetime.now(UTC).isoformat()}">'
        f'<testcase classname="{first["test"].split("::")[0][:-3].replace("/", ".")}" '
        f'name="{first["test"].split("::")[1]}"/></testsuite></testsuites>'
    )
    told = json.loads(vaultlayer("report", "promises", "--results", "results.xml", "--json").stdout)
    assert told["promises"][0]["tested"]
    assert vaultlayer("report", "promises", "--results", "none.xml").returncode == 2

    with (policies / "promises.toml").open("a") as file:
        file.write('\n[[promise]]\nsentence = "We are nice."\ncontrol = "luck"\ntest = "a::b"\n')
    shown = vaultlayer("report", "promises")
    assert shown.returncode == 1, shown.stderr
    assert "1 red." in plain(shown)
    written = vaultlayer("report", "promises", "--html", "promises.html", "--json")
    assert (written.returncode, json.loads(written.stdout)["counts"]["red"]) == (1, 1)
    assert "We are nice." in (tmp_path / "promises.html").read_text()


def test_a_sweep_is_looked_at_first_and_then_done(vaultlayer, pages):
    """The dry run takes nothing out; who may not erase takes nothing out."""
    sweep = ("privacy", "sweep")
    looked = vaultlayer(*sweep, "--dry-run")
    assert looked.returncode == 0, looked.stderr
    assert "Would take out 1 value(s)." in plain(looked)
    assert "undated: its class has no __collected__" in looked.stdout
    refused = vaultlayer(*sweep, "--role", "support", "--purpose", "customer_service")
    assert refused.returncode == 2
    assert pages() == ["/hats", "/hats"]
    told = json.loads(vaultlayer(*sweep, "--as", "olga", "--json").stdout)
    assert (told["done"], told["swept"][0]["table"], told["swept"][0]["values"]) == (
        True, "visitor", 1
    )  # fmt: skip
    assert pages() == [None, "/hats"]
    again = vaultlayer(*sweep)
    assert (again.returncode, "Took out 0 value(s)." in plain(again)) == (0, True)


def test_models_are_found_in_the_working_folder(process, pages):
    """As `python -m` finds them."""
    told = process("report", "board", "--json")
    assert told.returncode == 0, told.stderr
