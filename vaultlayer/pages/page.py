"""One self-contained HTML page: no script, no font, no address outside the file.

Every text that reaches a page passes through ``tag()``, which escapes it; only ``Html`` is taken
as it is. The colours are CSS variables with a light and a dark value, so a chart (inline SVG)
follows the reader's setting by ``fill="var(--series-1)"``.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_EMPTY = frozenset({"br", "hr", "img", "meta"})  # not SVG's: HTML wants their ends


class Html(str):
    """Markup made by this module; a plain ``str`` is text and is escaped."""

    __slots__ = ()


Content = str | int | None


def tag(name: str, /, *content: Content | Iterable[Content], **attributes: object) -> Html:
    """An element. None is left out, of the content and of the attributes.

    ``class_`` and ``for_`` lose their last underscore; the others become hyphens
    (``stroke_width`` is ``stroke-width``). ``True`` gives an attribute without a value.
    """
    inside = "".join(map(_text, content))
    opened = f"<{name}{''.join(_attribute(*each) for each in attributes.items())}>"
    return Html(opened if name in _EMPTY else f"{opened}{inside}</{name}>")


def join(parts: Iterable[Content], between: str = "") -> Html:
    """Several pieces as one."""
    return Html(escape(between).join(map(_text, parts)))


def table(head: Iterable[Content], rows: Iterable[Iterable[Content]], **attributes: object) -> Html:
    """A table with one row of heads; the first cell of each row is that row's head."""
    columns = tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in head)))
    lines = [
        tag("tr", tag("th", first, scope="row"), *(tag("td", cell) for cell in rest))
        for first, *rest in map(list, rows)
    ]
    return tag("table", columns, tag("tbody", lines), **attributes)


def page(
    title: str,
    *body: Content | Iterable[Content],
    subtitle: str = "",
    note: str | None = None,
    css: str = "",
    images: bool = False,
) -> str:
    """The whole document; ``note`` stands out under its title, and ``images`` may be within it.

    ``css`` is added to the common style and must not come from users.
    """
    policy = f"default-src 'none'; style-src 'unsafe-inline'{'; img-src data:' if images else ''}"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        Html(f"<style>{STYLE}{css}</style>"),
    )
    top = tag(
        "header",
        tag("h1", title),
        tag("p", subtitle) if subtitle else None,
        tag("p", note, class_="note warn") if note else None,
    )
    return f'<!doctype html>\n<html lang="en">{head}<body>{top}{tag("main", *body)}</body></html>\n'


def _text(content: Content | Iterable[Content]) -> str:
    if content is None:
        return ""
    if isinstance(content, Html):
        return content
    if isinstance(content, str | int):
        return escape(str(content))
    return "".join(map(_text, content))


def _attribute(name: str, value: object) -> str:
    if value is None or value is False:
        return ""
    name = name.removesuffix("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'


# Contrast of text: 4.5 and more on both grounds (WCAG 2.2, 1.4.3). Print is always light.
_LIGHT = """
--ground:#fff;--raised:#f6f7f9;--line:#d9dde3;--text:#1b1f24;--muted:#59626e;--accent:#1f5fbf;
--good:#1a7f4b;--warn:#9a6200;--bad:#b3261e;--good-soft:#d8f0e2;--warn-soft:#fbeacb;
--bad-soft:#fbdcd9;--series-1:#2f6fd0;--series-2:#d97a1d;--series-3:#23936a;--series-4:#a04fc0;
--series-5:#c43d56;--series-6:#6b7480;
"""
_DARK = """
--ground:#14171b;--raised:#1d2127;--line:#363d47;--text:#e6e9ed;--muted:#a0a9b4;--accent:#7db1ff;
--good:#6ed29d;--warn:#f0b75a;--bad:#ff8f86;--good-soft:#163d2a;--warn-soft:#453311;
--bad-soft:#4d1f1c;--series-1:#6ea4f7;--series-2:#f2a355;--series-3:#58c79c;--series-4:#c98be2;
--series-5:#f0788d;--series-6:#a0a9b4;
"""
STYLE = f"""
:root{{color-scheme:light dark;{_LIGHT}}}
@media screen and (prefers-color-scheme:dark){{:root{{{_DARK}}}}}
*{{box-sizing:border-box}}
body{{margin:0;background:var(--ground);color:var(--text);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}}
header,main{{max-width:76rem;margin:0 auto;padding:0 1.25rem}}
header{{padding-top:2rem;padding-bottom:.5rem}}
main{{padding-bottom:3rem}}
h1{{font-size:1.7rem;line-height:1.2;margin:0}}
h2{{font-size:1.2rem;margin:2.2rem 0 .5rem}}
h3{{font-size:1rem;margin:1.4rem 0 .3rem}}
header p,.muted{{color:var(--muted);margin:.3rem 0 0}}
a{{color:var(--accent)}}
code{{font:.9em ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace}}
table{{border-collapse:collapse;font-size:.92em;margin:.6rem 0}}
th,td{{text-align:left;vertical-align:top;padding:.35rem .7rem;border-bottom:1px solid var(--line)}}
thead th{{background:var(--raised);font-weight:600}}
tbody th{{font-weight:500}}
.num{{text-align:right;font-variant-numeric:tabular-nums}}
.good{{color:var(--good)}}.warn{{color:var(--warn)}}.bad{{color:var(--bad)}}
.note{{border-left:4px solid var(--accent);background:var(--raised);padding:.6rem 1rem;
margin:1rem 0}}
.note.warn{{border-color:var(--warn);color:inherit}}
.note.bad{{border-color:var(--bad);color:inherit}}
svg text{{fill:currentColor;font:12px system-ui,sans-serif}}
@media print{{body{{font-size:10pt}}header,main{{max-width:none;padding:0}}
thead{{display:table-header-group}}tr,svg,figure{{break-inside:avoid}}}}
"""
