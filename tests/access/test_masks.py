"""A mask shows what its name says, less where that would be most of the value, never all of it."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib.metadata import EntryPoint
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultlayer.access import masks
from vaultlayer.access.masks import HIDDEN, MASKS, mask, mask_names, masking, pseudonym
from vaultlayer.errors import ConfigurationError

NAMES = sorted(MASKS)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("redact", "Ada", "***"),
        ("last4", "+49 170 123 4567", "***4567"),
        ("last4", "4111-1111-1111-1234", "***1234"),
        ("last4", 4111111111111234, "***1234"),
        ("email", "ada@example.com", "a***@e***.com"),
        ("email", "ada.lovelace+x@mail.example.co.uk", "a***@m***.uk"),
        ("initials", "Ada Lovelace", "A. L."),
        ("initials", "J. R. R. Tolkien", "J. R. R. T."),
        ("initials", "élodie ßtrand", "É. S."),
        ("year", date(1815, 12, 10), "1815"),
        ("year", datetime(1815, 12, 10, tzinfo=UTC), "1815"),
        ("year", "1815-12-10", "1815"),
        ("year", "1815-12-10T08:00:00+00:00", "1815"),
        ("city", "12 St James's Square, London SW1Y 4JH", "London"),
        ("city", "Hauptstr. 5, Hinterhaus, 65812 Bad Soden", "Bad Soden"),
        ("city", "1 Rue X\n75001 Paris\nFrance", "Paris"),
        ("city", {"street": "Hauptstr. 5", "city": "Bad Soden"}, "Bad Soden"),
    ],
)
def test_a_fitting_value_shows_what_the_name_says(name: str, value: object, shown: str) -> None:
    """Each mask on the values it is made for."""
    assert mask(name, value) == shown


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("last4", "1234"),
        ("last4", "12-34-56-7"),
        ("last4", "....4567"),
        ("last4", True),
        ("last4", b"12345678"),
        ("last4", 1234567),
        ("email", "ada"),
        ("email", "@example.com"),
        ("email", "ada@"),
        ("email", "ada@localhost"),
        ("email", "ada@.com"),
        ("email", "ada@a@example.com"),
        ("email", "ada@example.x"),
        ("email", "ada@example.+491701234567"),
        ("email", "ada lovelace@example.com"),
        ("email", "ada\n@example.com"),
        ("initials", ""),
        ("initials", "A"),
        ("initials", "A. B."),
        ("initials", "4711 Street"),
        ("initials", "李明"),
        ("initials", "one two three four five six"),
        ("initials", "Ada ."),
        ("year", "1815"),
        ("year", "10.12.1815"),
        ("year", time(8)),
        ("year", 1815),
        ("year", ""),
        ("city", "Hauptstr. 5 10115 Berlin"),
        ("city", "12 Elm Street, c/o Ada Lovelace"),
        ("city", "12 Elm Street, London"),
        ("city", "Flat 3, 12 Elm Street, London"),
        ("city", "Hauptstr. 5, 10115 Haus 7"),
        ("city", "a, 10115 b, 20095 c"),
        ("city", {"street": "Hauptstr. 5"}),
        ("city", {"city": "Hauptstr. 5"}),
        ("city", {"city": 7}),
    ],
)
def test_an_unfit_value_shows_nothing(name: str, value: object) -> None:
    """Too short, of another kind or another form: hidden whole."""
    assert mask(name, value) == HIDDEN


@pytest.mark.parametrize("value", ["a@ex.com", "jo@example.com", "ada@x.com"])
def test_a_short_mailbox_or_domain_shows_none_of_itself(value: str) -> None:
    """With one or two letters the first letter would be most of it."""
    shown = mask("email", value)
    mailbox, _, domain = value.partition("@")
    assert shown.endswith(".com")
    assert len(mailbox) > 2 or shown.startswith("***@")
    assert len(domain.removesuffix(".com")) > 2 or "@***." in shown


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.dates(),
    st.datetimes(),
    st.times(),
    st.uuids(),
    st.decimals(),
    st.lists(st.text()),
    st.dictionaries(st.text(), st.integers()),
    st.emails(),
    st.from_regex(r"[0-9 +()-]{0,20}"),
)


@settings(deadline=None)
@given(st.sampled_from(NAMES), ANYTHING)
def test_no_value_breaks_a_mask_or_comes_through_whole(name: str, value: object) -> None:
    """Whatever is masked, the answer is a text that is not the value."""
    shown = mask(name, value)
    assert type(shown) is str
    assert shown != str(value) or value in (HIDDEN,)


@settings(deadline=None)
@given(st.text(min_size=1))
def test_last4_shows_at_most_half_of_the_letters_and_digits(value: str) -> None:
    """What last4 leaves visible is never more than it hides."""
    shown = mask("last4", value).removeprefix(HIDDEN)
    assert 2 * len(shown) <= sum(char.isalnum() for char in value)


@settings(deadline=None)
@given(st.emails())
def test_email_keeps_all_but_two_letters_and_the_ending(value: str) -> None:
    """Nothing but two first letters and the last label of the domain shows."""
    shown = mask("email", value)
    if shown == HIDDEN:
        return
    ending = value.rpartition(".")[2]
    assert shown.replace(HIDDEN, "").removesuffix(ending) in (
        f"{a}@{b}." for a in ("", value[0]) for b in ("", value.partition("@")[2][0])
    )


@settings(deadline=None)
@given(st.text() | st.lists(st.text(min_size=1, max_size=8), max_size=7).map(" ".join))
def test_initials_show_one_letter_a_name(value: str) -> None:
    """At most five letters, each with its full stop."""
    shown = mask("initials", value)
    if shown == HIDDEN:
        return
    parts = shown.split(" ")
    assert len(parts) == len(value.split()) <= 5
    assert all(len(part) == 2 and part[1] == "." for part in parts)


@pytest.mark.parametrize("name", ["", "Redact", "nothing", None, [], "__class__"])
def test_an_unknown_mask_is_refused_without_the_value(name: object) -> None:
    """The error lists the masks and holds nothing of the value, also not in its frames."""
    with pytest.raises(ConfigurationError, match="unknown mask") as caught:
        mask(name, "+49 170 1234567")  # type: ignore[arg-type]
    assert "4567" not in str(caught.value)
    tracebacks = caught.value.__traceback__
    while tracebacks is not None:
        frame = tracebacks.tb_frame
        if (
            frame.f_code.co_filename.endswith("masks.py")
            and "tests" not in frame.f_code.co_filename
        ):
            assert "value" not in frame.f_locals
        tracebacks = tracebacks.tb_next


@pytest.mark.parametrize("value", [UUID(int=7), Decimal("12345678.9"), None])
def test_kinds_without_a_fitting_mask_are_hidden_by_every_one(value: object) -> None:
    """A mask never falls back on str()."""
    assert {mask(name, value) for name in NAMES} == {HIDDEN}


@settings(deadline=None)
@given(ANYTHING, ANYTHING)
def test_a_pseudonym_is_stable_and_another_for_another_value_or_key(
    one: object, other: object
) -> None:
    """Equal values are told apart from others by it, within one key only."""
    shown = pseudonym(b"k" * 32, one)
    assert shown == pseudonym(b"k" * 32, one)
    assert shown != pseudonym(b"l" * 32, one)
    assert len(shown) == 21
    if repr(one) != repr(other):
        assert shown != pseudonym(b"k" * 32, other)


def test_the_hash_mask_asks_for_its_key_and_no_other_does() -> None:
    """Deciding about the other masks fetches no key."""
    asked: list[int] = []

    def key() -> bytes:
        asked.append(1)
        return b"k" * 32

    for name in NAMES:
        masking(name, key)
    assert asked == []
    assert masking("hash", key)("Ada") == pseudonym(b"k" * 32, "Ada")
    assert asked == [1]


def test_a_mask_of_ones_own_comes_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by name; its failures, and what is no text, show nothing of the value."""
    points = {
        name: EntryPoint(name, f"{__name__}:{name}", "vaultlayer.masks")
        for name in ("shouting", "broken", "wrong_kind", "through")
    }
    found = {"shouting": str.upper, "broken": int, "wrong_kind": len, "through": str}
    monkeypatch.setattr(masks, "_own", lambda: points)
    monkeypatch.setattr(EntryPoint, "load", lambda point: found[point.name])
    assert "shouting" in mask_names()
    assert masking("shouting", bytes)("ada") == "ADA"
    assert {masking(name, bytes)("ada") for name in points if name != "shouting"} == {HIDDEN}
    with pytest.raises(ConfigurationError, match="unknown mask"):
        masking("nothing", bytes)
