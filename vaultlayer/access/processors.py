"""``processors.toml``: the third parties that get personal data, and the agreements they signed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultlayer.access.toml import Table, line_of, read_toml

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import date

FILE = "processors.toml"


@dataclass(frozen=True, slots=True)
class Processor:
    """A third party under agreement: nothing goes to one that isn't here (GDPR article 28).

    ``words`` is who it is, as people are told; ``agreement`` its reference; the last day that it
    counts is ``expires``. ``categories`` cover their children; ``regions`` may be ("*",).
    """

    name: str
    words: str
    agreement: str
    signed: date
    expires: date
    purposes: tuple[str, ...]
    categories: tuple[str, ...]
    regions: tuple[str, ...]
    safeguards: str
    contact: str

    def is_valid_on(self, day: date) -> bool:
        """Whether the agreement counts on that day."""
        return self.signed <= day <= self.expires


def parse_processors(
    text: str, categories: Collection[str], purposes: Collection[str]
) -> dict[str, Processor]:
    """The processors by name; each may only be for declared purposes and categories."""
    return {
        name: _processor(Table(FILE, line_of(text, name), name, content), categories, purposes)
        for name, content in read_toml(FILE, text).items()
    }


def _processor(table: Table, categories: Collection[str], purposes: Collection[str]) -> Processor:
    processor = Processor(
        name=table.name,
        words=table.text("words"),
        agreement=table.text("agreement"),
        signed=table.day("signed"),
        expires=table.day("expires"),
        purposes=table.names("purposes", purposes),
        categories=table.names("categories", categories),
        regions=table.regions(),
        safeguards=table.text("safeguards"),
        contact=table.text("contact"),
    )
    table.done()
    if processor.expires < processor.signed:
        raise table.refuse("expires before it is signed", "set the two dates right")
    return processor
