"""The JSON Schemas that editors use say what the parsers say."""

from __future__ import annotations

import json
import re
import tomllib
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft7Validator, FormatChecker

from vaultlayer.access import words
from vaultlayer.access.names import ACTIONS
from vaultlayer.access.processors import FILE as PROCESSORS
from vaultlayer.errors import PolicyError

if TYPE_CHECKING:
    from pathlib import Path

NAMES = (words.CATEGORIES, words.PURPOSES, words.TESTS, PROCESSORS, "promises.toml")


def validator(starter: Path, name: str) -> Draft7Validator:
    text = (starter / "schemas" / name.replace(".toml", ".schema.json")).read_text()
    schema = json.loads(text)
    Draft7Validator.check_schema(schema)
    return Draft7Validator(schema, format_checker=FormatChecker())


def told(text: str) -> Any:
    """TOML as an editor's validator sees it: a date is a text of that format."""
    return json.loads(json.dumps(tomllib.loads(text), default=date.isoformat))


@pytest.mark.parametrize("name", NAMES)
def test_each_file_names_its_schema_and_fits_it(starter: Path, name: str) -> None:
    """The first line is what editors look for; the starter has no error under it."""
    text = (starter / name).read_text()
    assert text.startswith(f"#:schema schemas/{name.replace('.toml', '.schema.json')}\n")
    assert list(validator(starter, name).iter_errors(told(text))) == []


WRONG = [
    (words.CATEGORIES, "sensitive = false", 'sensitive = "no"'),
    (words.CATEGORIES, "[identity]", "[identity]\nsensitve = true"),
    (words.CATEGORIES, "sensitive = true\n", 'sensitive = true\nstep_up = { age = "soon" }\n'),
    (words.CATEGORIES, "sensitive = true\n", "sensitive = true\nstep_up = {}\n"),
    (words.CATEGORIES, 'words = "Who you are"', 'words = " "'),
    (words.PURPOSES, 'basis = "consent"\nconsent = true', 'basis = "consent"\nconsent = false'),
    (words.PURPOSES, 'basis = "contract"', 'basis = "wish"'),
    (words.PURPOSES, 'retention = "3 years"', 'retention = "long"'),
    (words.PURPOSES, 'regions = ["*"]', 'regions = ["*", "eu"]'),
    (words.PURPOSES, "consent = false", "consnet = false"),
    (words.TESTS, 'expect = "allow"', 'expect = "Allow"'),
    (words.TESTS, 'action = "read"', 'action = "look"'),
    (words.TESTS, "[[test]]", "[[tests]]"),
]


@pytest.mark.parametrize(("name", "old", "new"), WRONG)
def test_what_the_parser_refuses_the_schema_marks(
    starter: Path, name: str, old: str, new: str
) -> None:
    """Editors and the program agree about what is wrong."""
    text = (starter / name).read_text()
    assert old in text
    spoilt = text.replace(old, new, 1)
    assert list(validator(starter, name).iter_errors(told(spoilt)))
    categories = words.parse_categories((starter / words.CATEGORIES).read_text())
    purposes = words.parse_purposes((starter / words.PURPOSES).read_text(), categories)
    with pytest.raises(PolicyError):
        if name == words.CATEGORIES:
            words.parse_categories(spoilt)
        elif name == words.PURPOSES:
            words.parse_purposes(spoilt, categories)
        else:
            words.parse_tests(spoilt, categories, purposes)


def test_the_schemas_know_the_same_words(starter: Path) -> None:
    """Actions and bases, word for word."""
    tests = json.loads((starter / "schemas" / "tests.schema.json").read_text())
    action = tests["properties"]["test"]["items"]["properties"]["action"]["enum"]
    assert tuple(action) == ACTIONS
    purposes = json.loads((starter / "schemas" / "purposes.schema.json").read_text())
    known = purposes["additionalProperties"]["properties"]["basis"]["enum"]
    assert tuple(known) == words.BASES


def test_the_starters_remark_on_processors_fits_the_schema(starter: Path) -> None:
    """The example, uncommented."""
    text = (starter / PROCESSORS).read_text()
    example = re.sub("(?m)^# ?", "", text[text.index("# [post_office]") :])
    assert list(validator(starter, PROCESSORS).iter_errors(told(example))) == []
