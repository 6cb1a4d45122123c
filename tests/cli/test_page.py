"""A page holds what it is given as text, whatever it is, and reaches for nothing outside itself."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from vaultlayer.pages.page import Html, join, page, table, tag


class _Reader(HTMLParser):
    """The elements, attributes and texts that a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(name)
        self.attributes += attributes

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_a_text_stays_a_text(text: str) -> None:
    """In content and in an attribute: nothing in it becomes markup."""
    seen = _Reader(tag("p", text, title=text))
    assert seen.tags == ["p"]
    assert "".join(seen.texts) == text
    assert seen.attributes == [("title", text)]


def test_attributes_and_pieces() -> None:
    """Names are spelt as HTML wants them; None and False leave the attribute out."""
    made = tag("td", "a", None, Html("<b>b</b>"), [1, "<"], class_="num", data_of=3, hidden=True)
    assert made == '<td class="num" data-of="3" hidden>a<b>b</b>1&lt;</td>'
    assert tag("br", id=None, hidden=False) == "<br>"
    assert join(["a", tag("i", "b")], " & ") == "a &amp; <i>b</i>"
    rows = table(["role", "may"], [["support", "read"]], class_="t")
    assert '<th scope="row">support</th><td>read</td>' in rows


def test_a_page_is_whole_and_reaches_for_nothing() -> None:
    """One document; no script, no address, and a policy that would refuse them."""
    text = page("Roles <1>", tag("p", "x"), subtitle="of a & b")
    seen = _Reader(text)
    assert text.startswith("<!doctype html>")
    assert {"title", "h1", "main", "p", "style"} <= set(seen.tags)
    assert not {"script", "link", "img", "iframe"} & set(seen.tags)
    assert "Roles <1>" in seen.texts
    assert not [each for each in ("http:", "https:", "url(", "@import") if each in text]
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in seen.attributes
    assert "prefers-color-scheme:dark" in text
    assert "@media print" in text
