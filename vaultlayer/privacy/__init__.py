"""People's rights: what they agreed to, asked for and were told; emergencies under review.

::

    consent.py     vault.consent: the ledger of what people agreed to and refused
    requests.py    vault.requests: what they ask for, and what becomes of it
    notices.py     vault.notices: which version of the notice they have acknowledged
    subjects.py    vault.subjects: erasing, restricting and reporting on one person
    addressing.py  recipients(): who may be addressed for a purpose
    elevation.py   vault.elevations: roles taken on for a while, and their review
    ledger.py      append-only rows and their leaves in the log, held against each other
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vaultlayer.privacy.addressing import recipients as recipients

__all__ = ["recipients"]


def __getattr__(name: str) -> Any:
    if name == "recipients":  # read when it is first asked for: an import stays light
        from vaultlayer.privacy.addressing import recipients

        return recipients
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
