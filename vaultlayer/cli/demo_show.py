"""How the demo looks: tables and text that also read in 80 columns and without colour."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vaultlayer.access.grants import HINTS
from vaultlayer.orm.entity import SUBJECT_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vaultlayer.cli.demo import Cell, Facts, Stored, View

_WIDTH = 80
_DUMP = 16
_MAGIC = b"\xf9\x01"  # docs/format.md, section 1
_EXCERPT = ("seq", "event", "actor", "purpose", "reason", "entity", "fields", "decision",
            "reason_code", "count", "refs", "prev")  # fmt: skip
_WHY = {**HINTS, "no_access": "it was not read inside `with vault.access(principal, purpose=...)`"}


def show(facts: Facts) -> None:
    """Print the story of ``facts`` to stdout."""
    screen = _Screen()
    _views(screen, facts)
    _bytes(screen, facts)
    _log(screen, facts)
    _forgery(screen, facts)
    screen.say()
    if facts.kept:
        screen.say("All of it is kept; for a look at the log:")
        screen.say(f"  vaultlayer audit tail --config {facts.folder}/vaultlayer.toml", whole=True)
    else:
        screen.say("The temporary folder is gone; --folder NAME keeps one to look into.")
    screen.say("To protect your own models: `vaultlayer init`, and README.md.")


class _Screen:
    """stdout, and the signs it can show."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self.ascii = self.console.options.ascii_only

    def say(self, text: str = "", style: str = "", *, whole: bool = False) -> None:
        """Print a text, wrapped between words; ``whole`` lines can be copied from the screen."""
        self.console.print(Text(text, style), soft_wrap=whole)

    def headline(self, text: str) -> None:
        self.say()
        self.say(text, "bold")
        self.say(("-" if self.ascii else "─") * _WIDTH)

    def table(self, *columns: str) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for name in columns:
            table.add_column(name, no_wrap=True)
        return table

    def cell(self, cell: Cell) -> Text:
        """Open, masked or refused: told by a sign, and only then by a colour."""
        match cell.outcome:
            case "mask":
                return Text(f"<{cell.shown}>" if self.ascii else f"‹{cell.shown}›", "yellow")
            case "deny":
                return Text(f"{'x' if self.ascii else '×'} {cell.shown}", "red")
        return Text(cell.shown)


def _views(screen: _Screen, facts: Facts) -> None:
    screen.headline("1. The same five people, looked at by four readers")
    masked, refused = ("<...>", "x") if screen.ascii else ("‹…›", "×")
    screen.say(
        f"{facts.people} made-up people were written to a SQLite file in "
        f"{facts.write_seconds:.1f} s: every personal field\n"
        "sealed, each person under a key of their own. Whoever reads one is decided upon\n"
        f"by the rules in policies/.  {masked} is masked, {refused} is refused."
    )
    for view in facts.views:
        _view(screen, view)
    screen.say("\nWhy refused:")
    cells = [cell for view in facts.views for row in view.rows for cell in row]
    for reason in dict.fromkeys(cell.shown for cell in cells if cell.outcome == "deny"):
        screen.say(f"  {reason}: {_WHY.get(reason, 'see policies/')}")


def _view(screen: _Screen, view: View) -> None:
    reader = view.reader
    screen.say()
    if reader.roles:
        acting = f"role {reader.roles[0]}, purpose {reader.purpose}, reason '{reader.reason}'"
    else:
        acting = "code that named no principal and no purpose"
    screen.say(f"{reader.title}: {acting}", "bold")
    table = screen.table("name", "email", "phone", "born")
    for row in view.rows:
        table.add_row(*map(screen.cell, row))
    screen.console.print(table)


def _bytes(screen: _Screen, facts: Facts) -> None:
    screen.headline("2. One person's row, as somebody sees it who stole the database")
    table = screen.table("column", "bytes", "begins with", "what it is")
    for stored in facts.row:
        table.add_row(*map(Text, _stored(stored)))
    screen.console.print(table)
    name = next(stored.content for stored in facts.row if stored.column == "name")
    screen.say(f"\nThe name, in app.db at byte {facts.name_offset}:")
    for line in _hex_dump(name if isinstance(name, bytes) else b"", facts.name_offset):
        screen.say(line)
    screen.say(f"\nSearched the file for '{facts.name}': not found.")
    screen.say(
        f"Searched the file and the audit log, {facts.searched_bytes:,} bytes, for the names,\n"
        f"e-mail addresses, telephone numbers and birth dates of all {facts.people} people, as\n"
        "UTF-8, UTF-16, hexadecimal, base64 and JSON: none found."
    )


def _stored(stored: Stored) -> Sequence[str]:
    content = stored.content
    if not isinstance(content, bytes):
        plain = "plain: whose row it is, a random number"
        kind = plain if stored.column == SUBJECT_KEY else "plain: it is no personal field"
        return stored.column, "", _shortened(str(content), 16), kind
    kind = "sealed" if content[:2] == _MAGIC else "blind index: shows which rows are equal"
    return stored.column, str(len(content)), f"{content[:5].hex(' ')} …", kind


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 2]} …"


def _hex_dump(data: bytes, offset: int) -> Iterator[str]:
    for start in range(0, len(data), _DUMP):
        part = data[start : start + _DUMP]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        yield f"  {offset + start:08x}  {part.hex(' '):47}  {text}"


def _log(screen: _Screen, facts: Facts) -> None:
    screen.headline("3. What the audit log says about it")
    told: dict[tuple[str, str], dict[str, Any]] = {}
    for record in facts.log:
        told.setdefault((record["actor"]["sub"], record["decision"]), record)
    screen.say(
        f"The reads above left {len(facts.log)} records, refused ones included; these are parts of "
        f"{len(told)}.\n"
        "refs are pseudonyms of the people, count is the number of values. Who opens no\n"
        "access gets nothing, and as there is nobody to name, leaves no record."
    )
    for record in told.values():
        screen.say()
        for line in _wrapped({name: record[name] for name in _EXCERPT if name in record}):
            screen.say(line)


def _wrapped(record: dict[str, Any]) -> Iterator[str]:
    """The record as JSON in lines of at most 80 columns, with long texts and lists cut."""
    line = "{"
    items = [f"{json.dumps(name)}: {_cut(value)}" for name, value in record.items()]
    for number, item in enumerate(items, start=1):
        end = "}" if number == len(items) else ","
        if len(line) + len(item) + 2 > _WIDTH:
            yield line
            line = ""
        line += f"{' ' if number > 1 else ''}{item}{end}"
    yield line


def _cut(value: Any) -> str:
    match value:
        case [first, *_] if len(value) > 2:
            return f"[{_cut(first)}, … {len(value)} in all]"
        case list():
            return "[" + ", ".join(map(_cut, value)) + "]"
        case dict():
            return "{" + ", ".join(f"{json.dumps(k)}: {_cut(v)}" for k, v in value.items()) + "}"
        case str() if len(value) > 24:
            return json.dumps(f"{value[:8]}…", ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False)


def _forgery(screen: _Screen, facts: Facts) -> None:
    screen.headline("4. Can the log be changed afterwards?")
    whole = f"the log is whole, {facts.records} records, each chained to the one before"
    screen.say(f"verify says: {'; '.join(facts.findings) or whole}.\n")
    old, new = facts.tampered
    screen.say(
        "Now somebody makes a refused read look allowed: in a copy of the log,\n"
        f"line {facts.tampered_line}, {old} becomes {new}.\n"
    )
    for finding in facts.tampered_findings or ["nothing found (this must not happen)"]:
        screen.say(f"verify says: {finding}.")
