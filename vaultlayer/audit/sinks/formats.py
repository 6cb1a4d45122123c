"""Records in the words of others: OCSF 1.3 and ECS 8. Each is a pure function of one record.

What has no place of its own there stays under ``unmapped`` (OCSF) or ``vaultlayer`` (ECS), so
nothing is lost on the way.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from vaultlayer.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Event = dict[str, Any]

# OCSF class 6005, Datastore Activity, of category 6, Application Activity.
_CLASS = 6005
_ACTIVITIES = {"read": 1, "search": 4, "write": 5, "erase": 7}
_ACTIONS = {"allow": 1, "deny": 2, "mask": 99}
_OTHER = 99
_OURSELVES = "vaultlayer"
_INFORMATIONAL, _LOW, _CRITICAL = 1, 2, 5

# ECS event.type by our event; what is not here is "info".
_TYPES = {
    "read": "access",
    "search": "access",
    "export": "access",
    "disclose": "access",
    "write": "change",
    "erase": "deletion",
    "administer": "admin",
    "open": "start",
    "close": "end",
}
_OUTCOMES = {"success": "success", "refused": "failure", "error": "failure"}


def ocsf(event: Mapping[str, Any]) -> Event:
    """A record as an OCSF Datastore Activity."""
    name, actor = event["event"], event.get("actor") or {}
    activity = _ACTIVITIES.get(name, _OTHER)
    user = {"uid": actor.get("sub"), "type": "User", "type_id": 1, "org": _org(actor)}
    groups = _groups(actor)
    decision, outcome = event.get("decision"), event.get("outcome")
    mapped = {
        "activity_id": activity,
        "activity_name": name,
        "category_uid": 6,
        "category_name": "Application Activity",
        "class_uid": _CLASS,
        "class_name": "Datastore Activity",
        "type_uid": _CLASS * 100 + activity,
        "severity_id": _severity(event),
        "time": _milliseconds(event["ts"]),
        "start_time": _milliseconds(event["opened"]) if "opened" in event else None,
        "message": _message(event),
        "status_id": {"success": 1, "refused": 2, "error": 2}.get(outcome or "", 0),
        "status_code": event.get("reason_code"),
        "count": event.get("count"),
        "action_id": _ACTIONS.get(decision or "", 0),
        "action": decision,
        "actor": {"user": {**user, "groups": groups}} if actor else {"app_name": _OURSELVES},
        "src_endpoint": {"svc_name": actor.get("client") or _OURSELVES, "uid": event["shard"]},
        "authorizations": [
            {"decision": decision, "policy": {"uid": event.get("policy"), "name": "policies"}}
        ]
        if decision
        else None,
        **_place(event),
        "metadata": {
            "version": "1.3.0",
            "profiles": ["security_control"],  # whose are action and authorizations
            "uid": f"{event['shard']}/{event['seq']}",
            "sequence": event["seq"],
            "correlation_uid": event.get("access"),
            "product": {"name": _OURSELVES, "vendor_name": _OURSELVES, "version": __version__},
        },
        "unmapped": _rest(event, "event", "ts", "opened", "seq", "entity", "count", "decision"),
    }
    return _without_none(mapped)


def ecs(event: Mapping[str, Any]) -> Event:
    """A record in the fields of the Elastic Common Schema."""
    name, actor = event["event"], event.get("actor") or {}
    kinds = [_TYPES.get(name, "info")]
    decision = event.get("decision")
    if decision:
        kinds.append("denied" if decision == "deny" else "allowed")
    mapped = {
        "@timestamp": event["ts"],
        "ecs": {"version": "8.11.0"},
        "message": _message(event),
        "event": {
            "kind": "alert" if name == "alarm" else "event",
            "category": ["api", "database"],  # types like `denied` are the former's
            "type": kinds,
            "action": name,
            "outcome": _OUTCOMES.get(event.get("outcome", ""), "unknown"),
            "reason": event.get("reason"),
            "code": event.get("reason_code"),
            "id": f"{event['shard']}/{event['seq']}",
            "sequence": event["seq"],
            "start": event.get("opened"),
            "module": "vaultlayer",
            "dataset": "vaultlayer.audit",
        },
        "user": {"id": actor.get("sub"), "roles": actor.get("roles")} if actor else None,
        "organization": {"id": actor["tenant"]} if actor.get("tenant") else None,
        "trace": {"id": event["trace"]} if "trace" in event else None,
        "http": {"request": {"id": event["request"]}} if "request" in event else None,
        "rule": {"ruleset": event["policy"]} if "policy" in event else None,
        "vaultlayer": _rest(
            event, "event", "ts", "opened", "seq", "reason", "reason_code", "trace", "request"
        ),
    }
    return _without_none(mapped)


FORMATS: dict[str, Callable[[Mapping[str, Any]], Event] | None] = {
    "native": None,
    "ocsf": ocsf,
    "ecs": ecs,
}


def _place(event: Mapping[str, Any]) -> Event:
    """What was acted on: the table, or (of events about none) the vault as a whole."""
    if "entity" in event:
        return {"table": {"name": event["entity"]}}
    return {"database": {"name": _OURSELVES, "type": "Other", "type_id": _OTHER}}


def _severity(event: Mapping[str, Any]) -> int:
    if event["event"] == "alarm":
        return _CRITICAL
    return _LOW if event.get("outcome") in ("refused", "error") else _INFORMATIONAL


def _message(event: Mapping[str, Any]) -> str:
    actor = (event.get("actor") or {}).get("sub")
    fields = ", ".join(event.get("fields") or ())
    what = ".".join(filter(None, [event.get("entity"), fields]))
    told = [actor, event.get("decision"), event["event"], what]
    purpose = event.get("purpose")
    return " ".join(filter(None, told)) + (f" for {purpose}" if purpose else "")


def _org(actor: Mapping[str, Any]) -> Event | None:
    return {"uid": actor["tenant"]} if actor.get("tenant") else None


def _groups(actor: Mapping[str, Any]) -> list[Event]:
    return [{"name": role, "type": "role"} for role in actor.get("roles") or ()]


def _milliseconds(ts: str) -> int:
    return round(datetime.fromisoformat(ts).timestamp() * 1000)


def _rest(event: Mapping[str, Any], *mapped: str) -> Event:
    return {name: value for name, value in event.items() if name not in mapped}


def _without_none(event: Event) -> Event:
    return {
        name: _without_none(value) if isinstance(value, dict) else value
        for name, value in event.items()
        if value is not None
    }
