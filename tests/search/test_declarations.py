"""What is declared: refused where it can't be kept, and held against how the index was made."""

from __future__ import annotations

import dataclasses
import enum
from datetime import date
from importlib import metadata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import ForeignKey, create_engine, event, select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    configure_mappers,
    mapped_column,
    relationship,
    sessionmaker,
)

from vaultlayer import (
    Buckets,
    Compound,
    ConfigurationError,
    Equality,
    PersonalData,
    Prefix,
    Principal,
    Substring,
    Vault,
    Words,
    personal,
)
from vaultlayer.crypto.codecs import codec_for
from vaultlayer.orm.entity import entity_of
from vaultlayer.search import normalizers
from vaultlayer.search.normalizers import Normalizer, named
from vaultlayer_adapters.phone import PHONE


def mapped(kind, **fields):
    """A class of its own with the given personal fields: name → (type, search)."""

    class Base(DeclarativeBase):
        pass

    body = {"__tablename__": "thing", "id": mapped_column(primary_key=True)}
    body["__annotations__"] = {"id": Mapped[int]}
    for name, (python_type, search) in fields.items():
        body[name] = personal("content.text", search=search)
        body["__annotations__"][name] = Mapped[python_type | None]
    cls = type(kind, (PersonalData, Base), body)
    configure_mappers()
    return cls


class Few(enum.Enum):
    RED = 1
    BLUE = 2


Many = enum.Enum("Many", [f"V{number}" for number in range(20)])

REFUSED = {
    "a boolean": lambda: mapped("A", a=(bool, Equality())),
    "a small enum": lambda: mapped("B", a=(Few, Equality())),
    "a boolean in bands": lambda: mapped("C", a=(bool, Buckets(0, 1))),
    "a text normalizer on dates": lambda: mapped("D", a=(date, Equality("email"))),
    "a date normalizer on texts": lambda: mapped("E", a=(str, Equality("date:year"))),
    "words of numbers": lambda: mapped("F", a=(int, Words())),
    "bands of another type": lambda: mapped("G", a=(str, Buckets(1, 2))),
    "cells of texts": lambda: mapped("H", a=(str, Buckets.cells(1))),
    "a compound of nothing": lambda: mapped("I", a=(str, Compound("b"))),
    "an unknown normalizer": lambda: Equality("soundex"),
    "a wrong argument": lambda: Equality("first:many"),
    "an argument too much": lambda: Equality("email:x"),
    "no length": lambda: Prefix(),
    "a length of nothing": lambda: Prefix(0),
    "an n too small": lambda: Substring(1),
    "falling bounds": lambda: Buckets(2, 1),
    "mixed bounds": lambda: Buckets(1, date(2000, 1, 1)),
    "too many bounds": lambda: Buckets(*range(1001)),
    "a cell too wide": lambda: Buckets.cells(91),
    "a compound alone": lambda: Compound(),
    "two of one kind": lambda: personal("content.text", search=(Equality(), Equality("email"))),
    "words and parts": lambda: personal("content.text", search=(Words(), Substring())),
    "no kind": lambda: personal("content.text", search="email"),
    "unique without equality": lambda: personal("content.text", search=Prefix(3), unique=True),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_declaration_that_cant_be_kept_is_refused(what):
    with pytest.raises(ConfigurationError) as refused:
        REFUSED[what]()
    assert refused.value.hint


def test_many_values_may_be_indexed():
    assert mapped("J", a=(Many, Equality()), b=(bool, Compound("a")))


SAME = {
    "email": [" ADA@Example.com", "ada@example.com"],
    "casefold": ["Straße  x", "STRASSE X", "strasse x "],
    "digits": ["12-34", " 1234", "\uff11\uff12\uff13\uff14"],
    "first:3": ["Adam", "ADA lovelace"],
    "phone:GB": ["020 7946 0000", "+44 20 7946 0000", "+44 (0)20 7946 0000", "0044 2079460000"],
    "date:year": [date(2000, 1, 1), date(2000, 12, 31)],
    "date:month-day": [date(1999, 2, 3), date(2001, 2, 3)],
}


@pytest.mark.parametrize("spec", SAME)
def test_spellings_of_one_value(spec):
    assert len({named(spec).text(value) for value in SAME[spec]}) == 1
    assert named(spec).label.startswith(f"{spec}/")


UNTAKEN = {"phone": ["call me", "+", "12"], "digits": ["none", ""], "first:3": ["", " "]}


@pytest.mark.parametrize("spec", UNTAKEN)
def test_what_cant_be_normalised_is_found_by_itself_alone(spec):
    """Two values that a normalizer can't take are not taken for the same one."""
    codec, kind = codec_for(str), Equality(spec)
    payloads = [kind.stored(codec, codec.encode(value)) for value in ("call me", "call you", "!")]
    assert len({each[0] for each in payloads}) == len(payloads) or spec == "first:3"
    for value in UNTAKEN[spec]:
        stored = kind.stored(codec, codec.encode(value))
        assert kind.ask(codec, "in", [value.upper()]).groups == [stored]


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=30), st.text(max_size=30))
def test_prefixes_words_and_parts_agree_with_python(text, other):
    """What an index says of any two texts is what the folded texts say."""
    codec = codec_for(str)
    prefix, part = Prefix(3), Substring(3)
    folded, asked = normalizers.casefolded(text), normalizers.casefolded(other)
    for kind, op, truth in (
        (prefix, "startswith", folded.startswith(asked)),
        (part, "contains", asked in folded),
    ):
        question = kind.ask(codec, op, [other.strip()])
        if question is None:
            assert len(asked) < 3
            continue
        stored = set(kind.stored(codec, codec.encode(text)))
        found = all(stored & set(group) for group in question.groups)
        assert (found and (question.check is None or question.check(text))) == truth


