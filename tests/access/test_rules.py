"""roles.csv: every line is understood, or the file is refused with line and remedy."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultlayer.access.inheritance import MOST_LINKS
from vaultlayer.access.names import ACTIONS, EFFECTS, is_name
from vaultlayer.access.rules import Emergency, Link, Rule, parse_rules
from vaultlayer.errors import PolicyError

CATEGORIES = ("contact", "contact.email", "identity", "identity.name")
PURPOSES = ("help", "law")
GOOD = "p, support, contact.email, read, help, allow"


def parse(text: str) -> tuple[tuple[Rule, ...], tuple[Link, ...]]:
    roles = parse_rules(text, CATEGORIES, PURPOSES)
    return roles.rules, roles.links


def refusal(text: str) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        parse(text)
    assert caught.value.hint
    return caught.value


def test_rules_and_links_keep_their_line() -> None:
    """Comments, blank lines, spaces and Windows line ends change nothing but the line number."""
    text = "# remark, with, commas\r\n\r\n  p ,support,  contact.email ,read,help,allow  \r\n"
    text += '"# a remark, as a spreadsheet saves it"\ng, lead, support\n\n'
    rules, links = parse(text)
    assert rules == (Rule("support", "contact.email", "read", "help", "allow", line=3),)
    assert links == (Link("lead", "support", line=5),)
    assert str(rules[0]) == GOOD


def test_empty_cells_that_a_spreadsheet_appends_are_dropped() -> None:
    """A short line comes back from a spreadsheet as long as the longest."""
    rules, links = parse(f"{GOOD},\ng,lead,support,,,\n,,,,\n")
    assert (len(rules), len(links)) == (1, 1)


def test_an_empty_file_has_no_rules() -> None:
    """Nothing said is nothing allowed, and no error."""
    assert parse("") == parse("# nothing\n") == ((), ())


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("contact.email", ("contact.email", False)),
        ("contact", ("contact", False)),
        ("customer.email", ("customer.email", True)),
        ("field:customer.email", ("customer.email", True)),
        ("field:contact.email", ("contact.email", True)),
        ("hr.staff.email", ("hr.staff.email", True)),
    ],
)
def test_a_target_is_a_category_or_a_field(target: str, expected: tuple[str, bool]) -> None:
    """A declared category is one; other dotted names, and all with the prefix, are fields."""
    rules, _ = parse(f"p, support, {target}, read, help, allow")
    assert (rules[0].target, rules[0].is_field) == expected


@pytest.mark.parametrize(
    "target", ["contact.emial", "contat", "identity.name.first", "field:email"]
)
def test_a_misspelt_category_is_no_field(target: str) -> None:
    """A deny on a misspelt category would deny nothing."""
    assert "unknown category" in str(refusal(f"p, support, {target}, read, help, deny"))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("p, support, contact.email, read, help", "5 cells instead of 6"),
        ("p, support, contact.email, read, help, allow, more", "7 cells instead of 6"),
        ("p, support, contact.email, read, help, allow # remark", "not a name"),
        ("p;support;contact.email;read;help;allow", "not a kind of line"),
        ("p, , contact.email, read, help, allow", "not a name"),
        ("P, support, contact.email, read, help, allow", "not a kind of line"),
        ("p2, support, contact.email, read, help, allow", "not a kind of line"),
        ("g2, contact.email, contact", "not a kind of line"),
        ("g, lead", "2 cells instead of 3"),
        ("g, lead, support, tenant", "4 cells instead of 3"),
        ("p, support, contact.email, reed, help, allow", "unknown action 'reed'"),
        ("p, support, contact.email, read:masked, help, allow", "unknown action"),
        ("p, support, contact.email, read, hlep, allow", "unknown purpose"),
        ("p, support, contact.email, read, help, Deny", "unknown effect 'Deny'"),
        ("p, support, contact.email, read, help, permit", "unknown effect"),
        ("p, support, contact.email, write, help, mask", "can't be masked"),
        ("p, support, contact.email, search, help, mask", "can't be masked"),
        ('p, "support, contact.email, read, help, allow', "quotes"),
        ('p, "sup"port, contact.email, read, help, allow', "quotes"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_line(line: str, says: str) -> None:
    """No line is skipped, none is half understood."""
    message = str(refusal(f"{GOOD}\n{line}\n"))
    assert message.startswith("roles.csv:2: ")
    assert says in message


INJECTIONS = [
    "a,b",
    "a\nb",
    "a\rb",
    "a b",
    "a\x00b",
    "a\x0bb",
    "a\u2028b",
    "a\u00a0b",
    "a)b",
    "a(b",
    "a'b",
    'a"b',
    "a#b",
    "a*",
    "*",
    "a;b",
    "a=b",
    "é",
    "e\u0301",
    "\u0430",  # Cyrillic a
    "\uff41",  # fullwidth a
    "a\u200b",
    "a\u202eb",
    "x" * 129,
    "x" * 10_000,
]


@pytest.mark.parametrize("name", INJECTIONS)
@pytest.mark.parametrize("quoted", [True, False])
def test_a_name_cannot_inject_a_rule(name: str, quoted: bool) -> None:
    """Separators, quotes, line breaks, lookalikes and long names are refused in every cell."""
    written = '"' + name.replace('"', '""') + '"' if quoted else name
    assert not is_name(name)
    for cell in range(1, 6):
        cells = GOOD.split(", ")
        cells[cell] = written
        message = str(refusal(", ".join(cells)))
        assert len(message) < 600
        assert message.isprintable()
    refusal(f"{GOOD}\ng, {written}, support")
    refusal(f"{GOOD}\ng, lead, {written}")


@settings(deadline=None)
@given(st.text(max_size=60))
def test_only_names_of_the_alphabet_are_names(text: str) -> None:
    """The whole text must match, a final line break included."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:@/-"
    assert is_name(text) == (0 < len(text) <= 128 and set(text) <= set(alphabet))
    assert not is_name(f"{text}\n")


