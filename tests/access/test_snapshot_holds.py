"""A snapshot stays right under load, in memory, among threads, and with a Casbin gone wrong."""

from __future__ import annotations

import ast
import dataclasses
import itertools
import logging
import subprocess
import sys
import threading
import timeit
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING

import casbin  # type: ignore[import-untyped]
import pytest

from vaultlayer.access import casbin_rules, snapshot
from vaultlayer.access.bundle import Bundle, read_bundle
from vaultlayer.access.snapshot import Decision, Snapshot
from vaultlayer.errors import PolicyError

if TYPE_CHECKING:
    from pathlib import Path

Build = Callable[[str], Snapshot]
GOOD = ("customer.email", "contact.email", "read", "customer_service")
SUPPORT = frozenset({"support"})


@pytest.fixture(scope="module")
def policies(starter: Path) -> Snapshot:
    return Snapshot(read_bundle(starter))


@pytest.mark.parametrize("leak", [True, 1, "allow"])
def test_a_leaking_casbin_is_found_by_the_probes(
    monkeypatch: pytest.MonkeyPatch, starter: Path, leak: object
) -> None:
    """An enforcer that says yes to nobody never becomes a snapshot."""
    monkeypatch.setattr(casbin.Enforcer, "enforce_ex", lambda *_: (leak, []))
    if leak is True:
        with pytest.raises(PolicyError, match="don't refuse an unknown role"):
            Snapshot(read_bundle(starter))
    else:  # anything but True is no yes
        assert Snapshot(read_bundle(starter)).decide(SUPPORT, *GOOD).effect == "deny"


def test_a_snapshot_that_lets_malformed_questions_through_is_not_made(
    monkeypatch: pytest.MonkeyPatch, starter: Path
) -> None:
    """The probes look at every part of the question."""
    monkeypatch.setattr(Snapshot, "_decide", lambda *_: Decision("allow", "rule"))
    with pytest.raises(PolicyError, match="malformed role"):
        Snapshot(read_bundle(starter))


def test_switched_off_enforcement_is_an_error_not_a_yes(starter: Path) -> None:
    """Casbin allows everything when disabled; here that raises."""
    policies = Snapshot(read_bundle(starter))
    policies._rules._enforcer.enable_enforce(False)
    with pytest.raises(PolicyError, match="switched off"):
        policies.decide(SUPPORT, *GOOD)


