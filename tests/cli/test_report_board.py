"""``vaultlayer report board``: the figures are those of what was done, and the page can be read."""

from __future__ import annotations

import json
import sqlite3
from uuid import UUID

import pytest
from sqlalchemy import create_engine

from vaultlayer import Principal, Vault

OFFICER = Principal("olga", ["privacy_officer"])


@pytest.fixture
def busy(shop):
    """Of three customers one is restricted, one asked twice and is late, one had an emergency."""
    engine = create_engine("sqlite:///app.db")
    with Vault.open() as vault:
        vault.attach(engine)
        with vault.access(OFFICER, purpose="legal_obligation", reason="request"):
            ada, grace, _ = map(UUID, shop.subjects)
            done = vault.requests.open(ada, "access")
            vault.requests.identify(done.request_id, proof="passport seen")
            vault.requests.complete(done.request_id)
            no = vault.requests.open(grace, "erasure")
            vault.requests.refuse(no.request_id, code="law_requires", text="Bills.")
            vault.requests.open(grace, "objection")
            vault.consent.grant(ada, "direct_marketing")
            vault.consent.object(grace, "direct_marketing")
        sam = Principal("sam", ["support"])
        with vault.access(sam, purpose="customer_service", emergency="a customer is in danger"):
            pass
    engine.dispose()
    return shop


def test_the_figures_are_what_was_done(busy, vaultlayer):
    done = vaultlayer("report", "board", "--since", "1d", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    roles = told["reads"]["by_role"]
    assert roles["support"] == {"opened": 3}
    assert roles["marketer"] == {"refused": 3}
    assert told["reads"]["by_purpose"]["customer_service"]["opened"] == 3
    assert told["refusals"] == {"consent_missing": 3}
    assert told["emergencies"]["waiting"] == told["emergencies"]["opened"] == 1
    assert told["consents"] == {"grant": 1, "object": 1}
    requests = told["requests"]
    assert (requests["ended"], requests["deadline_met"], requests["open"]) == (2, 2, 1)
    assert requests["refused"] == {"law_requires": 1}
    assert told["audit"]["findings"] == []
    reports = [each for each in busy.events() if each["event"] == "report"]
    assert reports[-1]["sha256"] == told["signed"]["sha256"]
    nothing = json.loads(vaultlayer("report", "board", "--since", "2099-01-01", "--json").stdout)
    assert nothing["reads"]["by_role"] == {}
    assert nothing["requests"]["open"] == 1  # what is open is always told


def test_it_is_readable_in_a_terminal(busy, vaultlayer):
    told = vaultlayer("report", "board", "--since", "1d")
    assert told.returncode == 0
    assert max(map(len, told.stdout.splitlines())) <= 80
    for words in ("Reads by role", "Deadlines", "Emergencies", "The audit log"):
        assert words in told.stdout


def test_the_page_reaches_for_nothing_and_has_its_charts(busy, vaultlayer, tmp_path, browser):
    assert vaultlayer("report", "board", "--since", "1d", "--html", "board.html").returncode == 0
    page = (tmp_path / "board.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "<script" not in page
    opened = browser(tmp_path / "board.html")
    assert opened.count("<svg") >= 4
    assert "consent_missing" in opened


def test_a_ledger_changed_by_sql_is_a_finding(busy, vaultlayer):
    with sqlite3.connect("app.db") as connection:
        connection.execute("UPDATE vaultlayer_request SET due = due + 86400")
    connection.close()
    told = vaultlayer("report", "board", "--json")
    assert told.returncode == 1
    assert "vaultlayer_request" in str(json.loads(told.stdout)["audit"]["findings"])
