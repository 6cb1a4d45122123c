"""``processors.toml``: the third parties that get personal data, and the agreements they signed."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultlayer.access.toml import Table, line_of, read_toml

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import date

FILE = "processors.toml"
_X25519 = re.compile(r"x25519:[A-Za-z0-9_-]{43}")
_PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "k"}  # parts of a JWK (RFC 7518)


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
    public_key: str = ""  # "x25519:…" for HPKE, or a JWK for JWE; "": nothing can be sent yet

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
        public_key=table.text("public_key") if "public_key" in table.left else "",
    )
    table.done()
    if processor.public_key and not is_public_key(processor.public_key):
        raise table.refuse(
            "public_key is no public key",
            "`vaultlayer disclosure key` makes a pair; or give a public JWK as JSON",
        )
    if processor.expires < processor.signed:
        raise table.refuse("expires before it is signed", "set the two dates right")
    return processor


def is_public_key(text: str) -> bool:
    """Whether a text has the form of a public key: ``x25519:`` and base64url, or a JWK."""
    if _X25519.fullmatch(text):
        return True
    try:
        key = json.loads(text)
    except ValueError:
        return False
    known = isinstance(key, dict) and key.get("kty") in ("EC", "OKP", "RSA")
    return known and not _PRIVATE & {*key}
