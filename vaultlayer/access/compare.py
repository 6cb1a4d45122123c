"""What changes from one bundle to the next, in plain sentences, and whether people's rights shrink.

People's rights are reduced by a new purpose, a category that a purpose newly reaches, a new region
or recipient, a longer retention, a weaker basis, and a reader who sees more. What only words say
can't be judged here: changed wording counts as reducing, so that somebody looks at it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from vaultlayer.access.compare_roles import role_changes
from vaultlayer.access.words import OBJECTABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from vaultlayer.access.bundle import Bundle
    from vaultlayer.access.processors import Processor
    from vaultlayer.access.snapshot import Snapshot
    from vaultlayer.access.step_up import StepUp
    from vaultlayer.access.words import Category, Purpose

About = Literal["purpose", "category", "recipient", "role", "notice"]
_DAYS = {"day": 1, "month": 30, "year": 365}


@dataclass(frozen=True, slots=True)
class Change:
    """One sentence. ``reduces``: people's rights are less after it than before."""

    about: About
    sentence: str
    reduces: bool


def compare(before: Snapshot, after: Snapshot) -> list[Change]:
    """Every change from ``before`` to ``after``, those that reduce rights first."""
    old, new = before.bundle, after.bundle
    changes = [
        *_purposes(before, after),
        *_categories(old, new),
        *_recipients(old, new),
        *(Change("role", each.sentence, each.widens) for each in role_changes(before, after)),
        *_notice(old, new),
    ]
    return sorted(changes, key=lambda change: not change.reduces)


def reduces_rights(changes: Collection[Change]) -> bool:
    return any(change.reduces for change in changes)


def _purposes(before: Snapshot, after: Snapshot) -> Iterator[Change]:
    old, new = before.bundle.purposes, after.bundle.purposes
    for name in new.keys() - old.keys():
        reach = _names(new[name].categories)
        yield Change(
            "purpose", f"A new purpose, {name}: “{new[name].words}” It reaches {reach}.", True
        )
    for name in old.keys() - new.keys():
        yield Change("purpose", f"The purpose {name} is given up.", False)
    for name in sorted(old.keys() & new.keys()):
        yield from _purpose(old[name], new[name])
        was, now = _covered(before.bundle, name), _covered(after.bundle, name)
        if gained := _topmost(after.bundle, now - was):
            yield Change("purpose", f"{name} newly reaches {_names(gained)}.", True)
        if lost := _topmost(before.bundle, was - now):
            yield Change("purpose", f"{name} no longer reaches {_names(lost)}.", False)


def _purpose(old: Purpose, new: Purpose) -> Iterator[Change]:
    name = new.name
    told: list[tuple[bool, str, bool]] = [
        (old.words != new.words, f"{name} is told in other words: “{new.words}”", True),
        (
            old.basis != new.basis,
            f"{name} rests on {new.basis} instead of {old.basis}.",
            new.basis != "consent" and (old.basis in OBJECTABLE or new.basis not in OBJECTABLE),
        ),
        (old.consent and not new.consent, f"{name} no longer needs a person's consent.", True),
        (new.consent and not old.consent, f"{name} now needs each person's consent.", False),
        (
            old.retention != new.retention,
            f"Data is kept for {name} for {new.retention} instead of {old.retention}.",
            _days(new.retention) > _days(old.retention),
        ),
        *_switch(old.despite_restriction, new.despite_restriction, name,
                 "for people whose data is restricted"),
        *_switch(old.across_regions, new.across_regions, name, "across regions"),
        *_regions(old.regions, new.regions, name),
    ]  # fmt: skip
    yield from (Change("purpose", sentence, reduces) for is_so, sentence, reduces in told if is_so)


def _switch(old: bool, new: bool, name: str, what: str) -> Iterator[tuple[bool, str, bool]]:
    yield new and not old, f"{name} now goes on {what}.", True
    yield old and not new, f"{name} no longer goes on {what}.", False


def _regions(
    old: Collection[str], new: Collection[str], name: str
) -> Iterator[tuple[bool, str, bool]]:
    wider = "*" in new and "*" not in old
    gained = [] if "*" in old or wider else [region for region in new if region not in old]
    lost = [] if "*" in new else [region for region in old if region not in (*new, "*")]
    yield wider, f"{name} is now used everywhere.", True
    yield bool(gained), f"{name} is now used in {_names(gained)}.", True
    narrower = "*" in old and "*" not in new
    yield narrower, f"{name} is now used in {_names(new)} only.", False
    yield bool(lost), f"{name} is no longer used in {_names(lost)}.", False


