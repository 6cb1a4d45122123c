"""categories.toml, purposes.toml and tests.toml are understood whole, or refused with the table."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultlayer.access.words import parse_categories, parse_purposes, parse_tests
from vaultlayer.errors import PolicyError

EMAIL = '[contact]\nwords = "How to reach you"\nsensitive = false\n'
PURPOSE = """[help]
words = "To help"
basis = "contract"
consent = false
categories = ["contact"]
regions = ["*"]
retention = "2 years"
"""
TEST = """[[test]]
role = "support"
category = "contact"
action = "read"
purpose = "help"
expect = "allow"
"""


def refusal(parse: object, *arguments: object) -> str:
    with pytest.raises(PolicyError) as caught:
        parse(*arguments)  # type: ignore[operator]
    assert caught.value.hint
    return caught.value.message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no category is declared"),
        ("[contact\n", "not valid TOML"),
        ("a = " + "[" * 3000, "not valid TOML"),
        ('[contact]\nwords = "x"\n', "categories.toml:1: [contact] sensitive is neither"),
        ("[contact]\nsensitive = true\n", "words is not a text"),
        (EMAIL.replace("How to reach you", "  "), "words is not a text"),
        (EMAIL.replace("false", '"false"'), "sensitive is neither"),
        (
            f'{EMAIL}\n[contact.email]\nwords = "x"\nsensitve = true\n',
            "categories.toml:5: [contact.em",
        ),
        (f'{EMAIL}retain = "x"\n', "the key 'retain' is not known"),
        (EMAIL.replace("[contact]", '["contact.email"]'), "quoted"),
        (EMAIL.replace("[contact]", '["a b"]'), "no valid name"),
        (EMAIL.replace("[contact]", '["a\\nb"]'), "no valid name"),
        (EMAIL.replace("[contact]", "[a.b]"), "[a] words is not a text"),
        ("contact = 7\n", "not a table"),
    ],
)
def test_a_category_not_understood_is_refused(text: str, says: str) -> None:
    """Missing words, unknown keys, wrong kinds, bad names."""
    message = refusal(parse_categories, text)
    assert message.startswith("categories.toml")
    assert says in message
    assert message.isprintable()


def test_a_tree_deeper_than_casbin_follows_is_refused() -> None:
    """Eight levels below the root are the limit."""

    def tree(depth: int) -> str:
        names = [".".join("abcdefghijklm"[: at + 1]) for at in range(depth + 1)]
        return "".join(f'[{name}]\nwords = "x"\nsensitive = false\n' for name in names)

    assert len(parse_categories(tree(8))) == 9
    assert "lies too deep" in refusal(parse_categories, tree(9))


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (("consent", "consnet"), "purposes.toml:1: [help] consent is neither"),
        (("consent = false\n", ""), "consent is neither"),
        (("false", "0"), "consent is neither"),
        (('"contract"', '"consent"'), "rests on consent but needs none"),
        (('"contract"', '"because"'), "basis 'because' is not known"),
        (('["contact"]', '["contat"]'), "categories has 'contat'"),
        (('["contact"]', "[]"), "categories is not a list"),
        (('["contact"]', '["contact", "contact"]'), "categories is not a list of different"),
        (('["contact"]', '"contact"'), "categories is not a list"),
        (('["contact"]', "[7]"), "categories has '7'"),
        (('["contact"]', "[[]]"), "categories has '[]'"),
        (('["*"]', '["E U"]'), "regions has 'E U'"),
        (('["*"]', '["EU", "*"]'), "regions has '*'"),
        (('regions = ["*"]\n', ""), "regions is not a list"),
        (('"2 years"', '"long"'), "retention is not a time"),
        (('"2 years"', '"0 years"'), "retention is not a time"),
        (('"2 years"', '"2 years\\n"'), "retention is not a time"),
        (("[help]", '["he lp"]'), "no valid name"),
        (("[help]\n", 'x = 1\n[help]\nmore = "y"\n'), "not a table"),
        (("[help]\n", '[help]\nmore = "y"\n'), "the key 'more' is not known"),
    ],
)
def test_a_purpose_not_understood_is_refused(edit: tuple[str, str], says: str) -> None:
    """Above all a misspelt consent is no absent one."""
    assert list(parse_purposes(PURPOSE, ["contact"])) == ["help"]
    message = refusal(parse_purposes, PURPOSE.replace(*edit, 1), ["contact"])
    assert message.startswith("purposes.toml")
    assert says in message


def test_a_purpose_keeps_its_regions() -> None:
    """A list of names, or the star for everywhere."""
    text = PURPOSE.replace('["*"]', '["EU", "CN"]')
    assert parse_purposes(text, ["contact"])["help"].regions == ("EU", "CN")
    assert parse_purposes(PURPOSE, ["contact"])["help"].regions == ("*",)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (('"allow"', '"yes"'), "expect 'yes' is not known"),
        (('"read"', '"reed"'), "action 'reed' is not known"),
        (('"help"', '"hlep"'), "purpose 'hlep' is not known"),
        (('"contact"', '"contat"'), "category 'contat' is not known"),
        (('"support"', '"a,b"'), "not a name"),
        (("role", "rol"), "role is not a text"),
        (("expect", "field = 7\nexpect"), "field is not a text"),
        (("expect", 'because = "x"\nexpect'), "'because' is not known"),
        (("[[test]]", "[[tests]]"), "something else than [[test]]"),
        (("[[test]]", "[test]"), "not valid TOML"),
        (("[[test]]", "test = [7]\n[x]"), "something else than [[test]]"),
    ],
)
def test_an_expectation_not_understood_is_refused(edit: tuple[str, str], says: str) -> None:
    """A test that is not run would be a test that passes."""
    assert [test.line for test in parse_tests(TEST + TEST, ["contact"], ["help"])] == [1, 7]
    message = refusal(parse_tests, TEST + TEST.replace(*edit, 1), ["contact"], ["help"])
    assert message.startswith("tests.toml")
    assert says in message


def test_a_single_table_is_not_taken_for_a_list_of_tests() -> None:
    """[test] holds one table where [[test]] holds a list of them."""
    text = TEST.replace("[[test]]", "[test]")
    assert "something else" in refusal(parse_tests, text, ["contact"], ["help"])


@settings(deadline=None)
@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text makes a reader fail in another way."""
    for parse, more in (
        (parse_categories, ()),
        (parse_purposes, (["contact"],)),
        (parse_tests, (["contact"], ["help"])),
    ):
        try:
            parse(text, *more)
        except PolicyError as error:
            assert error.hint
