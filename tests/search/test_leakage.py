"""What blind indexes tell who has the database and knows how names and birthdays are spread.

The strongest attack on terms alone: sort the terms by how often they occur, sort the values by how
often they occur among people, and take them for each other. The figures of docs/search.md are made
here. Surnames: the twenty most frequent of the 2010 census of the United States with their numbers
of people (U.S. Census Bureau, "Frequently Occurring Surnames"), and behind them a tail of 150,000
names that falls as 1/rank^1.05. Ages: its population by groups of five years, in millions, rounded
(2020 census), each group spread evenly over its days.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from datetime import date, timedelta
from itertools import accumulate
from pathlib import Path

import pytest

from vaultlayer import Buckets, Compound, Equality
from vaultlayer.crypto.codecs import codec_for

PEOPLE = 294_979_229  # of the census, by surname
SURNAMES = [
    2_442_977, 1_932_812, 1_625_252, 1_437_026, 1_425_470, 1_166_120, 1_161_437, 1_116_357,
    1_094_924, 1_060_159, 1_043_281, 874_523, 841_025, 801_882, 784_404, 756_142, 751_209,
    724_374, 708_099, 702_625,
]  # fmt: skip
TAIL = 150_000
AGES = [18, 20, 22, 22, 22, 23, 23, 22, 21, 20, 21, 22, 21, 18, 15, 10, 6, 6]
ROWS = 100_000
TODAY = date(2020, 4, 1)
DOCUMENT = Path(__file__).parents[2] / "docs" / "search.md"


def people():
    """Surname and birthday of ``ROWS`` people, the same in each run."""
    draw = random.Random(20)
    weights = [1 / rank**1.05 for rank in range(21, TAIL)]
    scale = (PEOPLE - sum(SURNAMES)) / sum(weights)
    spread = [*SURNAMES, *(weight * scale for weight in weights)]
    names = draw.choices(range(len(spread)), cum_weights=list(accumulate(spread)), k=ROWS)
    groups = draw.choices(range(len(AGES)), AGES, k=ROWS)
    born = [TODAY - timedelta(5 * 365.25 * group + draw.randrange(1826)) for group in groups]
    return [f"name {name}" for name in names], born


NAMES, BORN = people()
TEXT, DATE = codec_for(str), codec_for(date)


def compound(name, born):
    kind = Compound("name", normalizer="exact")
    return kind.joined([("exact", DATE, DATE.encode(born)), ("exact", TEXT, TEXT.encode(name))])


def years(kind):
    return lambda born: kind.stored(DATE, DATE.encode(born))[0]


CASES = {
    "`Equality`, surname": (NAMES, lambda v: Equality().stored(TEXT, TEXT.encode(v))[0]),
    "`Equality`, birthday": (BORN, years(Equality())),
    "`Buckets.years`, year of birth": ([day.year for day in BORN], None),
    "`Buckets.years(width=10)`, decade": ([day.year // 10 for day in BORN], None),
    "`Compound`, surname and birthday": (list(zip(NAMES, BORN, strict=True)), None),
}


def attack(values, payloads, known):
    """The share of rows whose value is told rightly, and that of the best blind guess."""
    key = os.urandom(32)
    by_term = Counter(hash((key, payload)) for payload in payloads)
    ranked = [value for value, _ in known.most_common()]
    told = dict(zip([term for term, _ in by_term.most_common()], ranked, strict=False))
    right = sum(
        told.get(hash((key, payload))) == value
        for value, payload in zip(values, payloads, strict=True)
    )
    return right / len(values), known.most_common(1)[0][1] / known.total()


def measured():
    half = ROWS // 2  # the attacker counts other people of the same population
    found = {}
    for name, (values, payload) in CASES.items():
        if payload is not None:
            payloads = [payload(value) for value in values]
        elif "year" in name or "decade" in name:
            kind = Buckets.years(1900, 2030, width=10 if "10" in name else 1)
            payloads = [years(kind)(born) for born in BORN]
        else:
            payloads = [compound(*pair) for pair in values]
        found[name] = attack(values[:half], payloads[:half], Counter(values[half:]))
    return found


@pytest.fixture(scope="module")
def rates():
    return measured()


def test_the_document_tells_what_was_measured(rates):
    shown = {}
    for line in DOCUMENT.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] in CASES:
            shown[cells[0]] = [float(cell.rstrip(" %")) / 100 for cell in cells[1:3]]
    assert shown.keys() == rates.keys()
    for name, (recovered, blind) in rates.items():
        assert shown[name] == pytest.approx([recovered, blind], abs=0.006), (name, rates[name])


def test_what_the_planner_relies_on(rates):
    """A pair is as good as unguessable; a year tells more than a birthday does."""
    assert rates["`Compound`, surname and birthday"][0] < 0.001
    assert rates["`Equality`, surname"][0] < 0.12
    assert rates["`Equality`, birthday"][0] < rates["`Buckets.years`, year of birth"][0]


if __name__ == "__main__":
    for what, (right, guess) in measured().items():
        print(f"| {what} | {right:.1%} | {guess:.1%} |")  # noqa: T201
