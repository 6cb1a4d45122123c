"""``vaultlayer subject`` as a privacy team meets it."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest

MODELS = ("--models", "cli_subject_models")


@pytest.fixture
def people(shop, tmp_path, monkeypatch):
    """The shop of these tests, its models in a module that the commands can import."""
    (tmp_path / "cli_subject_models.py").write_text(
        "from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column\n"
        "from vaultlayer import PersonalData, personal\n"
        "class Base(DeclarativeBase):\n    pass\n"
        "class Customer(PersonalData, Base):\n"
        "    __tablename__ = 'customer'\n"
        "    id: Mapped[int] = mapped_column(primary_key=True)\n"
        "    name: Mapped[str] = personal('identity.name')\n"
        "    phone: Mapped[str] = personal('contact.phone', mask='last4')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return shop


def test_a_report_is_written_and_told(people, vaultlayer, tmp_path):
    done = vaultlayer("subject", "report", people.subjects[0], "--out", "out", *MODELS)
    assert done.returncode == 0, done.stderr
    assert "1 rows" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    told = json.loads((tmp_path / "out" / "report.json").read_text())
    assert told["data"][0]["rows"][0]["name"] == "Zenobia"
    again = vaultlayer("subject", "report", people.subjects[0], "--out", "out", *MODELS)
    assert again.returncode == 2
    nobody = vaultlayer("subject", "report", uuid4(), "--out", "none", "--json", *MODELS)
    assert nobody.returncode == 0
    assert json.loads(nobody.stdout)["rows"] == 0


def test_an_erasure_is_planned_done_and_its_receipt_checked_offline(people, vaultlayer, tmp_path):
    subject = people.subjects[0]
    planned = vaultlayer("subject", "erase", subject, "--dry-run", *MODELS)
    assert planned.returncode == 0, planned.stderr
    assert "Would destroy 1 key(s)" in planned.stdout
    assert "customer" in planned.stdout
    plan = vaultlayer("subject", "erase", subject, "--dry-run", "--json", *MODELS)
    assert json.loads(plan.stdout)["tables"][0]["values"] == 2
    done = vaultlayer(
        "subject", "erase", subject, "--receipt", "r.json", "--reason", "art. 17", *MODELS
    )
    assert done.returncode == 0, done.stderr
    assert "Nothing of it could be read back" in done.stdout
    key = vaultlayer("audit", "key").stdout.strip().splitlines()[0]
    (tmp_path / "vaultlayer.toml").rename(tmp_path / "away.toml")  # offline: nothing but the key
    good = vaultlayer("subject", "verify-receipt", "r.json", "--key", key)
    assert good.returncode == 0, good.stderr
    assert subject in good.stdout
    text = (tmp_path / "r.json").read_text()
    (tmp_path / "r.json").write_text(text.replace('"values": 2', '"values": 3'))
    bad = vaultlayer("subject", "verify-receipt", "r.json", "--key", key)
    assert bad.returncode == 1
    assert "doesn't hold" in bad.stderr


def test_a_request_goes_its_way(people, vaultlayer):
    def request(*words):
        done = vaultlayer("subject", "request", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "Would file" in request("open", people.subjects[0], "access", "--dry-run")
    opened = json.loads(request("open", people.subjects[0], "access", "--channel", "web", "--json"))
    listed = request("list")
    assert "1 request(s), 0 overdue" in listed
    assert max(map(len, listed.splitlines())) <= 80
    number = opened["request"]
    request("identify", number, "--proof", "passport seen")
    request("extend", number, "--text", "Many papers.", "--months", "1")
    partly = json.loads(
        request("refuse", number, "--code", "others_rights", "--text", "It tells of others.",
                "--item", "contact", "--json")
    )  # fmt: skip
    assert partly["withheld"]["contact"]["code"] == "others_rights"
    request("complete", number)
    assert "0 request(s)" in request("list")
    wrong = vaultlayer("subject", "request", "refuse", number, "--code", "x", "--text", "y")
    assert wrong.returncode == 2
    told = vaultlayer("subject", "report", people.subjects[0], "--out", "out", *MODELS).stdout
    assert "others_rights" in told


def test_overdue_requests_are_findings(people, vaultlayer, monkeypatch):
    opened = vaultlayer("subject", "request", "open", people.subjects[0], "erasure")
    assert opened.returncode == 0
    monkeypatch.setattr(
        "vaultlayer.privacy.request.Request.is_overdue", lambda self, at=None: True
    )
    late = vaultlayer("subject", "request", "list")
    assert late.returncode == 1
    assert "1 overdue" in late.stdout


def test_a_restriction_and_its_end(people, vaultlayer):
    told = vaultlayer("subject", "restrict", people.subjects[0], "--dry-run")
    assert "Would do" in told.stdout
    for words in ((), ("--lift",)):
        done = vaultlayer("subject", "restrict", people.subjects[0], *words)
        assert done.returncode == 0, done.stderr
        assert "archiving, legal_obligation" in done.stdout
    assert [each["change"] for each in people.events() if each["event"] == "restriction"] == [
        "restrict", "lift"
    ]  # fmt: skip


def test_verify_finds_a_ledgers_row_changed_by_sql(people, vaultlayer):
    import sqlite3

    vaultlayer("subject", "restrict", people.subjects[0])
    assert vaultlayer("audit", "verify").returncode == 0
    with sqlite3.connect("app.db") as connection:
        connection.execute("UPDATE vaultlayer_standing SET state = 'free'")
    connection.close()
    found = vaultlayer("audit", "verify")
    assert found.returncode == 1
    assert "vaultlayer_standing" in found.stdout
