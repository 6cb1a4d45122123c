"""What blind indexes tell who has the database and knows how names and birthdays are spread.

The attack on terms alone: sort the terms by how often they occur, sort the payloads that people's
values would have by how often they do, and take them for each other. The figures of
docs/search.md are made here: ``python tests/search/test_leakage.py`` prints them.

Names and where people live: see the files in population/, which name their sources. A person has
one first name and one surname, drawn by their frequencies; those with rarer ones than the files
have are left out, which helps the attacker. Ages: Census 2010 of the United States, by sex and
groups of five years (U.S. Census Bureau, "Age and Sex Composition: 2010", 2010 Census Brief
C2010BR-03), each group spread evenly over its days. Homes: a city by its population, and 5 km
around its centre (a normal distribution of 0.05 degrees, which is assumed).
"""

from __future__ import annotations

import hmac
import os
import random
import re
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

from vaultlayer import Buckets, Compound, Equality, Prefix, Substring, Words
from vaultlayer.crypto.codecs import codec_for
from vaultlayer.search.planner import LEAKS

AGES = [
    20_201_362, 20_348_657, 20_677_194, 22_040_343, 21_585_999, 21_101_849, 19_962_099,
    20_179_642, 20_890_964, 22_708_591, 22_298_125, 19_664_805, 16_817_924, 12_435_263,
    9_278_166, 7_317_795, 5_743_327, 3_620_459, 1_448_366, 371_244, 53_364,
]  # fmt: skip
CENSUS = date(2010, 4, 1)
SPANS = ("`, birthday", "year of birth", "decade")
PEOPLE = 20_000  # in the database; as many others are what the attacker knows
POPULATION = Path(__file__).parent / "population"
DOCUMENT = Path(__file__).parents[2] / "docs" / "search.md"

TEXT, DATE, PLACE = codec_for(str), codec_for(date), codec_for(list[float])


def lines(name):
    text = (POPULATION / name).read_text("utf-8")
    return [line.split() for line in text.splitlines() if not line.startswith("#")]


def people():
    """Surname, full name, birthday and home of people, the same in each run."""
    draw, many = random.Random(20), 2 * PEOPLE
    spread = {}
    for first, *names in lines("names.txt"):
        if first.startswith("["):
            known = spread[first] = Counter()
        else:
            known.update(dict.fromkeys(names, int(first)))
    chosen = {
        each: draw.choices([*known], [*known.values()], k=many) for each, known in spread.items()
    }
    surnames = chosen["[surnames]"]
    full = [
        f"{draw.choice(first)} {surname}"
        for *first, surname in zip(chosen["[female]"], chosen["[male]"], surnames, strict=True)
    ]
    groups = draw.choices(range(len(AGES)), AGES, k=many)
    born = [CENSUS - timedelta(5 * 365.25 * group + draw.randrange(1826)) for group in groups]
    cities = [[*map(float, line)] for line in lines("cities.txt")]
    towns = draw.choices(cities, [size for *_, size in cities], k=many)
    homes = [[draw.gauss(north, 0.05), draw.gauss(east, 0.05)] for north, east, _ in towns]
    return surnames, full, born, homes


def cases():
    """The payloads of every value, of each kind of index; the first half is in the database."""
    surnames, full, born, homes = people()

    def stored(kind, codec, values):
        encoded = [codec.encode(value) for value in values]
        payloads = {data: kind.stored(codec, data) for data in set(encoded)}
        return [payloads[data] for data in encoded]

    pair = Compound("surname:casefold")
    pairs = [
        [pair.joined([("exact", DATE, DATE.encode(day)), ("casefold", TEXT, TEXT.encode(name))])]
        for day, name in zip(born, surnames, strict=True)
    ]
    years, decades = Buckets.years(1900, 2030), Buckets.years(1900, 2030, width=10)
    return {
        "`Equality`, surname": stored(Equality("casefold"), TEXT, surnames),
        "`Equality`, birthday": stored(Equality(), DATE, born),
        "`Prefix(3)`, surname": stored(Prefix(3), TEXT, surnames),
        "`Words`, first name and surname": stored(Words(), TEXT, full),
        "`Substring(3)`, first name and surname": stored(Substring(3), TEXT, full),
        "`Buckets.years`, year of birth": stored(years, DATE, born),
        "`Buckets.years(width=10)`, decade": stored(decades, DATE, born),
        "`Buckets.cells(0.1)`, home": stored(Buckets.cells(0.1), PLACE, homes),
        "`Compound`, surname and birthday": pairs,
    }


def attack(rows, others):
    """The share of all terms whose payload is told rightly, and that of the best blind guess."""
    key = os.urandom(32)
    known = Counter(payload for each in others for payload in each)
    stored = Counter(payload for each in rows for payload in each)
    term = {payload: hmac.digest(key, payload, "sha256") for payload in stored}
    seen = Counter({term[payload]: times for payload, times in stored.items()})
    ranked = [payload for payload, _ in known.most_common()]
    told = dict(zip([each for each, _ in seen.most_common()], ranked, strict=False))
    right = sum(seen[term[payload]] for payload in term if told.get(term[payload]) == payload)
    guessed = seen[term[ranked[0]]] if ranked[0] in term else 0
    return right / seen.total(), guessed / seen.total()


def measured():
    return {name: attack(rows[:PEOPLE], rows[PEOPLE:]) for name, rows in cases().items()}


def _percent(rate):
    return f"{100 * rate:.1f} %"


def test_what_the_planner_relies_on():
    """The document tells what was measured, to the last digit, of every kind there is.

    A pair is as good as unguessable; what few values share tells more than what many do.
    """
    rates, shown = measured(), {}
    for line in DOCUMENT.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] in rates:
            shown[cells[0]] = cells[1:3]
    assert shown == {name: [_percent(rate) for rate in both] for name, both in rates.items()}
    assert {re.match(r"`(\w+)", name).group(1) for name in rates} == set(LEAKS)
    assert rates["`Compound`, surname and birthday"][0] < 0.001
    assert rates["`Equality`, surname"][0] < 0.12
    day, year, decade = (rate for name, (rate, _) in rates.items() if name.endswith(SPANS))
    assert day < year < decade


if __name__ == "__main__":
    for what, (right, guess) in measured().items():
        print(f"| {what} | {_percent(right)} | {_percent(guess)} |")  # noqa: T201