@settings(max_examples=60, deadline=None)
@given(st.integers(-100, 200), st.integers(-100, 200), st.integers(-100, 200), st.booleans())
def test_bands_agree_with_python(value, low, high, with_high):
    codec, kind = codec_for(int), Buckets(18, 30, 45, 65)
    question = kind.ask(codec, "range", (low, True, high, with_high))
    stored = kind.stored(codec, codec.encode(value))
    found = bool(set(stored) & set(question.groups[0]))
    truth = low <= value and (value <= high if with_high else value < high)
    assert (found and (question.check is None or question.check(value))) == truth


@settings(max_examples=60, deadline=None)
@given(st.dates(), st.dates(), st.dates(), st.booleans(), st.booleans())
def test_years_agree_with_python(value, low, high, with_low, with_high):
    codec, kind = codec_for(date), Buckets.years(1900, 2030, width=5)
    question = kind.ask(codec, "range", (low, with_low, high, with_high))
    found = bool(set(kind.stored(codec, codec.encode(value))) & set(question.groups[0]))
    above = value > low or (with_low and value == low)
    truth = above and (value < high or (with_high and value == high))
    assert (found and (question.check is None or question.check(value))) == truth


def test_an_own_normalizer_by_entry_point(monkeypatch):
    """An application's normalizer has a version like the others; what is none is refused."""
    own = {"backwards": Normalizer(7, lambda value, _: value[::-1]), "broken": "nothing"}
    points = [metadata.EntryPoint(name, f"own:{name}", "own") for name in own]
    monkeypatch.setattr(metadata.EntryPoint, "load", lambda self: own[self.name])
    monkeypatch.setattr(normalizers, "entry_points", lambda group: points)
    normalizers.named.cache_clear()
    assert Equality("backwards").name == "equality/backwards/7"
    with pytest.raises(ConfigurationError, match="gives no"):
        Equality("broken")

    def absent(self):
        raise ImportError

    monkeypatch.setattr(metadata.EntryPoint, "load", absent)
    normalizers.named.cache_clear()
    with pytest.raises(ConfigurationError, match="can't be loaded"):
        Equality("backwards")
    monkeypatch.undo()
    normalizers.named.cache_clear()


def change_version(monkeypatch, world, version):
    """The next release of a normalizer, in a new process."""
    newer = dataclasses.replace(PHONE, version=version)
    spec = "phone:GB"
    changed = dataclasses.replace(named(spec), label=f"{spec}/{version}", normalizer=newer)
    known = named

    def renewed(asked):
        return changed if asked == spec else known(asked)

    monkeypatch.setattr("vaultlayer.search.kinds.named", renewed)
    index = entity_of(world.Person.__mapper__).fields["phone"].indexes[0]
    monkeypatch.setattr(index, "name", index.kind.name)
    world.vault.indexes.forget()


def test_a_changed_version_is_refused_until_it_is_indexed_anew(any_world, monkeypatch):
    """When a vault is attached to the database, and at each use all the same."""
    world = any_world
    world.populate()
    with Vault.ephemeral(policies=world.vault.settings.policies) as another:
        another.attach(world.engine)
    change_version(monkeypatch, world, 3)
    targets = [world.engine, world.Session]
    if world.engine.dialect.name == "sqlite":
        url = world.engine.url.set(drivername="sqlite+aiosqlite")
        targets += [create_async_engine(url), async_sessionmaker(create_async_engine(url))]
    for target in targets:
        with Vault.ephemeral(policies=world.vault.settings.policies) as another:
            with pytest.raises(ConfigurationError, match=r"person\.phone was made in another"):
                another.attach(target)
            another.attach(target, check_indexes=False)
    phone = world.Person.phone
    with pytest.raises(ConfigurationError, match="another way") as refused:
        world.names(phone == "+442079460000")
    assert "keys reseal" in refused.value.hint
    with pytest.raises(ConfigurationError, match="another way"):
        world.add(world.Person(name="Eve Eve", phone="+442079460009"))
    assert world.names(world.Person.email == "ada@example.com") == ["Ada"]  # the others go on
    with world.officer():
        assert world.vault.keys.reseal(dry_run=True).ok
    with pytest.raises(ConfigurationError, match="another way"):
        world.names(phone == "+442079460000")
    with world.officer():
        assert world.vault.keys.reseal().ok
    assert world.names(phone == "+442079460000") == ["Ada"]
    world.add(world.Person(name="Eve Eve", phone="+442079460009"))
    assert world.names(phone == "020 7946 0009") == ["Eve"]
    with Vault.ephemeral(policies=world.vault.settings.policies) as another:
        another.attach(world.engine)


