"""vaultlayer as a contender, with everything on: policy, journal, log, a key for every person.

The access is opened and closed inside what is timed, so the log's writing counts.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Mapped, Session, mapped_column

from benchmarks.contenders import Base, Contender, check
from vaultlayer import PersonalData, Principal, Vault, personal
from vaultlayer.keys import tables

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from sqlalchemy import Engine

OURS = "vaultlayer"
POLICIES = Path(__file__).parent.parent / "policies"
SERVICE = Principal("benchmark", roles=["service"])
_LASTS = 30.0  # seconds a key must still be valid for to count as warm


class Person(PersonalData, Base):
    """Each row a data subject with a key of its own."""

    __tablename__ = "vaultlayer_person"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = personal("identity.name")
    email: Mapped[str] = personal("contact.email")
    phone: Mapped[str] = personal("contact.phone")
    address: Mapped[str] = personal("contact.address")


class VaultedSession(Session):
    """The vault listens on this class, and so on no other contender's sessions."""


class Vaulted(Contender):
    """The same work, decided, journaled and bound to its place."""

    session_class = VaultedSession

    def __init__(
        self,
        connect: Callable[[], Engine],
        policies: Path = POLICIES,
        vault: Vault | None = None,
    ) -> None:
        super().__init__(OURS, Person, connect)
        self.purpose = "provide_service"
        self.vault = vault or Vault.ephemeral(policies=policies)
        self.vault.attach(self.session_class)
        self.vault.create_tables(self.engine)

    def acting(self) -> AbstractContextManager[Any]:
        return self.vault.access(SERVICE, purpose=self.purpose)

    def tables(self) -> list[Any]:
        return [Person.__table__, tables.subject_key]

    def warm(self) -> None:
        """See to it, untimed, that the key of every row is cached and stays so for a while."""
        soon = time.monotonic() + _LASTS
        cached = self.vault.keys.cached
        if not cached or min([key.expires for key in cached.values()]) < soon:
            self.cool()
            with self.sessions() as session, self.acting() as access:
                access.prefetch(session.scalars(select(Person)).all())

    def cool(self) -> None:
        """Forget every subject's key; the KEK stays."""
        self.vault.keys.cached.clear()

    def reveal(self, count: int) -> None:
        with self.sessions() as session, self.acting() as access:
            rows = session.scalars(select(Person)).all()
            fields = (Person.name, Person.email, Person.phone, Person.address)
            found = access.reveal(rows, *fields)
        check(found, count)

    def close(self) -> None:
        self.vault.close()
