"""A small clinic: who asks is in the token, what for is in the route, and nothing else is needed.

app = create_app(Vault.open("vaultlayer.toml"), create_engine("sqlite:///clinic.db"))
"""

from collections.abc import Iterator
from typing import Annotated

from fastapi import BackgroundTasks, Depends, FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from sqlalchemy import Engine, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker
from starlette.concurrency import run_in_threadpool

from vaultlayer import PersonalData, Principal, Vault, personal
from vaultlayer_adapters.fastapi import VaultMiddleware, acting

MAILER = Principal("mailer", roles=["mailer"])


class Base(DeclarativeBase):
    pass


class Patient(PersonalData, Base):
    __tablename__ = "patient"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = personal("identity")
    phone: Mapped[str] = personal("contact", mask="last4")
    diagnosis: Mapped[str | None] = personal("health.diagnosis")


class Arrival(BaseModel):
    name: str
    phone: str


class Card(BaseModel):
    name: str
    phone: str


def create_app(
    vault: Vault, engine: Engine, sessions_async: async_sessionmaker[AsyncSession]
) -> FastAPI:
    """The application over a vault and a database; both sessionmakers are attached here."""
    sessions = sessionmaker(engine)
    vault.attach(sessions)
    vault.attach(sessions_async)
    vault.create_tables(engine)
    Base.metadata.create_all(engine)

    Desk = Annotated[Session, Depends(acting("appointments", sessions))]  # noqa: N806
    Treating = Annotated[Session, Depends(acting("treatment", sessions, _why))]  # noqa: N806
    TreatingAsync = Annotated[AsyncSession, Depends(acting("treatment", sessions_async))]  # noqa: N806

    app = FastAPI(title="Clinic")
    app.add_middleware(VaultMiddleware, vault=vault)

    @app.get("/health")
    async def health() -> str:
        return "open to everybody: no personal data here"

    @app.post("/patients")
    def arrive(arrival: Arrival, session: Desk) -> int:
        patient = Patient(name=arrival.name, phone=arrival.phone)
        session.add(patient)
        session.commit()
        return patient.id

    @app.get("/patients/{number}")
    def card(number: int, session: Desk) -> Card:
        patient = session.get_one(Patient, number)
        return Card(name=patient.name, phone=patient.phone)

    @app.put("/patients/{number}/diagnosis")
    def diagnose(number: int, found: str, session: Treating) -> None:
        session.get_one(Patient, number).diagnosis = found
        session.commit()

    @app.get("/patients/{number}/diagnosis")
    async def diagnosis(number: int, session: TreatingAsync) -> str | None:
        return (await session.get_one(Patient, number)).diagnosis

    @app.get("/patients/{number}/letter")
    async def letter(number: int, session: Treating) -> str:
        def write() -> str:  # slow work in a thread: the session brings its access along
            patient = session.get_one(Patient, number)
            return f"Dear {patient.name}, {patient.diagnosis or 'nothing was found'}."

        return await run_in_threadpool(write)

    @app.get("/patients.csv")
    async def export(session: Treating) -> StreamingResponse:
        def lines() -> Iterator[str]:
            for patient in session.scalars(select(Patient).order_by(Patient.id)):
                yield f"{patient.name},{patient.diagnosis or ''}\n"

        return StreamingResponse(lines(), media_type="text/csv")

    @app.post("/patients/{number}/reminder")
    async def remind(number: int, session: Desk, tasks: BackgroundTasks) -> str:
        name = session.get_one(Patient, number).name
        tasks.add_task(_send_reminder, vault, sessions, number)
        return f"{name} will be reminded"

    return app


def _send_reminder(vault: Vault, sessions: sessionmaker[Session], number: int) -> None:
    """After the answer: the desk's access is over, the mailer has one of its own."""
    with (
        sessions() as session,
        vault.access(MAILER, purpose="appointments", reason="reminder", session=session),
    ):
        patient = session.get_one(Patient, number)
        SENT.append(f"To {patient.phone}: {patient.name}, see you tomorrow")


def _why(request: object) -> str:
    number = getattr(request, "path_params", {}).get("number")
    return f"patient {number}" if number else ""


SENT: list[str] = []  # stands for the telephone network