def test_attaching_asks_once_and_goes_on_without_a_database(world, tmp_path):
    """Mappers need not be configured by then, and no connection stays that a fork would share."""
    world.populate()

    class Base(DeclarativeBase):
        pass

    class Unfinished(PersonalData, Base):
        __tablename__ = "unfinished"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str] = personal("identity.name", search=Equality())
        other: Mapped[Any] = relationship("NotImportedYet")

    engine, asked = create_engine(world.engine.url), []
    event.listen(engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    event.listen(engine, "connect", lambda *_: asked.append("open"))
    event.listen(engine, "close_detached", lambda *_: asked.append("closed"))
    try:
        with Vault.ephemeral(policies=world.vault.settings.policies) as vault:
            for _ in range(2):
                vault.attach(engine)
            assert sum("FROM vaultlayer_index" in each for each in asked) == 1
            assert (asked[0], asked.count("open"), asked.count("closed")) == ("open", 1, 1)
            vault.attach(create_engine(f"sqlite:///{tmp_path}/absent/people.db"))
    finally:
        Base.registry.dispose()


@pytest.mark.parametrize("kind", [Equality(), Compound("other")])
def test_an_index_declared_later_is_refused_until_it_is_made(sqlite_engine, bundle, kind):
    """Rows stored before the index was declared would be missed; afterwards all are found."""

    def thing(search):
        class Base(DeclarativeBase):
            pass

        class Thing(PersonalData, Base):
            __tablename__ = "thing"
            id: Mapped[int] = mapped_column(primary_key=True)
            word: Mapped[str] = personal("content.text", str, search=search)
            other: Mapped[str | None] = personal("content.text", str | None)

        return Thing

    before, later = thing(None), thing(kind)
    later.metadata.create_all(sqlite_engine)

    def find(session):
        pair = [later.other == "two"] if isinstance(kind, Compound) else []
        return len(session.scalars(select(later).where(later.word == "one", *pair)).all())

    with Vault.ephemeral(policies=bundle) as vault:
        sessions = sessionmaker(sqlite_engine)
        vault.models = (later,)
        vault.attach(sessions)
        vault.attach(sqlite_engine)
        vault.create_tables(sqlite_engine)
        service = Principal("app", roles=["service"])

        def acting(do):
            with sessions() as session, vault.access(service, purpose="provide_service"):
                found = do(session)
                session.commit()
                return found

        if isinstance(kind, Compound):  # half a pair has no term that could be missed
            acting(lambda session: session.add(before(word="one", other=None)))
            assert acting(find) == 0
            vault.indexes.forget()
        acting(lambda session: session.add(before(word="one", other="two")))
        for use in (find, lambda session: session.add(later(word="three", other="four"))):
            with pytest.raises(ConfigurationError, match="lacks rows") as refused:
                acting(use)
            assert "keys reseal" in refused.value.hint
        officer = Principal("olga", roles=["privacy_officer"])
        with vault.access(officer, purpose="legal_obligation"):
            assert vault.keys.reseal().ok
        assert acting(find) == 1
        acting(lambda session: session.add(later(word="three", other="four")))


def test_a_field_in_a_mixin_and_a_joined_subclass():
    class Base(DeclarativeBase):
        pass

    class Named:
        name: Mapped[str] = personal("identity.name", search=(Equality("casefold"), Prefix(3)))

    class Human(Named, PersonalData, Base):
        __tablename__ = "human"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Clerk(Human):
        __tablename__ = "clerk"
        id: Mapped[int] = mapped_column(ForeignKey("human.id"), primary_key=True)
        note: Mapped[str | None] = personal("content.text", search=Words())

    configure_mappers()
    assert {"name_bidx", "name_bidx_prefix3"} <= set(Human.__table__.c.keys())
    assert "note_bidx_words" in Clerk.__table__.c
    assert len(Human.__table__.indexes) == 2
