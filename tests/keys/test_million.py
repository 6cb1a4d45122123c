"""Reading many people costs one call to the provider, however many they are."""

from __future__ import annotations

import sys
import time

import pytest
from sqlalchemy import create_engine, event, insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from vaultlayer import PersonalData, Principal, Vault, personal
from vaultlayer.keys.provider import MemoryProvider

PAGE = 5000


class Base(DeclarativeBase):
    pass


class Reader(PersonalData, Base):
    __tablename__ = "reader"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = personal("identity.name")


@pytest.mark.parametrize(
    "people", [10_000, pytest.param(1_000_000, marks=pytest.mark.soak)], ids="{:_}".format
)
def test_a_million_people_cost_one_call(people, tmp_path, policies, monkeypatch):
    """Each with a key of their own, read by a process that begins with nothing in memory."""
    calls = []
    for verb in ("wrap", "unwrap"):
        real = getattr(MemoryProvider, verb)

        def count(self, *given, real=real, verb=verb):
            calls.append(verb)
            return real(self, *given)

        monkeypatch.setattr(MemoryProvider, verb, count)
    engine = create_engine(f"sqlite:///{tmp_path}/readers.db")
    event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous = OFF"))
    Base.metadata.create_all(engine)
    with Vault.ephemeral(policies=policies) as vault:
        vault.create_tables(engine)
        vault.attach(engine)
        app = Principal("app", roles=["service"])
        began = time.monotonic()
        for start in range(0, people, PAGE):
            rows = [{"name": f"Reader {number}"} for number in range(start, start + PAGE)]
            with Session(engine) as session, vault.access(app, purpose="provide_service"):
                session.execute(insert(Reader), rows)
                session.commit()
        wrote = time.monotonic()
        assert calls == ["wrap", "unwrap"]  # one KEK, tried at once

        vault.keys.forget()
        vault.keys.keks.forget()
        calls.clear()
        seen = 0
        for start in range(0, people, PAGE):
            with Session(engine) as session, vault.access(app, purpose="provide_service") as access:
                page = select(Reader).where(Reader.id > start, Reader.id <= start + PAGE)
                names = access.reveal(session.scalars(page).all(), Reader.name)
                assert names[-1] == f"Reader {start + PAGE - 1}"
                seen += len(names)
        assert seen == people
        assert calls == ["unwrap"]
        assert len(vault.keys.cached) <= 100_000
        took = f"wrote in {wrote - began:.0f} s, read in {time.monotonic() - wrote:.0f} s"
        sys.stderr.write(f"{people} people: {took}, calls to the provider while reading: {calls}\n")
    engine.dispose()
