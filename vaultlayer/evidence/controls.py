"""``report controls``: each control with the artefacts that show it, gathered now, and signed."""

from __future__ import annotations

import time
import tomllib
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaultlayer.audit.event import canonical, check_plain, timestamp
from vaultlayer.audit.query.index import Index
from vaultlayer.audit.verify import keys_and_heads, verify
from vaultlayer.auditing import asker
from vaultlayer.errors import AuditUnavailable
from vaultlayer.evidence import keys, rules, trail
from vaultlayer.evidence.artefact import Artefact, absent
from vaultlayer.lifecycle.models import entities, import_models
from vaultlayer.version import __version__

if TYPE_CHECKING:
    from vaultlayer.vault import Vault

CATALOGUE = Path(__file__).with_name("controls.toml")
VERSION = 1


def report(vault: Vault, shadow: str | None) -> dict[str, Any]:
    """The whole report but its signature; texts, whole numbers, lists and dicts only.

    ``shadow`` says that shadow mode is on; None while it is off.
    """
    artefacts = gather(vault)
    told = {
        name: {"state": each.state, "words": each.words, "facts": each.facts}
        for name, each in sorted(artefacts.items())
    }
    made = {
        "report": "controls",
        "version": VERSION,
        "made": timestamp(time.time()),
        "library": f"vaultlayer {__version__}",
        "shadow": shadow,
        "catalogues": [_catalogue(each, artefacts) for each in catalogues()],
        "artefacts": told,
    }
    check_plain(made)
    return made


def sign(vault: Vault, made: dict[str, Any]) -> dict[str, Any]:
    """Write the report's digest into the log, whose next checkpoint covers it."""
    digest = sha256(canonical(made)).hexdigest()
    vault.log.write("report", report=made["report"], sha256=digest, **asker())
    written = vault.log.written()
    assert written is not None  # noqa: S101 it was written to just now
    return {"sha256": digest, "shard": written.path.stem, "seq": written.records - 1}


def catalogues() -> list[dict[str, Any]]:
    """The catalogues, each with its controls: id, title, names of artefacts."""
    document = tomllib.loads(CATALOGUE.read_text("utf-8"))
    found = []
    for content in document.values():
        name = content.pop("name")
        controls = [
            {"id": number, "title": title, "artefacts": artefacts}
            for number, (title, *artefacts) in content.items()
        ]
        found.append({"name": name, "controls": controls})
    return found


def _catalogue(catalogue: dict[str, Any], artefacts: dict[str, Artefact]) -> dict[str, Any]:
    controls = [
        {**control, "state": _state([artefacts[name].state for name in control["artefacts"]])}
        for control in catalogue["controls"]
    ]
    return {"name": catalogue["name"], "controls": controls}


def _state(states: list[str]) -> str:
    """finding: something is wrong; there: all of it; partly; absent: none of it."""
    if "finding" in states:
        return "finding"
    if "absent" not in states:
        return "there"
    return "partly" if "there" in states else "absent"


def gather(vault: Vault) -> dict[str, Artefact]:
    """Every artefact by its name, made now."""
    settings, snapshot = vault.settings, vault.snapshot
    found = {
        "policy": rules.policy(snapshot),
        "default_deny": rules.default_deny(snapshot),
        "role_matrix": rules.role_matrix(snapshot),
        "step_up": rules.step_up(snapshot),
        "processors": rules.processors(snapshot),
        "retention": rules.retention(snapshot),
        "tokens": rules.tokens(settings),
        "event_schema": trail.event_schema(),
        "fail_closed": trail.fail_closed(vault),
        "sinks": trail.sinks(vault),
        "log_capacity": trail.log_capacity(vault),
        "key_provider": keys.key_provider(vault),
        "self_test": keys.self_test(),
    }
    return {**found, **_of_log(vault), **_of_database(vault)}


def _of_log(vault: Vault) -> dict[str, Artefact]:
    directory = vault.settings.audit_directory
    try:
        known, heads = keys_and_heads(vault._trail.notary.heads, directory)
    except AuditUnavailable:
        known, heads = [], []
    checked = verify(directory, known, heads)
    with Index(directory) as index:
        return {
            "log": trail.log(checked),
            "checkpoints": trail.checkpoints(checked, [str(key) for key in known]),
            "decisions": trail.decisions(index),
            "questions": trail.questions(index),
            "unusual": trail.unusual(index),
            "elevations": trail.happened(
                index, "elevation", "{} entries in the log", "nobody took roles on for a while"
            ),
            "erasures": trail.happened(
                index, "subject_erased", "{} erasures in the log", "nobody was erased yet"
            ),
            "backup_drill": trail.backup_drill(index),
            "honeytokens": trail.honeytokens(index, _marked(vault)),
        }


def _of_database(vault: Vault) -> dict[str, Artefact]:
    with vault.key_connection(None) as connection:
        classes = import_models(vault.settings.models)
        known = entities(classes, connection) if classes else []
        return {
            "key_inventory": keys.key_inventory(connection),
            "consents": keys.consents(connection),
            "field_register": rules.field_register(known) if known else absent(_NO_MODELS),
        }


_NO_MODELS = "no models are named: set [vault] models"


def _marked(vault: Vault) -> int:
    with vault.key_connection(None) as connection:
        return keys.marked(connection)
