"""One artefact: facts of this vault, gathered now, and what they amount to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["there", "finding", "absent"]


@dataclass(frozen=True, slots=True)
class Artefact:
    """``words`` says in a sentence what was found, what is wrong, or why there is nothing.

    ``facts`` holds texts, whole numbers, lists and dicts of them: no value, no person.
    """

    state: State
    words: str
    facts: dict[str, Any] = field(default_factory=dict)


def there(words: str, **facts: Any) -> Artefact:
    return Artefact("there", words, facts)


def finding(words: str, **facts: Any) -> Artefact:
    return Artefact("finding", words, facts)


def absent(words: str, **facts: Any) -> Artefact:
    return Artefact("absent", words, facts)