@settings(deadline=None)
@given(st.text())
def test_any_text_parses_or_is_refused(text: str) -> None:
    """No input makes the parser fail in another way."""
    try:
        rules, links = parse(text)
    except PolicyError:
        return
    assert all(is_name(rule.role) and rule.effect in EFFECTS for rule in rules)
    assert all(rule.action in ACTIONS and rule.purpose in PURPOSES for rule in rules)
    assert all(is_name(link.child) for link in links)


@pytest.mark.parametrize("effect", EFFECTS)
def test_a_second_line_for_the_same_thing_is_refused(effect: str) -> None:
    """Whether it agrees with the first or contradicts it."""
    message = str(refusal(f"{GOOD}\n\np, support, contact.email, read, help, {effect}"))
    assert message.startswith("roles.csv:3: line 1 already decides")
    assert "line 2 already decides" in str(refusal(f"{GOOD}\ng,a,support\ng,a,support"))


@pytest.mark.parametrize(
    "links",
    ["g,a,a", "g,a,support\ng,a,b\ng,b,a", "g,a,b\ng,b,c\ng,c,a", "g,support,a\ng,a,support"],
)
def test_roles_that_inherit_in_a_circle_are_refused(links: str) -> None:
    """The message shows the circle."""
    message = str(refusal(f"{GOOD}\n{links}"))
    assert "in a circle" in message
    assert "a >" in message or "> a" in message


def test_an_inherited_role_that_nobody_mentions_is_refused() -> None:
    """A misspelt parent would take nothing over, and no deny either."""
    message = str(refusal(f"{GOOD}\ng, lead, suport"))
    assert "'suport', which no rule mentions" in message


def chain(length: int) -> str:
    links = [f"g, r{at}, r{at + 1}" for at in range(length)]
    return "\n".join([*links, f"p, r{length}, contact.email, read, help, allow"])


