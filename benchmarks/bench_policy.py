"""What deciding costs: beside Casbin's own ``enforce``, and with people's consent looked up."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Any

import casbin  # type: ignore[import-untyped]
from casbin.persist.adapters import StringAdapter  # type: ignore[import-untyped]
from sqlalchemy import insert, select

from benchmarks.databases import opened
from benchmarks.ours import POLICIES, Person, Vaulted
from benchmarks.race import Race, Runner
from benchmarks.verdicts import Measured, ratio
from vaultlayer.access.bundle import MODEL_LINES, bundle_of, read_files
from vaultlayer.access.snapshot import Snapshot
from vaultlayer.ledgers import standing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.sizes import Sizes

FEW, MANY = 10, 10_000
ENFORCED = 5  # calls a round: each walks through all rules
QUESTION = (frozenset({"role_9"}), "t.email", "contact.email", "read", "customer_service")
ASKED = "asked_service"


def test_enforce(sizes: Sizes, race: Race, report: Callable[..., None]) -> None:
    """Casbin's own answer to the same question, and a first and a repeated decision of ours."""
    runners = []
    for count in (FEW, MANY):
        snapshot, enforcer = _snapshot(count), _enforcer(count)
        runners += [
            Runner(f"enforce, {count:,} rules", _enforcing(enforcer), own_clock=True),
            Runner(f"first, {count:,} rules", _first(snapshot), own_clock=True),
            Runner(f"repeated, {count:,} rules", _repeated(snapshot, sizes.calls), own_clock=True),
        ]
    times = race(runners, rounds=min(sizes.rounds, 5), group="enforce")
    few, many = f"{FEW:,} rules", f"{MANY:,} rules"
    for rules in (few, many):
        enforced = times[f"enforce, {rules}"]
        report("decision beside Casbin", f"enforce : repeated, {rules}",
               ratio(enforced, times[f"repeated, {rules}"]))  # fmt: skip
        report("decision beside Casbin", f"enforce : first, {rules}",
               ratio(enforced, times[f"first, {rules}"]))  # fmt: skip
        fastest = Measured(1e6 * min(enforced))
        report("decision beside Casbin", f"pycasbin's enforce, {rules}", fastest, "µs")
    report("decision beside Casbin", f"first decision, {many} : {few}",
           ratio(times[f"first, {many}"], times[f"first, {few}"]))  # fmt: skip


def test_consent(
    sizes: Sizes, race: Race, report: Callable[..., None], tmp_path: Path
) -> None:
    """The same reading for a purpose that needs each person's consent; all have given it."""
    rows = sizes.rows
    with opened("SQLite") as connect:
        ours = Vaulted(connect, _with_consent(tmp_path))
        ours.fill(rows)
        with ours.engine.begin() as connection:
            connection.execute(insert(standing), _granted(connection))

        def reading(purpose: str) -> Callable[[], None]:
            def read() -> None:
                ours.purpose = purpose
                ours.read(rows)

            return read

        def strangers() -> None:
            ours.warm()
            ours.vault.standing.forget()

        def cold_strangers() -> None:
            ours.cool()
            ours.vault.standing.forget()

        runners = [
            Runner("no consent needed", reading("provide_service"), ours.warm),
            Runner("consents known", reading(ASKED), ours.warm),
            Runner("consents asked for", reading(ASKED), strangers),
            Runner("cold keys, no consent needed", reading("provide_service"), ours.cool),
            Runner("cold keys, consents asked for", reading(ASKED), cold_strangers),
        ]
        free, known, asked, cold, cold_asked = race(
            runners, rounds=sizes.rounds, group="consent"
        ).values()
        ours.close()
    section = f"consent, SQLite, {rows:,} people"
    report(section, "known : none needed", ratio(known, free), at_most=1.1)
    report(section, "asked for, keys known : none needed", ratio(asked, free), at_most=1.1)
    report(
        section, "asked for with their keys : keys alone", ratio(cold_asked, cold), at_most=1.1
    )


def _rules(count: int) -> list[str]:
    return [f"p, role_{n}, contact.email, read, customer_service, allow" for n in range(count)]


def _snapshot(count: int) -> Snapshot:
    files = {**read_files(POLICIES), "roles.csv": ("\n".join(_rules(count)) + "\n").encode()}
    del files["tests.toml"]
    return Snapshot(bundle_of(files))


def _enforcer(count: int) -> Any:
    lines = [f"{line.replace(', allow', ', *, *, allow')}" for line in _rules(count)]
    model = casbin.Enforcer.new_model(text="\n".join(MODEL_LINES))
    return casbin.Enforcer(model, StringAdapter("\n".join(lines)))


def _enforcing(enforcer: Any) -> Callable[[], float]:
    """Seconds a call."""
    role = next(iter(QUESTION[0]))
    request = (role, "contact.email", "read", "customer_service", "", "")
    assert enforcer.enforce(*request)

    def run() -> float:
        start = time.perf_counter()
        for _ in range(ENFORCED):
            enforcer.enforce(*request)
        return (time.perf_counter() - start) / ENFORCED

    return run


def _first(snapshot: Snapshot) -> Callable[[], float]:
    def run() -> float:
        snapshot._answers.clear()
        snapshot._rulings.clear()
        start = time.perf_counter()
        snapshot.decide(*QUESTION)
        return time.perf_counter() - start

    return run


def _repeated(snapshot: Snapshot, calls: int) -> Callable[[], float]:
    assert snapshot.decide(*QUESTION).effect == "allow"

    def run() -> float:
        decide = snapshot.decide
        start = time.perf_counter()
        for _ in range(calls):
            decide(*QUESTION)
        return (time.perf_counter() - start) / calls

    return run


def _with_consent(folder: Path) -> Path:
    """The starter bundle, and a purpose like provide_service that needs consent."""
    copy = folder / "policies"
    shutil.copytree(POLICIES, copy)
    purposes = (copy / "purposes.toml").read_text()
    start = purposes.index("[provide_service]")
    block = purposes[start : purposes.index("\n\n", start)]
    block = block.replace("provide_service", ASKED).replace("consent = false", "consent = true")
    (copy / "purposes.toml").write_text(f"{purposes}\n{block}\n")
    with (copy / "roles.csv").open("a") as rules:
        for category in ("identity", "contact"):
            rules.write(f"p, service, {category}, read, {ASKED}, allow\n")
    return copy


def _granted(connection: Any) -> list[dict[str, Any]]:
    said = {"text_version": "", "channel": "", "proof": "", "recorded": 0, "recorded_by": ""}
    row = {"purpose": ASKED, "number": 1, "tenant": "", "said": "grant", "state": "granted"}
    row |= {**said, "trail": ""}
    subjects = connection.scalars(select(Person.__table__.c.subject_id))
    return [{"subject": subject.bytes, **row} for subject in subjects]
