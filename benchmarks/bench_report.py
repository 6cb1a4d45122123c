"""A person's own report: ten tables, a thousand rows, into JSON, CSV and a page."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks.verdicts import spread
from vaultlayer import PersonalData, Principal, personal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from uuid import UUID

    from benchmarks.ours import Vaulted
    from benchmarks.sizes import Sizes
    from benchmarks.stores import Store

OFFICER = Principal("officer", roles=["privacy_officer"])
ROWS = 1_000


class Base(DeclarativeBase):
    pass


class Member(PersonalData, Base):
    __tablename__ = "report_member"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = personal("identity.name")


class Thing(PersonalData):
    """What nine tables have."""

    __subject__ = "member_id"
    id: Mapped[int] = mapped_column(primary_key=True)
    member_id: Mapped[int] = mapped_column(ForeignKey("report_member.id"), index=True)
    words: Mapped[str] = personal("content.text")
    address: Mapped[str] = personal("contact.address")


THINGS: list[Any] = [
    type(f"Thing{number}", (Thing, Base), {"__tablename__": f"report_thing_{number}"})
    for number in range(9)
]


def test_report(store: Store, sizes: Sizes, report: Callable[..., None], tmp_path: Path) -> None:
    """Each value is read, decided, journaled and opened, and who read it is looked up."""
    ours, each = store.ours, min(sizes.rows, ROWS) // len(THINGS)
    rows = 1 + each * len(THINGS)
    subject = _fill(ours, each)
    seconds = []
    for number in range(max(3, sizes.rounds // 3)):
        with ours.vault.access(OFFICER, purpose="legal_obligation", reason="article 15"):
            start = time.perf_counter()
            made = ours.vault.subjects.report(subject, tmp_path / str(number))
            seconds.append(time.perf_counter() - start)
        assert made["rows"] == rows
    Base.metadata.drop_all(ours.engine)
    section = f"a person's report, {store.database}, 10 tables, {rows:,} rows"
    report(section, "written", spread(seconds), unit="s", at_most=2.0)


def _fill(ours: Vaulted, each: int) -> UUID:
    Base.metadata.create_all(ours.engine)
    ours.vault.databases.attached(ours.engine)
    ours.vault.models = (Base,)
    with ours.sessions() as session, ours.acting():
        member = Member(name="Ada")
        session.add(member)
        session.flush()
        session.add_all(
            thing(member_id=member.id, words=f"words {n}", address=f"{n} Elm Street")
            for thing in THINGS
            for n in range(each)
        )
        session.commit()
        return member.subject_id
