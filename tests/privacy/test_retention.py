"""Retention: what is past it is found, shown, taken out and recorded; nothing else is touched."""

from __future__ import annotations

import sys
import tracemalloc
from datetime import UTC, date, datetime

import pytest
from sqlalchemy import DateTime, ForeignKey, create_engine, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, sessionmaker
from sqlalchemy.pool import StaticPool

from vaultlayer import (
    AccessDenied,
    Equality,
    IntegrityError,
    KeyErased,
    KeyUnavailable,
    NoAccess,
    PersonalData,
    Principal,
    Vault,
    Words,
    personal,
)
from vaultlayer.errors import ConfigurationError
from vaultlayer.privacy.retention import before, longest, sweep
from vaultlayer.testing import audit_events

OLGA = Principal("olga", ["privacy_officer"])
SHOP = Principal("shop", ["service"])
TODAY = date(2027, 6, 30)
GONE = (KeyErased, KeyUnavailable, IntegrityError)


class Base(DeclarativeBase):
    pass


class Visitor(PersonalData, Base):
    __tablename__ = "visitor"
    __collected__ = "seen"
    id: Mapped[int] = mapped_column(primary_key=True)
    seen: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    name: Mapped[str] = personal("identity.name")
    email: Mapped[str | None] = personal("contact.email", search=[Equality("email"), Words()])
    log: Mapped[str | None] = personal("usage.log")


class Click(PersonalData, Base):
    __tablename__ = "click"
    __subject__ = "visitor"
    __collected__ = "day"
    id: Mapped[int] = mapped_column(primary_key=True)
    visitor_id: Mapped[int] = mapped_column(ForeignKey("visitor.id"))
    day: Mapped[date]
    page: Mapped[str] = personal("usage.log")
    visitor: Mapped[Visitor] = relationship()


class Undated(PersonalData, Base):
    __tablename__ = "undated"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = personal("identity.name")


class Site:
    """Visitors of several ages; usage logs are kept a year, the rest ten."""

    def __init__(self, engine, folder):
        purposes = folder / "purposes.toml"
        lines = [line for line in purposes.read_text().split("\n") if line]
        kept = "\n".join(lines).replace('"usage", ', "").replace('"usage.log", ', "")
        kept = kept.replace('["usage.log", "device', '["device')
        kept += (
            '\n[measuring]\nwords = "To count"\nbasis = "legitimate_interests"\nconsent = false\n'
            'categories = ["usage.log"]\nregions = ["*"]\nretention = "1 year"\n'
        )
        purposes.write_text(kept)
        rules = folder / "roles.csv"
        lines = [line for line in rules.read_text().split("\n") if "usage" not in line]
        lines += [
            f"p, {who}, {what}, measuring, allow"
            for who, what in (
                ("service", "usage.log, write"), ("service", "usage.log, read"),
                ("service", "identity.name, write"), ("privacy_officer", "usage.log, erase"),
            )
        ]  # fmt: skip
        rules.write_text("\n".join(lines) + "\n")
        (folder / "tests.toml").unlink()
        self.engine = engine
        self.vault = Vault.ephemeral(policies=folder)
        self.vault.models = (Visitor,)
        self.Session = sessionmaker(engine)
        self.vault.attach(self.Session)
        self.vault.create_tables(engine)
        Base.metadata.create_all(engine)

    def add(self, *days, logs=True):
        """A visitor and a click for each day."""
        with self.Session() as session:
            for number, day in enumerate(days):
                seen = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
                visitor = Visitor(seen=seen)
                with self.vault.access(SHOP, purpose="provide_service"):
                    visitor.name, visitor.email = "Ada", f"ada{number}@example.com"
                    session.add(visitor)
                    session.flush()
                if not logs:
                    continue
                with self.vault.access(SHOP, purpose="measuring"):
                    visitor.log = "looked at hats"
                    session.add(Click(visitor=visitor, day=day, page="/hats"))
                    session.flush()
            session.commit()
            return list(session.scalars(select(Visitor.subject_id).order_by(Visitor.id)))

    def sweep(self, *, purpose="measuring", who=OLGA, **options):
        with self.vault.access(who, purpose=purpose, reason="retention"):
            return sweep(self.vault, today=TODAY, **options)

    def logs(self):
        """What reading each visitor's log, and each click's page, gives."""
        with self.Session() as session, self.vault.access(SHOP, purpose="measuring"):
            return [
                [_outcome(row, name) for row in session.scalars(select(cls).order_by(cls.id))]
                for cls, name in ((Visitor, "log"), (Click, "page"))
            ]


