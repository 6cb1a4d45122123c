"""Step-up: who signed in weakly or long ago doesn't touch a category that asks for more."""

from __future__ import annotations

from typing import Any

import pytest

from vaultlayer.access.principal import Principal
from vaultlayer.access.step_up import StepUp
from vaultlayer.access.words import parse_categories
from vaultlayer.errors import PolicyError

NOW = 1_800_000_000.0
TEXT = '[card]\nwords = "x"\nsensitive = true\nstep_up = {part}\n[card.number]\nwords = "y"\n' \
    "sensitive = true\n"  # fmt: skip


def parsed(part: str) -> StepUp | None:
    return parse_categories(TEXT.replace("{part}", part))["card"].step_up


def test_a_category_says_what_it_asks() -> None:
    """Methods, levels and age; a child is a category of its own beside it."""
    step_up = parsed('{ amr = ["mfa", "hwk"], acr = ["urn:loa:3"], age = "10 minutes" }')
    assert step_up == StepUp(("mfa", "hwk"), ("urn:loa:3",), 600)
    found = parse_categories(TEXT.replace("{part}", '{ age = "1 hour" }'))
    assert set(found) == {"card", "card.number"}
    assert (found["card"].step_up, found["card.number"].step_up) == (StepUp(age=3600), None)


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ("{}", "asks for nothing"),
        ('"mfa"', "not a table"),
        ('{ amr = "mfa" }', "amr is not a list"),
        ('{ amr = ["m f a"] }', "which is not known"),
        ("{ acr = [1] }", "acr is not a list of texts"),
        ('{ age = "soon" }', "age is not a time"),
        ("{ age = 10 }", "age is not a text"),
        ('{ agee = "1 hour" }', "the key 'agee' is not known"),
    ],
)
def test_what_is_not_understood_is_refused(part: str, says: str) -> None:
    """A misspelt condition must not be none."""
    with pytest.raises(PolicyError) as caught:
        parsed(part)
    assert says in caught.value.message
    assert caught.value.message.startswith("categories.toml:")


@pytest.mark.parametrize(
    ("step_up", "principal", "left"),
    [
        (StepUp(amr=("mfa",)), {"amr": ["pwd", "mfa"]}, float("inf")),
        (StepUp(amr=("mfa",)), {"amr": ["pwd"]}, 0),
        (StepUp(amr=("mfa",)), {}, 0),
        (StepUp(acr=("loa3",)), {"claims": {"acr": "loa3"}}, float("inf")),
        (StepUp(acr=("loa3",)), {"claims": {"acr": "loa"}}, 0),
        (StepUp(acr=("loa3",)), {"claims": {"acr": ["loa3"]}}, 0),
        (StepUp(acr=("loa3",)), {}, 0),
        (StepUp(age=600), {"claims": {"auth_time": NOW - 500}}, 100),
        (StepUp(age=600), {"claims": {"auth_time": NOW - 700}}, -100),
        (StepUp(age=600), {"claims": {"auth_time": NOW - 700, "iat": NOW}}, -100),
        (StepUp(age=600), {"claims": {"iat": NOW - 1}}, 599),
        (StepUp(age=600), {"claims": {"auth_time": NOW + 9000}}, 600),
        (StepUp(age=600), {"claims": {"auth_time": "now"}}, 0),
        (StepUp(age=600), {"claims": {"auth_time": True}}, 0),
        (StepUp(age=600), {}, 0),
        (StepUp(("mfa",), ("loa3",), 600), {"amr": ["mfa"], "claims": {"acr": "loa3"}}, 0),
    ],
)
def test_every_part_counts_and_what_is_not_known_is_not_met(
    step_up: StepUp, principal: dict[str, Any], left: float
) -> None:
    """A time to come counts as now: a wrong clock lengthens nothing."""
    assert step_up.seconds_left(Principal("ada", ["support"], **principal), NOW) == left
