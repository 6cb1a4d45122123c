"""A person's report as a folder: report.json, a CSV file a part, one page, pictures and files.

The JSON is exact. In the CSV files a cell that a spreadsheet would take for a formula begins with
an apostrophe. Whatever is bytes is a file of its own, named in the other two.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from typing import TYPE_CHECKING, Any

from vaultlayer.errors import ConfigurationError
from vaultlayer.privacy.report_page import page_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

_KINDS = (
    (b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpeg"), (b"GIF8", "gif"), (b"%PDF-", "pdf")
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_PARTS = {
    "consents": (
        "purpose", "said", "state", "text_version", "channel", "proof", "recorded", "recorded_by"
    ),
    "notices": ("version", "channel", "recorded", "recorded_by"),
    "requests": (
        "request", "kind", "state", "received", "due", "code", "text", "policy_version"
    ),
    "disclosures": (
        "disclosed", "kind", "recipient", "purpose", "basis", "reference", "reason", "fields"
    ),
    "withheld": ("item", "code", "text", "rows"),
    "purposes": ("purpose", "words", "basis", "retention", "categories"),
}  # fmt: skip
_DATA = ("table", "row", "field", "category", "value")
_READS = ("ts", "actor", "event", "decision", "purpose", "basis", "reason", "entity", "fields")


def write(report: Mapping[str, Any], folder: Path) -> str:
    """Write the folder, which must be new or empty, for this user alone; the JSON's SHA-256."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ConfigurationError(
                f"the folder {folder} is not empty", hint="name a new one: nothing is overwritten"
            )
        pictures: dict[str, bytes] = {}
        told = json.dumps(
            _plain(report, _Files(pictures)), indent=2, ensure_ascii=False, default=str
        )
        plain = json.loads(told)
        _put(folder / "report.json", told.encode())
        events = map(_flat, plain["reads"]["events"])
        _put(folder / "data.csv", _csv(_DATA, _cells(plain)))
        _put(folder / "reads.csv", _csv(_READS, _rows(events, _READS)))
        for part, columns in _PARTS.items():
            _put(folder / f"{part}.csv", _csv(columns, _rows(plain[part], columns)))
        if pictures:
            (folder / "files").mkdir(mode=0o700)
        for name, content in pictures.items():
            _put(folder / name, content)
        _put(folder / "index.html", page_of(plain, pictures).encode())
    except OSError as error:
        raise ConfigurationError(
            f"the report can't be written to {folder} ({type(error).__name__})",
            hint="name another folder",
        ) from None
    return hashlib.sha256(told.encode()).hexdigest()


class _Files:
    """Gives whatever is bytes a file's name."""

    def __init__(self, found: dict[str, bytes]) -> None:
        self._found = found

    def put(self, content: bytes) -> dict[str, Any]:
        kind = next((kind for magic, kind in _KINDS if content.startswith(magic)), "bin")
        if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
            kind = "webp"
        name = f"files/{len(self._found) + 1}.{kind}"
        self._found[name] = content
        return {"file": name, "bytes": len(content)}


def _plain(value: Any, files: _Files) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each, files) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, files) for each in value]
    return files.put(bytes(value)) if isinstance(value, bytes | memoryview) else value


def _cells(report: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
    for table in report["data"]:
        for number, row in enumerate(table["rows"], 1):
            for name, value in row.items():
                category = table["fields"].get(name, {}).get("category", "")
                yield table["table"], number, name, category, _text(value)


def _flat(event: Mapping[str, Any]) -> dict[str, Any]:
    return {**event, "actor": event.get("actor", {}).get("sub", "")}


def _rows(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> Iterator[Sequence[Any]]:
    for row in rows:
        yield [_text(row.get(column)) for column in columns]


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict) and "file" in value:
        return str(value["file"])
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _csv(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    written = io.StringIO()
    table = csv.writer(written)
    table.writerow(head)
    for row in rows:
        table.writerow([f"'{c}" if str(c).startswith(_FORMULA) else c for c in row])
    return written.getvalue().encode()


def _put(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