def _outcome(row, name):
    try:
        return getattr(row, name)
    except GONE:
        return "gone"
    except AccessDenied as refused:
        return refused.reason


@pytest.fixture
def site(bundle):
    engine = create_engine("sqlite://", poolclass=StaticPool)
    opened = Site(engine, bundle)
    yield opened
    opened.vault.close()
    engine.dispose()


@pytest.fixture
def any_site(any_engine, bundle):
    opened = Site(any_engine, bundle)
    yield opened
    opened.vault.close()


def test_what_is_past_its_retention_goes_and_nothing_else(any_site):
    """By the day; a nullable field becomes NULL, another opens no more; the name stays."""
    site = any_site
    site.add(date(2026, 6, 29), date(2026, 6, 30), date(2027, 6, 1))
    dry = site.sweep()
    assert not dry.done
    assert [(one.table, one.rows, one.values) for one in dry.swept] == [
        ("click", 1, 1), ("visitor", 1, 1)
    ]  # fmt: skip
    assert dry.swept[1].fields == ("visitor.log",)
    assert (dry.swept[0].retention, dry.swept[0].before) == ("1 year", date(2026, 6, 30))
    assert dry.undated == ["undated"]
    assert site.logs() == [["looked at hats"] * 3, ["/hats"] * 3]
    done = site.sweep(dry_run=False)
    assert (done.done, done.swept) == (True, dry.swept)
    assert site.logs() == [
        [None, "looked at hats", "looked at hats"], ["gone", "/hats", "/hats"]
    ]  # fmt: skip
    with site.Session() as session, site.vault.access(SHOP, purpose="provide_service"):
        assert [row.name for row in session.scalars(select(Visitor))] == ["Ada"] * 3
        one = session.scalars(select(Visitor).where(Visitor.email == "ada0@example.com")).one()
        assert one.email == "ada0@example.com"
    assert site.sweep().swept == []
    told = [each for each in audit_events(site.vault) if each["event"] == "fields_expired"]
    assert [(each["entity"], each["values"], each["before"]) for each in told] == [
        ("click", 1, "2026-06-30"), ("visitor", 1, "2026-06-30")
    ]  # fmt: skip


def test_what_is_found_by_goes_too(site):
    """Blind indexes in the table and beside it; the other people are found as before."""
    site.add(date(2015, 1, 1), date(2027, 1, 1), logs=False)
    with site.engine.begin() as connection:
        terms = connection.scalar(text("SELECT count(*) FROM vaultlayer_term"))
    site.sweep(dry_run=False, purpose="legal_obligation")
    with site.engine.begin() as connection:
        left = connection.scalar(text("SELECT count(*) FROM vaultlayer_term"))
        found = connection.execute(text("SELECT email, email_bidx FROM visitor ORDER BY id")).all()
    assert 0 < left < terms
    assert tuple(found[0]) == (None, None)
    assert None not in found[1]
    with site.Session() as session, site.vault.access(SHOP, purpose="provide_service"):
        one = session.scalars(select(Visitor).where(Visitor.email == "ada1@example.com")).one()
        assert one.name == "Ada"


