"""``vaultlayer audit tail``: the latest records, as they are."""

from __future__ import annotations

import heapq
import json
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaultlayer.audit.files import lines_backwards, unavailable
from vaultlayer.cli import question_pages as pages
from vaultlayer.cli.audit_options import DirectoryOption, audit_directory
from vaultlayer.cli.common import ConfigOption, HtmlOption, JsonOption, write_page
from vaultlayer.cli.question_show import RECORD_HEAD, record_rows, table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def tail(
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many records.")] = 20,
    html: HtmlOption = None,
    config: ConfigOption = None,
    directory: DirectoryOption = None,
    json_: JsonOption = False,
) -> None:
    """Show the latest records of all shards, oldest first."""
    folder = audit_directory(config, directory)
    try:
        records = _latest(folder / "log", lines)
    except OSError as error:
        raise unavailable("the audit log can't be read", error) from error
    if html is not None:
        write_page(html, pages.tail(records))
    if json_:
        typer.echo(json.dumps({"records": records}, indent=2))  # in ASCII: see printable()
    elif html is None:
        table(RECORD_HEAD, record_rows(records))


def _latest(logs: Path, count: int) -> list[dict[str, Any]]:
    ends = (record for path in logs.glob("*.jsonl") for record in islice(_records(path), count))
    latest = heapq.nlargest(count, ends, key=lambda r: (str(r.get("ts")), str(r.get("shard"))))
    return sorted(latest, key=lambda r: (str(r.get("ts")), str(r.get("shard")), r.get("seq", 0)))


def _records(path: Path) -> Iterator[dict[str, Any]]:
    for line in lines_backwards(path):
        try:
            record = json.loads(line)
        except ValueError:  # a line that is just being written, or a damaged one: see verify
            continue
        if isinstance(record, dict):
            yield record
