"""A clinic whose vault is well, in a database of each kind."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Engine, ForeignKey, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, sessionmaker
from sqlalchemy.pool import StaticPool

from vaultlayer import Equality, PersonalData, Principal, Vault, personal
from vaultlayer.doctor import examine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Base(DeclarativeBase):
    pass


class Patient(PersonalData, Base):
    __tablename__ = "patient"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = personal("identity.name")
    email: Mapped[str | None] = personal("contact.email", search=Equality("email"))


class Visit(PersonalData, Base):
    __tablename__ = "visit"
    __subject__ = "patient"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    patient_id: Mapped[int] = mapped_column(ForeignKey("patient.id"))
    note: Mapped[str] = personal("content.text")
    patient: Mapped[Patient] = relationship()


class Clinic:
    """Three patients with a visit each."""

    Patient = Patient

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine, self.folder = engine, folder
        self.vault = Vault.ephemeral(policies=folder)
        self.vault.models = (Patient,)
        self.Session = sessionmaker(engine)
        self.vault.attach(self.Session)

    def populate(self) -> None:
        self.vault.create_tables(self.engine)
        Base.metadata.create_all(self.engine)
        service = Principal("clinic", ["service"])
        with self.Session() as session, self.vault.access(service, purpose="provide_service"):
            for n in range(3):
                patient = Patient(name=f"Ada {n}", email=f"ada{n}@example.com")
                session.add(Visit(patient=patient, note="a note of hers"))
            session.commit()

    def found(self) -> list[Any]:
        return examine(self.vault)

    def codes(self) -> list[str]:
        return [each.code for each in self.found()]

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        self.vault.reload_policy()


@pytest.fixture
def empty_clinic(bundle: Path) -> Iterator[Clinic]:
    """Attached, and none of its tables is there yet."""
    engine = create_engine("sqlite://", poolclass=StaticPool, hide_parameters=True)
    opened = Clinic(engine, bundle)
    yield opened
    opened.vault.close()
    engine.dispose()


@pytest.fixture
def clinic(empty_clinic: Clinic) -> Clinic:
    empty_clinic.populate()
    return empty_clinic


@pytest.fixture
def any_clinic(any_engine: Engine, bundle: Path) -> Iterator[Clinic]:
    any_engine.hide_parameters = True
    opened = Clinic(any_engine, bundle)
    opened.populate()
    yield opened
    opened.vault.close()