def test_a_restricted_person_waits(site):
    """Until the restriction is lifted."""
    people = site.add(date(2020, 1, 1), date(2020, 1, 1))
    with site.vault.access(OLGA, purpose="legal_obligation"):
        site.vault.subjects.restrict(people[0])
    assert [one.rows for one in site.sweep().swept if one.retention == "1 year"] == [1, 1]
    site.sweep(dry_run=False)
    assert site.logs() == [["restricted", None], ["restricted", "gone"]]
    with site.vault.access(OLGA, purpose="legal_obligation"):
        site.vault.subjects.lift_restriction(people[0])
    assert site.logs() == [["looked at hats", None], ["/hats", "gone"]]
    site.sweep(dry_run=False)
    assert site.logs() == [[None, None], ["gone", "gone"]]


def test_it_takes_an_access_that_may_erase(site):
    """No access, or one without the right: nothing is taken out."""
    site.add(date(2020, 1, 1))
    with pytest.raises(NoAccess):
        sweep(site.vault)
    with pytest.raises(AccessDenied):
        site.sweep(who=SHOP, dry_run=False)
    assert site.logs() == [["looked at hats"], ["/hats"]]


def test_a_killed_sweep_is_run_again(site, monkeypatch):
    """What was done is done and recorded; the next run does the rest."""
    monkeypatch.setattr("vaultlayer.privacy.due.CHUNK", 2)
    site.add(*[date(2020, 1, 1)] * 5)
    done = []

    def dies(table, rows):
        done.append(rows)
        if len(done) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        site.sweep(dry_run=False, progress=dies)
    assert site.logs() == [["looked at hats"] * 5, ["gone"] * 4 + ["/hats"]]
    site.sweep(dry_run=False)
    assert site.logs() == [[None] * 5, ["gone"] * 5]
    told = [each for each in audit_events(site.vault) if each["event"] == "fields_expired"]
    assert sum(each["values"] for each in told) == 10


def test_days_months_and_years_end_where_a_calendar_says():
    """The last day of a short month; a leap year's."""
    assert before(date(2027, 3, 31), "30 days") == date(2027, 3, 1)
    assert before(date(2027, 3, 31), "1 month") == date(2027, 2, 28)
    assert before(date(2028, 2, 29), "1 year") == date(2027, 2, 28)
    assert before(date(2027, 1, 15), "13 months") == date(2025, 12, 15)


def test_the_longest_purpose_counts(site):
    """Ten years of archiving outlast three of the service; nobody explains an unknown one."""
    bundle = site.vault.snapshot.bundle
    assert longest(bundle, "usage.log") == "1 year"
    assert longest(bundle, "identity.name") == "10 years"
    assert longest(bundle, "health") is None


def test_a_column_that_says_no_time_is_refused(site, monkeypatch):
    """With the remedy."""
    monkeypatch.setattr(Visitor, "__collected__", "id")
    with pytest.raises(ConfigurationError, match="created_at"):
        site.sweep()


def _memory(site, rows):
    """The peak of a sweep over so many rows, in bytes; the rows hold no real envelopes."""
    sealed = b"\xf9\x01\x00" + bytes(60)
    seen = datetime(2020, 1, 1, tzinfo=UTC)
    with site.engine.begin() as connection:
        for start in range(0, rows, 10_000):
            connection.exec_driver_sql(
                "INSERT INTO visitor (subject_id, seen, name, log) VALUES (?, ?, ?, ?)",
                [
                    (f"{number:032x}", seen.isoformat(" ")[:19] + ".000000", sealed, sealed)
                    for number in range(start, min(rows, start + 10_000))
                ],
            )
    tracemalloc.start()
    told = site.sweep(dry_run=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(one.values for one in told.swept if one.table == "visitor") >= rows
    return peak


def test_memory_stays_flat(site):
    """Ten times the people, the same memory."""
    assert _memory(site, 20_000) < 25 << 20


@pytest.mark.soak
def test_memory_stays_flat_over_a_million(site, capsys):
    """One million people."""
    peak = _memory(site, 1_000_000)
    with capsys.disabled():
        sys.stdout.write(f"\nsweep: peak {peak:,} bytes over 1,000,000 people\n")
    assert peak < 25 << 20
