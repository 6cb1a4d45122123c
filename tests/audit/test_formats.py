"""OCSF and ECS: each mapped record against their own schemas (tests/vectors/siem.json)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vaultlayer import AccessDenied, Principal
from vaultlayer.audit.event import SCHEMA
from vaultlayer.audit.sinks.formats import ecs, ocsf

SIEM = json.loads((Path(__file__).parents[1] / "vectors" / "siem.json").read_text())
OCSF, ECS = SIEM["ocsf"], SIEM["ecs"]
TYPES = {"integer_t": int, "long_t": int, "timestamp_t": int, "object": dict}


@pytest.fixture
def events(shop):
    """A write, reads allowed and masked, a refusal; and one of each other kind there is."""
    shop.add("Zenobia", "Åsa")
    shop.read("name", reason="ticket 4711: „ä“", request_id="r-1")
    shop.read("phone")
    with pytest.raises(AccessDenied):
        shop.read("name", as_=Principal("mona", ["marketer"]), purpose="direct_marketing")
    (path,) = (shop.vault.settings.audit_directory / "log").glob("*.jsonl")
    told = [json.loads(line) for line in path.read_bytes().splitlines()]
    return [*told, *every_kind(told[-1])]


def every_kind(whole):
    """One record of each kind the event schema knows: bare, and with all a note says."""
    always = {name: whole[name] for name in ("v", "seq", "ts", "shard", "prev")}
    rich = {**whole, "actor": {"sub": "sam", "roles": [], "tenant": "acme", "client": "desk"}}
    for kind in json.loads(SCHEMA.read_text())["$defs"].values():
        name = kind.get("properties", {}).get("event", {})
        for event in filter(None, [name.get("const"), *name.get("enum", ())]):
            yield {**always, "event": event}
            yield {**rich, "event": event, "trace": "ab" * 16}


def faults(name, told):
    """What OCSF's schema says against an object: names, types, numbers, what is missing."""
    rules = OCSF[name]
    known = rules["attributes"]
    yield from (f"{name}.{one} is required" for one in known if known[one].get("required")
                and one not in told)  # fmt: skip
    some = rules.get("at_least_one")
    if some and not told.keys() & set(some):
        yield f"{name} needs one of {some}"
    for one, value in told.items():
        if one not in known:
            yield f"{name}.{one} is no attribute"
            continue
        rule = known[one]
        for each in value if rule.get("array") else [value]:
            if rule["type"] in OCSF:
                yield from faults(rule["type"], each)
            elif type(each) is not TYPES.get(rule["type"], str):
                yield f"{name}.{one} is no {rule['type']}"
            elif each not in rule.get("enum", [each]):
                yield f"{name}.{one} can't be {each}"


def test_every_record_is_a_valid_ocsf_datastore_activity(events):
    """Version 1.3.0 with the profile security_control, as github.com/ocsf/ocsf-schema has them."""
    kinds = set()
    for event in events:
        told = ocsf(event)
        assert list(faults("datastore_activity", told)) == [], event["event"]
        assert told["type_uid"] == told["class_uid"] * 100 + told["activity_id"]
        assert set(told["metadata"]["profiles"]) == {"security_control"}
        kinds.add(event["event"])
    assert {"open", "read", "alarm", "keys_changed", "subject_erased", "policy"} <= kinds


def test_the_checker_is_no_liar(events):
    """It finds a number, a name, a type and an absence that OCSF doesn't allow."""
    told = ocsf(events[2])
    wrong = {
        "action_id": {**told, "action_id": 4},
        "extra": {**told, "extra": 1},
        "severity_id": {**told, "severity_id": "1"},
        "actor": {name: told[name] for name in told if name != "actor"},
        "table": {name: told[name] for name in told if name != "table"},
    }
    for name, changed in wrong.items():
        (fault,) = faults("datastore_activity", changed)
        assert name in fault


def flat(told, before=""):
    for name, value in told.items():
        if isinstance(value, dict):
            yield from flat(value, f"{before}{name}.")
        else:
            yield before + name, value


def test_every_record_is_valid_ecs(events):
    """Version 8.11: known fields of the right type, allowed categories, types that go with them."""
    for event in events:
        told = ecs(event)
        own = told.pop("vaultlayer")
        assert own["shard"] == event["shard"]
        for name, value in flat(told):
            kind = ECS["fields"][name]  # KeyError: no field of ECS
            assert isinstance(value, list) == kind.endswith("[]"), name
            values = value if isinstance(value, list) else [value]
            assert all(type(each) is (int if kind == "long" else str) for each in values), name
        assert told["ecs"]["version"] == "8.11.0"
        category = told["event"]["category"]
        expected = {kind for name in category for kind in ECS["category"][name]}
        assert set(told["event"]["type"]) <= expected
        assert told["event"]["kind"] in ECS["kind"]
        assert told["event"]["outcome"] in ECS["outcome"]


def test_the_mappings_say_what_happened(events):
    """Activity, status, action, severity and user as OCSF numbers them; ECS in its words."""
    read, masked, refused = events[2:5]
    told = ocsf(read)
    assert (told["class_uid"], told["category_uid"], told["type_uid"]) == (6005, 6, 600501)
    assert (told["activity_id"], told["status_id"], told["action_id"]) == (1, 1, 1)
    assert told["actor"]["user"]["uid"] == "sam"
    assert told["table"] == {"name": "customer"}
    assert told["time"] > told["start_time"] - 1 > 1_700_000_000_000
    assert (ocsf(masked)["action_id"], ocsf(masked)["action"]) == (99, "mask")
    told = ocsf(refused)
    assert (told["status_id"], told["action_id"], told["severity_id"]) == (2, 2, 2)
    assert told["status_code"] == "consent_missing"
    assert ocsf({**read, "event": "alarm"})["severity_id"] == 5
    assert ecs(read)["event"]["type"] == ["access", "allowed"]
    assert ecs(refused)["event"]["type"] == ["access", "denied"]
    assert [ecs(each)["event"]["outcome"] for each in (read, refused)] == ["success", "failure"]
    assert ecs(read)["user"] == {"id": "sam", "roles": ["support"]}
    assert ecs(read)["http"] == {"request": {"id": "r-1"}}
    assert ecs(events[0])["event"]["type"] == ["start"]
    assert ecs({**read, "event": "alarm"})["event"]["kind"] == "alert"


@pytest.mark.parametrize("mapped", [ocsf, ecs])
def test_the_mappings_lose_nothing(events, mapped):
    """Every text and number of a record is somewhere in its mapped form."""
    for event in events:
        told = json.dumps(mapped(event), ensure_ascii=False, separators=(",", ":"))
        for name, value in event.items():
            if name in ("opened", "ts", "v"):
                continue
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, str | int):
                    assert json.dumps(each, ensure_ascii=False).strip('"') in told, name
