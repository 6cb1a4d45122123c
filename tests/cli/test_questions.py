"""vaultlayer audit who-read | what-did | scope | denials | unusual, and the pages they write."""

from __future__ import annotations

import json
import re

import pytest
from sqlalchemy import create_engine

from vaultlayer import Principal, Vault
from vaultlayer.crypto.digest import digest


def test_who_read_tells_who_for_what_and_is_itself_recorded(vaultlayer, shop):
    """Word for word: audit who-read --subject ID --json."""
    told = vaultlayer("audit", "who-read", "--subject", shop.subjects[0], "--json")
    assert told.returncode == 0
    answer = json.loads(told.stdout)
    assert answer["subject"] == shop.subjects[0]
    who = [(e["actor"]["sub"], e["purpose"], e["decision"]) for e in answer["events"]]
    assert who == [
        ("tom", "customer_service", "allow"),
        ("mona", "direct_marketing", "deny"),
        ("sam", "customer_service", "allow"),
    ]
    assert all(e["fields"] == ["name"] and e["entity"] == "customer" for e in answer["events"])
    assert {r["sub"]: (r["opened"], r["refused"]) for r in answer["readers"]} == {
        "tom": (1, 0), "mona": (0, 1), "sam": (1, 0),
    }  # fmt: skip
    (query,) = [event for event in shop.events() if event["event"] == "query"]
    assert query["question"] == "who_read"
    assert query["actor"]["iss"] == "os"
    assert (query["found"], len(query["refs"])) == (3, 1)
    last = json.loads(
        vaultlayer("audit", "who-read", "--subject", shop.subjects[2], "--json").stdout
    )
    assert [e["actor"]["sub"] for e in last["events"]] == ["mona"]


def test_who_read_is_asked_by_a_principal_within_an_access(shop, tmp_path):
    """vault.audit.who_read: the record names who asked."""
    engine = create_engine("sqlite:///app.db")
    with Vault.open() as vault:
        vault.attach(engine)
        with vault.access(Principal("axel", ["auditor"]), purpose="security"):
            assert vault.audit.who_read(shop.subjects[0], limit=1)["total"] == 3
    engine.dispose()
    (query,) = [event for event in shop.events() if event["event"] == "query"]
    assert (query["actor"]["sub"], query["purpose"]) == ("axel", "security")


@pytest.mark.parametrize(
    ("subject", "code"), [("4711", 2), ("00000000-0000-4000-8000-000000000000", 3)]
)
def test_a_person_nobody_knows_is_an_error(vaultlayer, shop, subject, code):
    """Not an empty answer: that would say that nobody read anything."""
    told = vaultlayer("audit", "who-read", "--subject", subject)
    assert told.returncode == code
    assert "subject" in told.stderr


def test_what_did_and_denials(vaultlayer, shop):
    """One principal's records, and everybody's refusals."""
    sam = json.loads(vaultlayer("audit", "what-did", "--principal", "sam", "--json").stdout)
    assert [(one["event"], one["decision"], one["people"]) for one in sam["sums"]] == [
        ("read", "allow", 2)
    ]
    refused = json.loads(vaultlayer("audit", "denials", "--json").stdout)
    assert [one["sub"] for one in refused["principals"]] == ["mona"]
    assert refused["sums"][0]["reason_code"] == "consent_missing"
    assert (
        json.loads(vaultlayer("audit", "denials", "--since", "2100-01-01", "--json").stdout)[
            "events"
        ]
        == []
    )


def test_scope_answers_for_a_principal_and_for_a_token(vaultlayer, shop, tmp_path):
    """By subject_id, with the fields; the token from a file, the input, or as its digest."""
    (tmp_path / "token").write_text(f"Bearer {shop.token}\n")
    sam = json.loads(
        vaultlayer("audit", "scope", "--principal", "sam", "--since", "24h", "--json").stdout
    )
    assert {one["subject"] for one in sam["people"]} == set(shop.subjects[:2])
    for given in ("token", digest(shop.token), shop.token):
        told = vaultlayer("audit", "scope", "--token", given, "--json")
        stolen = json.loads(told.stdout)
        assert [(p["subject"], p["fields"]) for p in stolen["people"]] == [
            (shop.subjects[0], ["customer.name"])
        ]
    assert shop.token not in told.stdout
    assert [e["question"] for e in shop.events() if e["event"] == "query"] == ["scope"] * 4
    bare = vaultlayer("audit", "scope", "--principal", "sam", "--directory", "audit", "--json")
    assert {one["subject"] for one in json.loads(bare.stdout)["people"]} == {None}
    assert len([e for e in shop.events() if e["event"] == "query"]) == 4


@pytest.mark.parametrize(
    "arguments",
    [
        ("scope",),
        ("scope", "--principal", "sam", "--token", "token"),
        ("scope", "--token", "no-such-file"),
        ("what-did", "--principal", "sam", "--since", "yesterday"),
        ("denials", "--html", "/nowhere/page.html"),
        ("what-did",),
    ],
)
def test_wrong_calls_exit_with_2(vaultlayer, shop, arguments):
    """And say what to write instead."""
    told = vaultlayer("audit", *arguments)
    assert told.returncode == 2
    assert told.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("who-read",), ("what-did", "--principal", "sam"), ("scope", "--principal", "sam"),
        ("denials",), ("unusual",), ("tail",),
    ],
)  # fmt: skip
def test_answers_fit_the_terminal_and_open_as_pages(vaultlayer, shop, browser, tmp_path, arguments):
    """80 columns without control characters; and one file that Chromium opens by itself."""
    if arguments == ("who-read",):
        arguments = ("who-read", "--subject", shop.subjects[0])
    told = vaultlayer("audit", *arguments)
    assert told.returncode == 0, told.stderr
    assert max(map(len, told.stdout.splitlines())) <= 80
    assert "\x1b" not in told.stdout
    page = tmp_path / "page.html"
    assert vaultlayer("audit", *arguments, "--html", page).returncode == 0
    text = page.read_text("utf-8")
    assert not re.search(r"(src|href)=|url\(|<script", text)
    seen = browser(page)
    assert "<svg" in seen or arguments == ("tail",)
    assert seen.count("<rect") == text.count("<rect")
    assert ("sam" in seen) == (arguments not in [("denials",), ("unusual",)])
    assert ("ticket" in seen) == (arguments[0] not in ("scope", "unusual"))
    assert "mona" in seen or arguments[0] not in ("denials", "who-read", "tail")


def test_unusual_exits_with_1_where_something_is(vaultlayer, shop, tmp_path):
    """So that a nightly job notices."""
    assert vaultlayer("audit", "unusual", "--json").returncode == 0
    (shard, *_) = sorted((tmp_path / "audit" / "log").glob("*.jsonl"))
    line = next(line for line in shard.read_bytes().splitlines() if b'"deny"' in line)
    shard.write_bytes(shard.read_bytes() + 40 * (line + b"\n"))
    told = vaultlayer("audit", "unusual")
    assert told.returncode == 1
    assert "refusals" in told.stdout
