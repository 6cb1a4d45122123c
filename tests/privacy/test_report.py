"""A person's report: all that is held, who read it and why, and what is withheld and why."""

from __future__ import annotations

import csv
import json
import stat
from uuid import uuid4

import pytest
from sqlalchemy import ForeignKey, create_engine, event, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker
from sqlalchemy.pool import StaticPool

from vaultlayer import AccessDenied, ConfigurationError, PersonalData, Principal, Vault, personal

OFFICER = Principal("olga", ["privacy_officer"])
SAM = Principal("sam", ["support"])
SHOP = Principal("shop", ["service"])
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360f8cfc000000301010018dd8db00000000049454e44ae426082"
)
FILES = {
    "consents.csv", "data.csv", "disclosures.csv", "index.html", "notices.csv", "purposes.csv",
    "reads.csv", "report.json", "requests.csv", "withheld.csv",
}  # fmt: skip


class Base(DeclarativeBase):
    pass


class Member(PersonalData, Base):
    __tablename__ = "member"
    id: Mapped[int] = mapped_column(primary_key=True)
    joined: Mapped[int] = mapped_column(default=2026)
    name: Mapped[str] = personal("identity.name")
    notes: Mapped[str | None] = personal("content.text")
    photo: Mapped[bytes | None] = personal("content.picture")


class Letter(PersonalData, Base):
    """Two people share it: it is its sender's, and tells of the one it goes to."""

    __tablename__ = "letter"
    __subject__ = "sender_id"
    id: Mapped[int] = mapped_column(primary_key=True)
    sender_id: Mapped[int] = mapped_column(ForeignKey("member.id"))
    reader_id: Mapped[int] = mapped_column(ForeignKey("member.id"))
    words: Mapped[str] = personal("content.text")


class Club:
    def __init__(self, policies, folder):
        self.engine = create_engine("sqlite://", poolclass=StaticPool)
        self.vault = Vault.ephemeral(policies=policies)
        self.vault.models = (Base,)
        self.sessions = sessionmaker(self.engine)
        self.vault.attach(self.sessions)
        self.vault.create_tables(self.engine)
        Base.metadata.create_all(self.engine)
        self.folder, self.made = folder, 0
        with self.sessions() as session, self.access(SHOP, "provide_service"):
            ada = Member(name="=Ada <Lovelace>", notes="likes tea", photo=PIXEL)
            bob = Member(name="Bob", notes="likes beer")
            session.add_all([ada, bob])
            session.flush()
            for number in range(3):
                words = f"secret {number} of Ada"
                session.add(Letter(sender_id=ada.id, reader_id=bob.id, words=words))
            session.commit()
            self.ada, self.bob = ada.subject_id, bob.subject_id

    def access(self, principal, purpose, **options):
        return self.vault.access(principal, purpose=purpose, **options)

    def report(self, subject, principal=OFFICER, purpose="legal_obligation"):
        self.made += 1
        folder = self.folder / f"report-{self.made}"
        with self.access(principal, purpose, reason="article 15"):
            self.vault.subjects.report(subject, folder)
        return folder, json.loads((folder / "report.json").read_text())


def tables_of(told):
    return {table["table"]: table for table in told["data"]}


@pytest.fixture
def club(policies, tmp_path):
    opened = Club(policies, tmp_path)
    yield opened
    opened.vault.close()
    opened.engine.dispose()


def test_everything_that_is_held_and_who_read_it(club):
    with club.access(SAM, "customer_service", reason="ticket 4711"), club.sessions() as session:
        assert session.scalars(select(Member).where(Member.id == 1)).one().name
    with club.access(SHOP, "provide_service"):
        club.vault.consent.ask(club.ada, "survey", text_version="2026-01")
        club.vault.consent.refuse(club.ada, "survey", channel="web")
    folder, told = club.report(club.ada)
    tables = tables_of(told)
    [member] = tables["member"]["rows"]
    assert (member["name"], member["notes"], member["joined"]) == (
        "=Ada <Lovelace>", "likes tea", 2026
    )  # fmt: skip
    assert [row["words"] for row in tables["letter"]["rows"]] == [
        f"secret {number} of Ada" for number in range(3)
    ]
    assert (folder / member["photo"]["file"]).read_bytes() == PIXEL
    [read] = [each for each in told["reads"]["events"] if each["actor"]["sub"] == "sam"]
    assert (read["reason"], read["purpose"], read["fields"]) == (
        "ticket 4711", "customer_service", ["name"]
    )  # fmt: skip
    assert [row["said"] for row in told["consents"]] == ["ask", "refuse"]
    assert told["withheld"] == []
    assert {path.name for path in folder.iterdir()} == FILES | {"files"}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir() if p.is_file()} == {0o600}


def test_it_is_read_and_journaled_like_anything_else(club):
    folder, _ = club.report(club.ada)
    _, again = club.report(club.ada)
    mine = [each for each in again["reads"]["events"] if each["actor"]["sub"] == "olga"]
    read = {f"{each['entity']}.{name}" for each in mine for name in each["fields"]}
    assert read == {"member.name", "member.notes", "member.photo", "letter.words"}
    assert {each["reason"] for each in mine} == {"article 15"}
    with pytest.raises(ConfigurationError, match="not empty"), club.access(
        OFFICER, "legal_obligation"
    ):
        club.vault.subjects.report(club.ada, folder)


