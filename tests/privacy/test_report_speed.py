"""A person's report over 10 tables and 1,000 of their rows, beside a plain dump of the same."""

from __future__ import annotations

import json
import sys
import time

import pytest
from sqlalchemy import ForeignKey, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from vaultlayer import PersonalData, Principal, Vault, personal

TABLES, ROWS = 9, 111  # beside the person's own


class Base(DeclarativeBase):
    pass


class Member(PersonalData, Base):
    __tablename__ = "speed_member"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = personal("identity.name")


def _child(number):
    return type(
        f"Thing{number}",
        (PersonalData, Base),
        {
            "__tablename__": f"speed_thing_{number}",
            "__subject__": "member_id",
            "__annotations__": {
                "id": Mapped[int],
                "member_id": Mapped[int],
                "words": Mapped[str],
                "address": Mapped[str],
            },
            "id": mapped_column(primary_key=True),
            "member_id": mapped_column(ForeignKey("speed_member.id"), index=True),
            "words": personal("content.text"),
            "address": personal("contact.address"),
        },
    )


THINGS = [_child(number) for number in range(TABLES)]


@pytest.fixture
def full(policies, tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path}/speed.db")
    with Vault.ephemeral(policies=policies) as vault:
        vault.models = (Base,)
        sessions = sessionmaker(engine)
        vault.attach(sessions)
        vault.create_tables(engine)
        Base.metadata.create_all(engine)
        shop = Principal("shop", ["service"])
        with sessions() as session, vault.access(shop, purpose="provide_service"):
            ada = Member(name="Ada")
            session.add(ada)
            session.flush()
            session.add_all(
                thing(member_id=ada.id, words=f"words {n}", address=f"{n} Elm Street")
                for thing in THINGS
                for n in range(ROWS)
            )
            session.commit()
            subject = ada.subject_id
        yield vault, sessions, subject, tmp_path
    engine.dispose()


def test_a_report_takes_no_more_than_two_seconds(full, capsys):
    vault, sessions, subject, folder = full
    officer = Principal("olga", ["privacy_officer"])
    took = []
    for number in range(3):
        with vault.access(officer, purpose="legal_obligation", reason="article 15"):
            began = time.perf_counter()
            made = vault.subjects.report(subject, folder / f"report-{number}")
            took.append(time.perf_counter() - began)
        assert made["rows"] == TABLES * ROWS + 1
    plain = []
    for _ in range(3):
        began = time.perf_counter()
        with sessions() as session, vault.access(officer, purpose="legal_obligation"):
            rows = [
                {"words": row.words, "address": row.address}
                for thing in THINGS
                for row in session.scalars(select(thing))
            ]
        (folder / "dump.json").write_text(json.dumps(rows))
        plain.append(time.perf_counter() - began)
    with capsys.disabled():
        told = f"{min(took):.2f} s, {min(took) / min(plain):.1f} times a plain dump"
        sys.stdout.write(f"\na person's report over 10 tables and 1,000 rows: {told}\n")
    assert min(took) <= 2.0
    assert min(took) <= 20 * min(plain)
