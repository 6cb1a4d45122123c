"""The two ways stored bytes are refused, each with one text for every cause.

One text, so that a failure tells an attacker nothing about how far opening got.
"""

from __future__ import annotations

from vaultlayer.errors import IntegrityError, PlaintextFound


def damaged() -> IntegrityError:
    """The error for every envelope that does not open or does not decode."""
    return IntegrityError(
        "a sealed value is damaged or not in its own place",
        hint="Restore its row from a backup, and find out what changed or moved it.",
    )


def not_sealed() -> PlaintextFound:
    """The error for a stored value that is no envelope at all."""
    return PlaintextFound(
        "a sealed column holds a value that was never sealed",
        hint="Find out what wrote past vaultlayer, and seal the stored values before reading.",
    )