def test_what_may_not_be_read_is_listed_with_its_reason(club):
    folder, told = club.report(club.ada, SAM, "customer_service")
    codes = {each["item"]: each["code"] for each in told["withheld"]}
    assert codes == {
        "member.notes": "purpose_category",
        "member.photo": "purpose_category",
        "letter.words": "purpose_category",
    }
    assert "tea" not in "".join(
        path.read_text() for path in folder.rglob("*") if path.suffix in (".json", ".csv", ".html")
    )


def test_a_refused_item_appears_with_its_reason(club):
    with club.access(OFFICER, "legal_obligation"):
        asked = club.vault.requests.open(club.ada, "access")
        club.vault.requests.refuse(
            asked.request_id, code="trade_secret", text="It tells how we rate.", items=["content"]
        )
        whole = club.vault.requests.open(club.ada, "erasure")
        club.vault.requests.refuse(
            whole.request_id, code="law_requires", text="Bills are kept ten years."
        )
    folder, told = club.report(club.ada)
    withheld = {each["item"]: (each["code"], each["text"]) for each in told["withheld"]}
    reason = ("trade_secret", "It tells how we rate.")
    assert withheld["member.notes"] == withheld["letter.words"] == reason
    assert "notes" not in tables_of(told)["member"]["rows"][0]
    refused = [(r["kind"], r["code"], r["text"]) for r in told["requests"] if r["code"]]
    assert refused == [("erasure", "law_requires", "Bills are kept ten years.")]
    page = (folder / "index.html").read_text()
    assert "It tells how we rate." in page
    assert "Bills are kept ten years." in page
    assert "likes tea" not in page


def test_two_people_who_share_a_row(club):
    """Each has their own; what is the other's is told of, and not shown."""
    folder, told = club.report(club.bob)
    assert [table["table"] for table in told["data"]] == ["member"]
    [shared] = told["withheld"]
    assert (shared["item"], shared["code"], shared["rows"]) == (
        "letter.reader_id", "others_rights", 3
    )  # fmt: skip
    assert "secret" not in (folder / "report.json").read_text()
    with club.access(OFFICER, "legal_obligation", reason="article 17"):
        club.vault.subjects.erase(club.bob, reason="article 17")
    _, adas = club.report(club.ada)
    assert [row["words"] for row in tables_of(adas)["letter"]["rows"]] == [
        f"secret {number} of Ada" for number in range(3)
    ]


def test_a_report_on_nobody_looks_like_any_other(club):
    """An unknown person, and an erased one: the same files, the same names, nothing in them."""
    with club.access(OFFICER, "legal_obligation"):
        club.vault.subjects.erase(club.bob, reason="article 17")
    folders = [club.report(subject)[0] for subject in (uuid4(), club.ada)]
    names = [{path.name for path in folder.iterdir()} - {"files"} for folder in folders]
    assert names[0] == names[1] == FILES
    nobody, ada = (json.loads((folder / "report.json").read_text()) for folder in folders)
    assert nobody.keys() == ada.keys()
    assert (nobody["data"], nobody["reads"]["total"], nobody["withheld"]) == ([], 0, [])
    _, erased = club.report(club.bob)
    assert "Bob" not in json.dumps(erased)
    assert erased["reads"] == {"total": 0, "readers": [], "events": []}


def test_nobody_is_looked_for_as_somebody_is(club):
    """No look-up ends early: the same statements in the same order, but for two that open what
    there is to open."""
    sent = []
    event.listen(club.engine, "before_cursor_execute", lambda *told: sent.append(told[2]))
    looked = []
    for subject in (club.ada, uuid4()):
        club.vault.keys.forget()
        club.vault.standing.forget()
        sent.clear()
        club.report(subject)
        looked.append(list(sent))
    somebody, nobody = looked
    assert [each for each in somebody if each in nobody] == nobody
    key, standing = (each for each in somebody if each not in nobody)
    assert "FROM vaultlayer_subject_key" in key
    assert "FROM vaultlayer_standing" in standing


def test_a_spreadsheet_takes_no_cell_for_a_formula(club):
    folder, _ = club.report(club.ada)
    with (folder / "data.csv").open(newline="") as file:
        cells = [row["value"] for row in csv.DictReader(file)]
    assert "'=Ada <Lovelace>" in cells
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells)


def test_the_page_opens_and_shows_the_picture(club, browser):
    folder, _ = club.report(club.ada)
    opened = browser(folder / "index.html")
    assert "&lt;Lovelace&gt;" in opened
    assert "<lovelace>" not in opened.lower()
    assert 'src="data:image/png;base64,' in opened


def test_without_an_access_there_is_none(club, tmp_path):
    from vaultlayer import NoAccess

    with pytest.raises(NoAccess):
        club.vault.subjects.report(club.ada, tmp_path / "none")
    with pytest.raises(AccessDenied), club.access(SAM, "customer_service"):
        club.vault.subjects.erase(club.ada, reason="no")
