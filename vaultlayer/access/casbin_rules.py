"""The role rules inside a Casbin enforcer of their own: Casbin says what a role may do.

Casbin knows two effects, so a rule with three becomes two questions. ``read`` is answered from
the allow and the deny rules; ``read:masked``, asked only after a no, from the mask and the same
deny rules. So deny outranks allow and allow outranks mask, over all roles taken together; of
rules with different masks the one that stands first decides.

Not safe for threads by itself: `Snapshot` asks under its lock.
"""

from __future__ import annotations

import itertools
import logging
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import casbin  # type: ignore[import-untyped]
from casbin.persist import Adapter  # type: ignore[import-untyped]

from vaultlayer.access.bundle import MODEL_LINES, Bundle
from vaultlayer.access.names import EFFECTS
from vaultlayer.errors import PolicyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vaultlayer.access.names import Effect
    from vaultlayer.access.rules import Rule

# Casbin's own effect, per question, for each of ours; a missing pair is no rule for that question.
_PLAIN = {"allow": "allow", "deny": "deny"}
_MASKED = {"mask": "allow", "deny": "deny"}
_ANYWHERE = "*"  # a rule for every tenant or region; no name has this sign
_MOST_NAMES = 10_000
_building = threading.Lock()
# Those of casbin.util.log.DEFAULT_LOGGING: building an enforcer disables each of them.
_LOGGERS = ("casbin", "casbin.policy", "casbin.enforcer", "casbin.role")

Line = list[str]


class Ruling(NamedTuple):
    """An effect and the rule it comes from; no rule means that none speaks of the request."""

    effect: Effect
    rule: Rule | None


class CasbinRules:
    """Answers for one bundle; the bundle must be valid."""

    def __init__(self, bundle: Bundle) -> None:
        self._links = [[link.child, link.parent] for link in bundle.links]
        self._parents = [
            [f"category:{category.name}", f"category:{category.parent}"]
            for category in bundle.categories.values()
            if category.parent is not None
        ]
        self._bundle = bundle
        self._lineages = {name: bundle.lineage(name) for name in bundle.categories}
        self._lines: dict[tuple[str, str, str, str], list[Line]] = {}
        self._rules: dict[tuple[str, ...], tuple[int, Rule]] = {}
        for rule in bundle.rules:
            if rule.effect not in EFFECTS:  # Casbin would pass over it, and over a lost deny
                raise PolicyError(
                    "a rule has an unknown effect", hint=f"use one of {', '.join(EFFECTS)}"
                )
            self._add(rule, rule.action, _PLAIN.get(rule.effect))
            self._add(rule, f"{rule.action}:masked", _MASKED.get(rule.effect))
        self._build()

    def judge(
        self,
        roles: frozenset[str],
        field: str,
        category: str,
        action: str,
        purpose: str,
        tenant: str = "",
        region: str = "",
    ) -> Ruling:
        """What the rules say to somebody of a tenant and region who holds all these roles."""
        if len(self._names) >= _MOST_NAMES:
            self._build()
        kinds = (f"field:{field}", f"category:{category}")
        subject = self._linked("principal", roles, "g", sorted(roles))
        target = self._linked("value", kinds, "g2", kinds)
        covering = [f"category:{name}" for name in self._lineages.get(category, (category,))]
        targets = (kinds[0], *covering)

        held = self._bundle.held(roles)
        plain = self._candidates(held, targets, action, purpose)
        allowed, rule = self._ask(plain, subject, target, action, purpose, tenant, region)
        if allowed:
            return Ruling("allow", rule)
        if rule is None:
            veiled = f"{action}:masked"
            masking = self._candidates(held, targets, veiled, purpose)
            asked = (subject, target, veiled, purpose, tenant, region)
            masked, rule = self._ask(masking, *asked)
            if masked:
                return Ruling("mask", self._first(masking, asked))
        return Ruling("deny", rule)

    def lets_in(self, stranger: str) -> bool:
        """Whether Casbin says yes to somebody without a role, or about nothing that a rule names.

        Asked of one rule for each action and purpose.
        """
        nobody = self._linked("principal", stranger, "g", [stranger])
        nothing = self._linked("value", stranger, "g2", [stranger])
        samples = {(action, purpose): lines[0] for (action, purpose, *_), lines in
                   self._lines.items()}  # fmt: skip
        return any(
            self._ask([line], *asked, *line[2:6])[0]
            for line in samples.values()
            for asked in ((nobody, line[1]), (line[0], nothing))
        )

    def _add(self, rule: Rule, action: str, effect: str | None) -> None:
        if effect is None:
            return
        target = f"{'field' if rule.is_field else 'category'}:{rule.target}"
        places = [rule.tenant or _ANYWHERE, rule.region or _ANYWHERE]
        line = [rule.role, target, action, rule.purpose, *places, effect]
        self._lines.setdefault((action, rule.purpose, target, rule.role), []).append(line)
        self._rules[tuple(line)] = (len(self._rules), rule)

    def _candidates(
        self, roles: Iterable[str], targets: Iterable[str], action: str, purpose: str
    ) -> list[Line]:
        """The lines that Casbin's matcher would not turn away for what, or whom, they are about.

        Casbin walks through all it is given, microseconds each, and looks again at these.
        """
        wanted = itertools.product((action,), (purpose,), targets, roles)
        lines = itertools.chain.from_iterable(self._lines.get(key, ()) for key in wanted)
        return sorted(lines, key=lambda line: self._rules[tuple(line)][0])

    def _first(self, lines: list[Line], asked: tuple[str, ...]) -> Rule:
        """The first rule that by itself says yes to what all together say yes to."""
        for line in lines:
            allowed, rule = self._ask([line], *asked)
            if allowed and rule is not None:
                return rule
        raise AssertionError  # pragma: no cover

    def _build(self) -> None:
        self._enforcer = _quiet_enforcer(self._links, self._parents)
        self._policy = self._enforcer.get_model()["p"]["p"]
        self._names: dict[object, str] = {}
        # "#" is in no name, and a number is never used twice: a made-up name can neither meet a
        # real one nor inherit what a failed call left behind.
        self._number = itertools.count()

    def _ask(self, lines: list[Line], *request: str) -> tuple[bool, Rule | None]:
        # With no rule at all Casbin evaluates its matcher against empty texts, and says yes to
        # a request of empty texts; so that is answered here.
        if not lines:
            return False, None
        if not self._enforcer.enabled:
            raise PolicyError(
                "Casbin's enforcement was switched off", hint="find what reached into it"
            )
        self._policy.policy = lines
        allowed, line = self._enforcer.enforce_ex(*request)
        return allowed is True, self._rules.get(tuple(line), (0, None))[1]

    def _linked(self, kind: str, key: object, links: str, parents: Iterable[str]) -> str:
        """The made-up name that stands for ``key`` and inherits from all these parents."""
        name = self._names.get(key)
        if name is None:
            name = f"{kind}#{next(self._number)}"
            manager = self._enforcer.get_named_role_manager(links)
            for parent in parents:
                manager.add_link(name, parent)
            self._names[key] = name
        return name


