"""The event schema, and what an event says of the access it belongs to."""

from __future__ import annotations

import json
import re
import sys
from types import SimpleNamespace

import jwt
import pytest
from jsonschema import Draft202012Validator
from sqlalchemy import text

from vaultlayer import AccessDenied, ConfigurationError, IntegrityError, Principal
from vaultlayer.access.names import ACTIONS
from vaultlayer.access.tokens import TokenVerifier
from vaultlayer.audit.event import SCHEMA
from vaultlayer.crypto.digest import digest
from vaultlayer.testing import audit_events, check_events

SECRET = b"0123456789abcdef0123456789abcdef"


@pytest.fixture
def events(shop):
    """The records of a write, a read, a masked read and a refusal."""
    shop.add("Zenobia Quillfeather")
    shop.read("name", "phone", reason="ticket 4711", request_id="r-1")
    with pytest.raises(AccessDenied):
        shop.read("name", as_=Principal("mona", ["marketer"]), purpose="direct_marketing")
    return audit_events(shop.vault)


def test_the_schema_is_a_json_schema_and_lists_every_kind_once():
    """Draft 2020-12; each kind is reached from the top, and every action has one."""
    schema = json.loads(SCHEMA.read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    kinds = [place["$ref"].rpartition("/")[2] for place in schema["oneOf"]]
    told = [name for name, kind in schema["$defs"].items() if "unevaluatedProperties" in kind]
    assert kinds == told
    assert set(ACTIONS) <= set(schema["$defs"]["note"]["properties"]["event"]["enum"])


def test_the_whole_schema_takes_every_record(events):
    """As an auditor's own validator would use it, without our helper."""
    rules = Draft202012Validator(json.loads(SCHEMA.read_text("utf-8")))
    assert {event["event"] for event in events} >= {"open", "write", "read"}
    for event in events:
        rules.validate(event)


@pytest.mark.parametrize(
    "change",
    [
        {"email": "ada@example.com"},
        {"actor": {"sub": "u", "roles": [], "email": "ada@example.com"}},
        {"decision": "perhaps"},
        {"refs": ["Zenobia Quillfeather"]},
        {"v": 2},
        {"event": "peek"},
        {"purpose": ""},
        {"count": -1},
        {"trace": "X" * 32},
    ],
)
def test_a_record_with_anything_else_in_it_does_not_fit(events, change):
    """check_events would catch a kind of event that nobody described, or a field too many."""
    read = next(event for event in events if event["event"] == "read")
    assert check_events([read]) == 1
    with pytest.raises(AssertionError):
        check_events([{**read, **change}])


@pytest.mark.parametrize("name", ["v", "seq", "actor", "purpose", "refs", "decision", "outcome"])
def test_a_record_that_lacks_something_does_not_fit(events, name):
    """What a reader of the log may count on is always there."""
    read = next(event for event in events if event["event"] == "read")
    with pytest.raises(AssertionError):
        check_events([{key: value for key, value in read.items() if key != name}])


def test_events_name_the_basis_and_the_outcome(events):
    """The lawful basis of the purpose, as purposes.toml has it; and what came of the decision."""
    told = {
        (event["purpose"], event["basis"], event["decision"], event["outcome"])
        for event in events
        if event["event"] in ("read", "write")
    }
    assert told == {
        ("provide_service", "contract", "allow", "success"),
        ("customer_service", "contract", "allow", "success"),
        ("customer_service", "contract", "mask", "success"),
        ("direct_marketing", "consent", "deny", "refused"),
    }


def test_no_value_key_or_address_is_in_any_record(shop):
    """An e-mail address used as sub or written into a reason is not kept either."""
    address = "zenobia.quillfeather@example.org"
    shop.add("Zenobia Quillfeather")
    principal = Principal(address, ["support"], client="desk")
    shop.read("name", as_=principal, reason=f"call from <{address}>, ticket 4711")
    told = json.dumps(audit_events(shop.vault))
    assert "uillfeather" not in told
    assert "7946" not in told
    (read,) = [event for event in audit_events(shop.vault) if event["event"] == "read"]
    assert read["actor"]["sub"] == digest(address)
    assert re.fullmatch(r"sha256:[A-Za-z0-9_-]{22}", read["actor"]["sub"])
    assert read["reason"] == "call from <[e-mail address]>, ticket 4711"


def test_a_token_is_known_by_its_digest(shop, tmp_path, monkeypatch):
    """Two tokens of one person are told apart; nothing of a token is in the log."""
    (tmp_path / "secret").write_bytes(SECRET)
    verifier = TokenVerifier(
        "https://id.example", "shop", ["HS256"], secret_file=tmp_path / "secret"
    )
    monkeypatch.setattr(shop.vault, "tokens", verifier)
    claims = {
        "iss": "https://id.example",
        "aud": "shop",
        "sub": "sam",
        "exp": 4_000_000_000,
        "roles": ["support"],
    }
    tokens = [jwt.encode({**claims, "jti": jti}, SECRET, "HS256") for jti in "ab"]
    shop.add("Zenobia Quillfeather")
    for token in tokens:
        shop.read("name", as_=token)
    reads = [event for event in audit_events(shop.vault) if event["event"] == "read"]
    assert [read["actor"]["token"] for read in reads] == [digest(token) for token in tokens]
    assert not [part for token in tokens for part in token.split(".") if part in json.dumps(reads)]


def test_the_trace_is_opentelemetrys_where_the_application_uses_it(shop, monkeypatch):
    """Read from the library that is imported already; an invalid span context is left out."""
    shop.add("Zenobia Quillfeather")
    for valid in (True, False):
        context = SimpleNamespace(is_valid=valid, trace_id=0xABC)
        span = SimpleNamespace(get_span_context=lambda context=context: context)
        fake = SimpleNamespace(get_current_span=lambda span=span: span)
        monkeypatch.setitem(sys.modules, "opentelemetry.trace", fake)
        shop.read("name")
    reads = [event for event in audit_events(shop.vault) if event["event"] == "read"]
    assert [read.get("trace") for read in reads] == ["0" * 29 + "abc", None]


def test_checking_events_says_what_it_needs(monkeypatch):
    """jsonschema is no dependency of the library."""
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(ConfigurationError, match="pip install jsonschema"):
        check_events([])


@pytest.mark.parametrize("way", ["attribute", "reveal"])
def test_a_value_that_does_not_open_is_told_as_an_error(shop, way):
    """A forged value is refused, and its record says so beside the one that it was allowed."""
    shop.add("Zenobia")
    with shop.engine.begin() as connection:
        (sealed,) = connection.execute(text("SELECT name FROM customer")).one()
        forged = sealed[:-1] + bytes([sealed[-1] ^ 1])
        connection.execute(text("UPDATE customer SET name = :name"), {"name": forged})
    access = shop.vault.access(Principal("sam", ["support"]), purpose="customer_service")
    with shop.sessions() as session, access:
        row = session.query(shop.Customer).one()
        with pytest.raises(IntegrityError):
            assert row.name if way == "attribute" else access.reveal([row], shop.Customer.name)
    reads = [event for event in audit_events(shop.vault) if event["event"] == "read"]
    assert [(e["decision"], e["outcome"], e["reason_code"]) for e in reads] == [
        ("allow", "success", "rule"),
        ("allow", "error", "integrity"),
    ]