def _categories(old: Bundle, new: Bundle) -> Iterator[Change]:
    for name in sorted(new.categories.keys() - old.categories.keys()):
        told = new.categories[name].words
        yield Change("category", f"A new kind of data, {name}: “{told}”.", True)
    for name in sorted(old.categories.keys() - new.categories.keys()):
        yield Change("category", f"The kind of data {name} is given up.", False)
    for name in sorted(new.categories.keys() & old.categories.keys()):
        yield from _category(old.categories[name], new.categories[name])


def _category(old: Category, new: Category) -> Iterator[Change]:
    name = new.name
    if old.words != new.words:
        yield Change("category", f"{name} is told in other words: “{new.words}”", True)
    if old.sensitive != new.sensitive:
        state = "no longer" if old.sensitive else "now"
        yield Change("category", f"{name} is {state} taken for sensitive.", old.sensitive)
    if old.step_up != new.step_up:
        weaker = _is_weaker(old.step_up, new.step_up)
        way = "a weaker or older" if weaker else "a stronger or fresher"
        if old.step_up is None:
            way = "a stronger or fresher"
        yield Change("category", f"{name} asks for {way} sign-in than before.", weaker)


def _is_weaker(old: StepUp | None, new: StepUp | None) -> bool:
    """Whether some sign-in would do now that wouldn't have done before."""
    if old is None or new is None:
        return old is not None
    return (
        _accepts_more(old.amr, new.amr)
        or _accepts_more(old.acr, new.acr)
        or (old.age is not None and (new.age is None or new.age > old.age))
    )


def _accepts_more(old: Collection[str], new: Collection[str]) -> bool:
    return bool(old) and (not new or not set(new) <= set(old))


def _recipients(old: Bundle, new: Bundle) -> Iterator[Change]:
    for name in sorted(new.processors.keys() - old.processors.keys()):
        processor = new.processors[name]
        what = f"{_names(processor.categories)} for {_names(processor.purposes)}"
        yield Change(
            "recipient", f"A new recipient, {name} ({processor.words}), gets {what}.", True
        )
    for name in sorted(old.processors.keys() - new.processors.keys()):
        yield Change("recipient", f"{name} no longer gets anything.", False)
    for name in sorted(old.processors.keys() & new.processors.keys()):
        yield from _recipient(old, new, old.processors[name], new.processors[name])


def _recipient(old: Bundle, new: Bundle, was: Processor, now: Processor) -> Iterator[Change]:
    name = now.name
    reach = (_below(old, was.categories), _below(new, now.categories))
    yield from _set(name, "gets", *reach, lambda more: _topmost(new, more))
    yield from _set(name, "may use data for", set(was.purposes), set(now.purposes), sorted)
    if "*" not in was.regions:
        yield from _set(name, "keeps data in", set(was.regions), set(now.regions), sorted)
    for words in ("words", "safeguards"):
        if getattr(was, words) != getattr(now, words):
            yield Change("recipient", f"{name} is told in other {words}.", words == "safeguards")


def _set(
    name: str, verb: str, old: set[str], new: set[str], shown: Callable[[set[str]], list[str]]
) -> Iterator[Change]:
    if more := new - old:
        yield Change("recipient", f"{name} {verb} more: {_names(shown(more))}.", True)
    if less := old - new:
        yield Change("recipient", f"{name} {verb} less: without {_names(sorted(less))}.", False)


def _notice(old: Bundle, new: Bundle) -> Iterator[Change]:
    days = new.version.notice_days, old.version.notice_days
    if days[0] != days[1]:
        sentence = f"Later changes are announced {days[0]} days before instead of {days[1]}."
        yield Change("notice", sentence, days[0] < days[1])
    if old.notice != new.notice:
        yield Change("notice", "What people are told in notice.md changes.", False)


def _covered(bundle: Bundle, purpose: str) -> set[str]:
    return _below(bundle, bundle.purposes[purpose].categories)


def _below(bundle: Bundle, covering: Collection[str]) -> set[str]:
    return {
        name for name in bundle.categories if not set(covering).isdisjoint(bundle.lineage(name))
    }


def _topmost(bundle: Bundle, names: set[str]) -> list[str]:
    """Without those whose parent is among them too."""
    return sorted(name for name in names if bundle.categories[name].parent not in names)


def _names(names: Collection[Any]) -> str:
    *first, last = names or ["nothing"]
    return f"{', '.join(first)} and {last}" if first else str(last)


def _days(retention: str) -> int:
    number, unit = re.split(" ", retention.rstrip("s"), maxsplit=1)
    return int(number) * _DAYS[unit]
