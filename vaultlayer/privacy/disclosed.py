"""The people of each disclosure, and that they are those that the ledger's row has a digest of."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

from sqlalchemy import inspect, select

from vaultlayer.audit.check import Finding
from vaultlayer.ledgers import disclosed, disclosure

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

_C = disclosure.c


def persons_digest(subjects: Iterable[bytes]) -> str:
    """SHA-256 of the people's ids one after another, in rising order."""
    return hashlib.sha256(b"".join(sorted(subjects))).hexdigest()


def check_people(connection: Connection, trail: str) -> list[Finding]:
    """Disclosures whose people were changed in the database."""
    if not inspect(connection).has_table(disclosure.name):
        return []
    mine = _C.number == 1, _C.trail == trail
    told = select(_C.disclosure_id, _C.persons, _C.recorded).where(*mine).order_by(_C.disclosure_id)
    found = []
    for line, (disclosure_id, persons, recorded) in enumerate(connection.execute(told).all(), 1):
        of = select(disclosed.c.subject).where(disclosed.c.disclosure_id == disclosure_id)
        if persons_digest(map(bytes, connection.scalars(of))) != persons:
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(recorded))
            what = f"the disclosure of {when} UTC: its people were changed"
            found.append(Finding(disclosed.name, line, what))
    return found
