"""A text's digest, where a record names something without telling it."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode


def digest(text: str) -> str:
    """128 bits of a text's SHA-256, marked as what it is."""
    whole = hashlib.sha256(text.encode("utf-8", "backslashreplace")).digest()
    return f"sha256:{urlsafe_b64encode(whole)[:22].decode()}"