class _Links(Adapter):  # type: ignore[misc]
    """Hands Casbin its role links as lists: nothing is parsed, so nothing can be injected."""

    def __init__(self, roles: Sequence[Line], categories: Sequence[Line]) -> None:
        self._lines = {"g": roles, "g2": categories}

    def load_policy(self, model: Any) -> None:
        for kind, lines in self._lines.items():
            model["g"][kind].policy.extend(lines)


class _Enforcer(casbin.Enforcer):  # type: ignore[misc]
    """Parses the matcher once, when it is built, instead of at every question.

    CPython 3.11 counts the depth of ``ast.parse`` for all threads together, so that two of them
    at once now and then end in a SystemError. Losing this override would lose no refusal.
    """

    def _get_expression(self, expr: str, functions: Any = None) -> Any:
        parsed = self.__dict__.setdefault("_parsed", {})
        if expr not in parsed:
            parsed[expr] = super()._get_expression(expr, functions)
        return parsed[expr]


def _quiet_enforcer(roles: Sequence[Line], categories: Sequence[Line]) -> Any:
    """A new enforcer that logs nothing; the host's Casbin loggers stay as they were.

    Building one disables four loggers of the whole process, and a refusal logs its request.
    """
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    with _building:
        before = [logger.disabled for logger in loggers]
        try:
            for logger in loggers:
                logger.disabled = True
            model = casbin.Enforcer.new_model(text="\n".join(MODEL_LINES))
            enforcer = _Enforcer(model, _Links(roles, categories))
            enforcer.enforce(*["nothing"] * 6)  # parses, under this lock
        finally:
            for logger, disabled in zip(loggers, before, strict=True):
                logger.disabled = disabled
    enforcer.logger = logging.Logger("vaultlayer.casbin", logging.CRITICAL + 1)
    return enforcer
