"""Promise coverage: each sentence of the company's notice with its control, test and evidence.

``policies/promises.toml`` ties them together::

    [[promise]]
    sentence = "We stop at once."
    control = "consents"      # an artefact of `vaultlayer report controls`
    test = "tests/privacy/test_consent.py::test_each_thing_said_counts_at_once"

A promise is green when its control has evidence now and its test has passed lately, stale when
one of them can't be shown, and red when the control has a finding, the test has failed, the
sentence has no promise, or the promise's sentence is not in the notice any more.
"""

from __future__ import annotations

import re
import time
import tomllib
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from vaultlayer.access.bundle import NOTICE
from vaultlayer.audit.event import timestamp
from vaultlayer.errors import ConfigurationError, PolicyError
from vaultlayer.evidence import controls

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from vaultlayer.evidence.artefact import Artefact
    from vaultlayer.vault import Vault

FILE = "promises.toml"
GREEN, STALE, RED = "green", "stale", "red"
LATELY = timedelta(days=30)  # how long a test's result counts
_KEYS = {"sentence", "control", "test"}
_END = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True, slots=True)
class Result:
    """How a test went: ``passed`` is False where any of its cases failed."""

    passed: bool
    when: datetime


def promises(vault: Vault, results: Path | None = None) -> dict[str, Any]:
    """Every sentence of ``notice.md`` with its state.

    :param results: a JUnit XML file of the last test run (``pytest --junit-xml=FILE``).
    """
    declared, silent = read_promises(vault.settings.policies)
    told = sentences(vault.snapshot.bundle.notice)
    artefacts = controls.gather(vault)
    ran = read_results(results) if results is not None else {}
    made = [
        _promise(one, declared.get(one), artefacts, ran) for one in told if one not in silent
    ]
    made += [
        {**_told(one), "state": RED, "why": f"the sentence is not in {NOTICE} any more"}
        for sentence, one in declared.items()
        if sentence not in told
    ]
    return {
        "report": "promises",
        "version": 1,
        "made": timestamp(time.time()),
        "promises": made,
        "counts": {s: sum(p["state"] == s for p in made) for s in (GREEN, STALE, RED)},
        "without_promise": [one for one in told if one in silent],
    }


def sentences(notice: str) -> list[str]:
    """The sentences of a Markdown text, headings left out, each once."""
    parts: list[str] = [""]
    for line in notice.splitlines():
        text = line.strip()
        if not text or text.startswith("#"):
            parts.append("")
        elif text.startswith(("- ", "* ")):
            parts.append(text[2:])
        else:
            parts[-1] = f"{parts[-1]} {text}".strip()
    return list(dict.fromkeys(each for part in parts for each in _END.split(part) if each))


def read_promises(folder: Path) -> tuple[dict[str, dict[str, str]], set[str]]:
    """The promises by their sentence, and the sentences that promise nothing."""
    try:
        document = tomllib.loads((folder / FILE).read_text("utf-8"))
    except FileNotFoundError:
        return {}, set()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PolicyError(
            f"{FILE} can't be read ({type(error).__name__})", hint="write it in TOML and UTF-8"
        ) from None
    given, silent = document.pop("promise", []), document.pop("without_promise", [])
    for number, one in enumerate(given, 1):
        if set(one) != _KEYS or not all(isinstance(value, str) and value for value in one.values()):
            raise PolicyError(
                f"{FILE}: promise {number} is not a sentence, a control and a test",
                hint='write sentence = "…", control = "…" and test = "…" under [[promise]]',
            )
    if document or not all(isinstance(one, str) for one in silent):
        raise PolicyError(
            f"{FILE} has something else than promises in it",
            hint="it has [[promise]] tables, and a list without_promise of sentences",
        )
    return {_one_line(one["sentence"]): one for one in given}, set(map(_one_line, silent))


def read_results(file: Path) -> dict[str, Result]:
    """The tests of a JUnit XML file, by ``tests/room/test_file.py::test_name``; skipped ones are
    left out, and the cases of one test are taken together."""
    try:
        root = ET.parse(file).getroot()  # noqa: S314 one's own test results
    except (OSError, ET.ParseError) as error:
        raise ConfigurationError(
            f"the test results can't be read ({type(error).__name__})",
            hint="give the file that `pytest --junit-xml=FILE` wrote",
        ) from None
    ran: dict[str, Result] = {}
    written = datetime.fromtimestamp(file.stat().st_mtime, UTC)
    for suite in root.iter("testsuite"):
        when = _moment(suite.get("timestamp"), written)
        for case in suite.iter("testcase"):
            if case.find("skipped") is not None:
                continue
            name = case.get("name", "").partition("[")[0]
            key = f"{case.get('classname', '').replace('.', '/')}.py::{name}"
            passed = case.find("failure") is None and case.find("error") is None
            before = ran.get(key)
            ran[key] = Result(passed and (before is None or before.passed), when)
    return ran


def _promise(
    sentence: str,
    promise: Mapping[str, str] | None,
    artefacts: Mapping[str, Artefact],
    ran: Mapping[str, Result],
) -> dict[str, Any]:
    if promise is None:
        why = "no control keeps this sentence"
        return {**_told({"sentence": sentence}), "state": RED, "why": why}
    artefact, result = artefacts.get(promise["control"]), ran.get(promise["test"])
    told = {**_told(promise), "evidence": artefact.words if artefact else None}
    told["tested"] = timestamp(result.when.timestamp()) if result else None
    return {**told, **_state(artefact, result)}


def _state(artefact: Artefact | None, result: Result | None) -> dict[str, str]:
    if artefact is None:
        return {"state": RED, "why": "there is no such control"}
    if artefact.state == "finding":
        return {"state": RED, "why": artefact.words}
    if result is not None and not result.passed:
        return {"state": RED, "why": "its test has failed"}
    if artefact.state != "there":
        return {"state": STALE, "why": f"no evidence: {artefact.words}"}
    if result is None:
        return {"state": STALE, "why": "its test's result is not shown"}
    if datetime.now(UTC) - result.when > LATELY:
        return {"state": STALE, "why": "its test has not run lately"}
    return {"state": GREEN, "why": artefact.words}


def _told(promise: Mapping[str, str]) -> dict[str, Any]:
    none = {"control": None, "test": None, "evidence": None, "tested": None}
    return {**none, **promise, "sentence": _one_line(promise["sentence"])}


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _moment(text: str | None, otherwise: datetime) -> datetime:
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return otherwise
    return moment if moment.tzinfo else moment.astimezone(UTC)


def failing(report: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """The red ones."""
    return (each for each in report["promises"] if each["state"] == RED)