def test_unknown_names_never_fill_the_memory(
    starter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ever new roles, fields and sets of roles leave bounded memos, and right answers."""
    monkeypatch.setattr(snapshot, "_MOST_ANSWERS", 50)
    monkeypatch.setattr(casbin_rules, "_MOST_NAMES", 20)
    policies = Snapshot(read_bundle(starter))
    known = sorted({rule.role for rule in policies.bundle.rules})
    sets = [frozenset(held) for n in (1, 2, 3, 4) for held in itertools.combinations(known, n)]
    enforcer = policies._rules._enforcer
    for at in range(400):
        roles = sets[at % len(sets)]
        expected = "allow" if "support" in roles or "support_lead" in roles else "deny"
        assert policies.decide(roles, f"t.f{at}", *GOOD[1:]).effect == expected
        assert policies.decide(roles | {f"r{at}"}, f"t.f{at}", *GOOD[1:]).effect == expected
        policies.decide(frozenset({f"r{at}"}), f"t.f{at}", f"c{at}", "read", f"p{at}")
        assert len(policies._answers) <= 50
        assert len(policies._rulings) <= 50
        assert len(policies._rules._names) <= 22
    assert policies._rules._enforcer is not enforcer
    before = len(policies._answers)
    policies.decide(frozenset(f"r{at}" for at in range(100)) | SUPPORT, *GOOD)
    policies.decide(SUPPORT, "x" * 5000, *GOOD[1:])
    assert len(policies._answers) == before


def test_the_hosts_casbin_loggers_stay_as_they_were(
    starter: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Building and deciding neither disable the loggers nor write to them."""
    names = ("casbin", "casbin.policy", "casbin.enforcer", "casbin.role")
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.disabled for logger in loggers]
    try:
        for logger, disabled in zip(loggers, (False, True, False, False), strict=True):
            logger.disabled = disabled
        with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, "casbin"):
            threads = [
                threading.Thread(target=lambda: Snapshot(read_bundle(starter))) for _ in range(4)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            policies = Snapshot(read_bundle(starter))
            policies.decide(SUPPORT, *GOOD)
            policies.decide(SUPPORT, "a.b", "contact.email", "export", "customer_service")
        assert [logger.disabled for logger in loggers] == [False, True, False, False]
        assert caplog.records == []
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled


def test_threads_decide_rightly_while_other_snapshots_are_built(
    starter: Path, with_rules: Build
) -> None:
    """Building, and failing to build, elsewhere never changes an answer."""
    policies = Snapshot(read_bundle(starter))
    cases = [
        (frozenset({role}), f"t.f{n % 3}", category, action, purpose)
        for n, (role, category, action, purpose) in enumerate(
            (test.role, test.category, test.action, test.purpose) for test in policies.bundle.tests
        )
    ]
    expected = [test.expect for test in policies.bundle.tests]
    wrong: list[object] = []
    done = threading.Event()

    def ask(fresh: Snapshot) -> None:
        while not done.is_set():
            for case, effect in zip(cases, expected, strict=True):
                if fresh.decide(*case).effect != effect:
                    wrong.append(case)
            fresh._answers.clear()
            fresh._rulings.clear()

    threads = [threading.Thread(target=ask, args=(policies,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            with_rules("p, intern, contact, read, customer_service, allow\n")
            with pytest.raises(PolicyError):
                with_rules("p, intern, contact, read, customer_service, alow\n")
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_casbin_parses_only_while_building_and_one_at_a_time(
    starter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CPython 3.11's ast.parse may fail when two threads are in it."""
    locked: list[bool] = []

    def parse(text: str) -> ast.Module:
        locked.append(casbin_rules._building.locked())
        return ast.parse(text)

    # Only Casbin's own name for the module: pytest parses too.
    monkeypatch.setattr("casbin.util.expression.ast", SimpleNamespace(parse=parse))
    policies = Snapshot(read_bundle(starter))
    for field in ("a.one", "a.two"):
        assert policies.decide(SUPPORT, field, *GOOD[1:]).effect == "allow"
        assert policies.decide(SUPPORT, field, "identity.document", *GOOD[2:]).effect == "deny"
    assert locked == [True]


def test_a_forked_child_decides_too(starter: Path) -> None:
    """A snapshot opened before fork answers in the child. In a process without other threads."""
    program = f"""if 1:
        import os, sys
        from pathlib import Path
        from vaultlayer.access.bundle import read_bundle
        from vaultlayer.access.snapshot import Snapshot
        policies = Snapshot(read_bundle(Path({str(starter)!r})))
        child = os.fork()
        if child:
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        answer = policies.decide(frozenset({{"support"}}), "new.field", *{GOOD[1:]!r})
        os._exit(0 if answer.effect == "allow" else 1)
    """
    done = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)
    assert done.returncode == 0


def test_a_repeated_decision_costs_the_same_with_ten_thousand_rules(
    policies: Snapshot, with_rules: Build
) -> None:
    """One look-up, however many rules; the bound here is loose, benchmarks hold the budget."""
    lines = [f"p, r{at}, contact, read, customer_service, allow\n" for at in range(10_000)]
    many = with_rules("".join(lines))
    roles = frozenset({"r7"})
    assert many.decide(roles, *GOOD).effect == policies.decide(SUPPORT, *GOOD).effect == "allow"
    slow = min(timeit.repeat(lambda: many.decide(roles, *GOOD), number=5000, repeat=5))
    fast = min(timeit.repeat(lambda: policies.decide(SUPPORT, *GOOD), number=5000, repeat=5))
    assert slow / 5000 < 5e-6
    assert slow < 5 * fast


def test_a_decision_and_a_bundle_cannot_be_changed(policies: Snapshot) -> None:
    """What was decided stays decided."""
    decision = policies.decide(SUPPORT, *GOOD)
    with pytest.raises(dataclasses.FrozenInstanceError):
        decision.effect = "deny"  # type: ignore[misc]
    bundle: Bundle = policies.bundle
    with pytest.raises(dataclasses.FrozenInstanceError):
        bundle.rules = ()  # type: ignore[misc]
    with pytest.raises(TypeError):
        bundle.purposes["x"] = bundle.purposes["survey"]  # type: ignore[index]
    assert policies.digest == bundle.digest
