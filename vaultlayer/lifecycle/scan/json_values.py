"""Personal data inside JSON documents: by the names of their members and by their values."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from vaultlayer.lifecycle.scan import names
from vaultlayer.lifecycle.scan.patterns import look_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TELLING = {
    "email": "email",
    "telling phone": "phone",
    "ip": "ip",
    "card": "card",
    "bank": "bank",
    "telling document": "document",
}


def look_into(values: Sequence[Any], *, declared: bool) -> list[tuple[str, int]]:
    """The kinds of personal data in these documents, with how many values, the most first.

    ``declared``: the column's type is JSON. Of a text column most values must be documents.
    """
    documents = [found for value in values if (found := _parsed(value)) is not None]
    filled = sum(value not in (None, "") for value in values)
    if not documents or (not declared and len(documents) * 2 < filled):
        return []
    kinds: Counter[str] = Counter()
    for document in documents:
        for name, value in _members(document):
            kind = _kind(name, value)
            if kind:
                kinds[kind] += 1
    return kinds.most_common()


def _kind(name: str, value: str) -> str | None:
    hit = names.look(name) if len(name) < 64 else None
    look = look_at([value])
    for pattern, kind in _TELLING.items():
        if look.share(pattern):
            return kind
    if hit is None or hit.weak or names.is_about(name, hit) or look_at([value]).share("url"):
        return None
    fits = hit.kind.name in ("address", "birth", "geo", "phone", "document") or (
        hit.kind.name in ("name", "trait") and look.share("letters") > 0
    )
    return hit.kind.name if fits else None


def _members(document: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Each value with the name it has; a name may be somebody's too."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield "", key
            yield from _members(value, key)
    elif isinstance(document, list):
        for value in document:
            yield from _members(value, name)
    elif document is not None and not isinstance(document, bool):
        yield name, str(document)


def _parsed(value: Any) -> Any:
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return None
    try:
        found = json.loads(value)
    except ValueError:
        return None
    return found if found else None
