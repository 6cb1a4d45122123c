"""Helpers for users' own tests: is anything personal on the disk, and what does the log say?"""

from __future__ import annotations

import json
import os
from base64 import b64encode
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaultlayer.audit.event import SCHEMA
from vaultlayer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from vaultlayer.vault import Vault

__all__ = ["assert_no_plaintext", "audit_events", "check_events"]

SHORTEST = 6  # bytes; what is shorter also turns up by chance in megabytes of ciphertext
_CHUNK = 1 << 20
_WORD = 4

Where = bytes | str | os.PathLike[str]


def assert_no_plaintext(where: Where | Iterable[Where], values: Collection[str | bytes]) -> int:
    """Search every byte for ``values``; an AssertionError tells where some are, never what.

    :param where: bytes, a file, a folder with all that is in it, or several of these.
    :param values: what must not be there, each of 6 bytes or more. Dates and numbers are given
        as the texts or bytes they would be stored as. Each is looked for in UTF-8, UTF-16 (both
        orders), hexadecimal, base64 (standard and URL-safe, at all three offsets) and as JSON
        escapes it.
    :returns: the number of bytes searched.
    :raises ConfigurationError: there is nothing to look for, or in, or a value is too short.
    """
    forms = _forms(values)
    longest = max(map(len, forms), default=0)
    needles = {form: [_words(form[start:]) for start in range(_WORD)] for form in forms}
    searched = 0
    found: dict[int, str] = {}
    for name, data in _sources(where):
        searched += len(data)
        for start in range(0, len(data), _CHUNK):
            for form, place in _occurrences(data[start : start + _CHUNK + longest], needles):
                number, encoding = forms[form]
                found.setdefault(
                    number, f"value {number} as {encoding}: {name}, byte {start + place}"
                )
    if not forms or not searched:
        raise ConfigurationError(
            "there is nothing to look for" if searched else "there are no bytes to look in",
            hint="a search for nothing proves nothing: give values, and files with content",
        )
    if found:
        lines = "\n".join(found[number] for number in sorted(found))
        raise AssertionError(f"{len(found)} of {len(values)} values are in plain sight:\n{lines}")
    return searched


def audit_events(vault: Vault) -> list[dict[str, Any]]:
    """All records of the vault's audit log, oldest shard first, each as a dict.

    An access writes its records when its ``with`` block ends: read the log after it.
    """
    logs = vault.settings.audit_directory / "log"
    shards = [path.read_bytes().split(b"\n") for path in sorted(logs.glob("*.jsonl"))]
    return [json.loads(line) for lines in shards for line in lines if line]


def check_events(events: Iterable[Mapping[str, Any]]) -> int:
    """Hold records against the event schema; an AssertionError names the first that doesn't fit.

    The schema is ``vaultlayer/audit/event.schema.json``; the check needs ``jsonschema``.

    :returns: how many records were checked.
    """
    try:
        validator = import_module("jsonschema").Draft202012Validator
    except ModuleNotFoundError:
        raise ConfigurationError(
            "checking events needs jsonschema", hint="install it: pip install jsonschema"
        ) from None
    schema = json.loads(SCHEMA.read_text("utf-8"))
    kinds = {name: place for place in schema["oneOf"] for name in _events_of(schema, place)}
    checked = 0
    for event in events:
        kind = kinds.get(event.get("event", ""))
        if kind is None:
            raise AssertionError(f"no kind of event is called {event.get('event')!r}")
        rules = validator({**kind, "$defs": schema["$defs"]})
        for wrong in rules.iter_errors(event):
            raise AssertionError(f"{event['event']}: {wrong.json_path}: {wrong.message}")
        checked += 1
    return checked


def _events_of(schema: Mapping[str, Any], place: Mapping[str, str]) -> list[str]:
    """The names of the events that one branch of the schema describes."""
    kind = schema["$defs"][place["$ref"].rpartition("/")[2]]["properties"]["event"]
    return list(kind.get("enum", [kind.get("const")]))


def _forms(values: Collection[str | bytes]) -> dict[bytes, tuple[int, str]]:
    """Bytes to look for → the number of the value they are, and its encoding."""
    forms: dict[bytes, tuple[int, str]] = {}
    for number, value in enumerate(values):
        for encoding, form in _encodings(value):
            forms.setdefault(form, (number, encoding))
        raw = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
        if len(raw) < SHORTEST:
            raise ConfigurationError(
                f"value {number} has fewer than {SHORTEST} bytes, so it also turns up by chance",
                hint="look for longer ones, which the test made up for the purpose",
            )
    return forms


def _encodings(value: str | bytes) -> Iterator[tuple[str, bytes]]:
    raw = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
    yield "utf-8", raw
    if isinstance(value, str):
        for name in ("utf-16-le", "utf-16-be"):
            yield name, value.encode(name, "surrogatepass")
        for ascii_only in (True, False):
            escaped = json.dumps(value, ensure_ascii=ascii_only)[1:-1]
            yield "json", escaped.encode("utf-8", "surrogatepass")
    yield "hex", raw.hex().encode()
    yield "hex", raw.hex().upper().encode()
    for offset in range(3):
        # Only the characters that no neighbouring byte has a part in.
        first, end = -(-offset * 8 // 6), (offset + len(raw)) * 8 // 6
        text = b64encode(bytes(offset) + raw)[first:end]
        yield f"base64 at offset {offset}", text
        yield f"base64 at offset {offset}", text.replace(b"+", b"-").replace(b"/", b"_")


def _sources(where: Where | Iterable[Where]) -> Iterator[tuple[str, bytes]]:
    if isinstance(where, bytes):
        yield "the bytes given", where
    elif not isinstance(where, str | os.PathLike):
        for each in where:
            yield from _sources(each)
    elif Path(where).is_dir():
        for file in sorted(Path(where).rglob("*")):
            with suppress(FileNotFoundError):  # renamed meanwhile, as a new checkpoint is
                if file.is_file():
                    yield str(file), file.read_bytes()
    else:
        yield str(where), Path(where).read_bytes()


def _occurrences(
    data: bytes, needles: Mapping[bytes, list[set[int]]]
) -> Iterator[tuple[bytes, int]]:
    """The forms that occur in ``data``, each with its first place.

    A search for each would read the data thousands of times. So the data's own words are looked
    at first: a form can be there only where one of its four alignments has all words in common.
    """
    words = _words(data)
    for form, alignments in needles.items():
        if any(alignment <= words for alignment in alignments):
            place = data.find(form)
            if place >= 0:
                yield form, place


def _words(data: bytes) -> set[int]:
    """The four-byte words of ``data``, as numbers, without an incomplete last one."""
    return set(memoryview(data[: len(data) // _WORD * _WORD]).cast("I"))