def test_a_chain_longer_than_casbin_follows_is_refused() -> None:
    """Up to the limit it is accepted, one more is not, and a very long one is no other error."""
    assert len(parse(chain(MOST_LINKS))[1]) == MOST_LINKS
    for length in (MOST_LINKS + 1, 5000):
        assert "inherits through more than" in str(refusal(chain(length)))


def test_a_diamond_of_roles_is_no_circle() -> None:
    """Two ways to one parent are fine."""
    assert len(parse(f"{GOOD}\ng,a,support\ng,b,support\ng,c,a\ng,c,b")[1]) == 4


@pytest.mark.parametrize(
    ("more", "rule"),
    [
        ("", {}),
        (", tenant=north", {"tenant": "north"}),
        (", region=eu , tenant=north", {"tenant": "north", "region": "eu"}),
        (", tenant=north,,", {"tenant": "north"}),
    ],
)
def test_a_rule_may_be_for_one_tenant_or_region(more: str, rule: dict[str, str]) -> None:
    """Named at the end of the line, and shown so."""
    (parsed,), _ = parse(GOOD + more)
    assert parsed == Rule("support", "contact.email", "read", "help", "allow", line=1, **rule)
    assert parse(str(parsed))[0][0] == parsed


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("tenant=", "'tenant=' is not understood"),
        ("tennant=north", "'tennant=north' is not understood"),
        ("tenant=a, tenant=b", "is not understood"),
        ("tenant=a b", "is not understood"),
        ("tenant=*", "is not understood"),
        ("tenant=a=b", "is not understood"),
        ("until=2030-01-01", "is not understood"),
        ("region=\uff45u", "is not understood"),
        ("tenant=north, more", "'tenant=north' is not a name"),
    ],
)
def test_a_place_not_understood_is_refused(more: str, says: str) -> None:
    """A misspelt limit would make a rule hold everywhere, or nowhere."""
    message = str(refusal(f"{GOOD}, {more}"))
    assert says in message or "7 cells" in message or "8 cells" in message


def test_rules_for_different_places_are_different_rules() -> None:
    """And a second one for the same place is refused."""
    text = f"{GOOD}\n{GOOD}, tenant=a\n{GOOD}, tenant=b\n{GOOD}, tenant=b, region=eu\n"
    assert len(parse(text)[0]) == 4
    assert "line 2 already decides" in str(refusal(f"{text}{GOOD}, tenant=a"))


def test_a_mask_may_be_named_with_the_effect() -> None:
    """A built-in one, or hash; what isn't there is refused, and so is a mask on an allow."""
    line = "p, support, contact.email, read, help, "
    for name in ("last4", "email", "initials", "year", "city", "hash", "redact"):
        (rule,), _ = parse(f"{line}mask:{name}")
        assert (rule.effect, rule.mask, str(rule)) == ("mask", name, f"{line}mask:{name}")
    assert "unknown mask 'lastfour'" in str(refusal(f"{line}mask:lastfour"))
    for effect in ("mask:", "allow:last4", "deny:", "mask:last4:x", "Mask:last4"):
        assert "unknown" in str(refusal(line + effect))


def test_an_emergency_names_two_roles_and_minutes() -> None:
    """The role taken on must be one that rules speak of."""
    roles = parse_rules(f"{GOOD}\ne, intern, support, 30\n", CATEGORIES, PURPOSES)
    assert roles.emergencies == (Emergency("intern", "support", 30, 2),)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("e, intern, support", "3 cells instead of 4"),
        ("e, intern, support, 0", "not a number of minutes"),
        ("e, intern, support, 481", "not a number of minutes"),
        ("e, intern, support, 1.5", "not a number of minutes"),
        ("e, intern, support, -1", "not a number of minutes"),
        ("e, intern, suport, 30", "'suport', which no rule mentions"),
        ("e, intern, support, 30\ne, intern, support, 20", "line 2 already decides"),
        ("e, *, support, 30", "not a name"),
    ],
)
def test_an_emergency_not_understood_is_refused(line: str, says: str) -> None:
    """With its line."""
    assert says in str(refusal(f"{GOOD}\n{line}\n"))
