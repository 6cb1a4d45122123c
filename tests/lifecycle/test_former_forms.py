"""A field that got another name, type or padding: either form opens until all is resealed."""

from __future__ import annotations

import os
import random
import signal
import uuid
from contextlib import suppress
from datetime import date

import pytest
from sqlalchemy import ForeignKey, create_engine, event, select
from sqlalchemy.exc import IntegrityError as UniqueViolation
from sqlalchemy.orm import DeclarativeBase, Mapped, configure_mappers, mapped_column, relationship
from sqlalchemy.orm.attributes import flag_modified

from vaultlayer import Equality, Former, PersonalData, Words, personal
from vaultlayer.errors import (
    ConfigurationError,
    IntegrityError,
    UnsupportedQuery,
    VaultLayerError,
)

FORMER = "values in a former form"


class Before(DeclarativeBase):
    pass


class Guest(PersonalData, Before):
    __tablename__ = "guest"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = personal("identity.name", padded=True)
    mail: Mapped[str | None] = personal("contact.email", search=Equality("email"), unique=True)
    born: Mapped[str | None] = personal("identity.birth_date")


class Stay(PersonalData, Before):
    __tablename__ = "stay"
    __subject__ = "guest"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    guest_id: Mapped[int] = mapped_column(ForeignKey("guest.id"))
    note: Mapped[str | None] = personal("content.text")
    guest: Mapped[Guest] = relationship()


def version(*, formerly: bool, was: str = "guest") -> type[DeclarativeBase]:
    """The application's next version; without ``formerly`` the one after it."""

    def since(name: str, *kind: object) -> dict[str, object]:
        return {"formerly": Former(f"{was}.{name}", *kind)} if formerly else {}

    class Now(DeclarativeBase):
        pass

    class Visitor(PersonalData, Now):
        __tablename__ = "guest"
        __entity__ = "visitor"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str] = personal("identity.name", **since("name"))
        email: Mapped[str | None] = personal(
            "contact.email", name="mail", search=Equality("email"), unique=True, **since("mail")
        )
        born: Mapped[date | None] = personal(
            "identity.birth_date", **since("born", str, date.fromisoformat)
        )

    class Stay(PersonalData, Now):
        __tablename__ = "stay"
        __subject__ = "guest"
        id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
        guest_id: Mapped[int] = mapped_column(ForeignKey("guest.id"))
        remark: Mapped[str | None] = personal(
            "content.picture", name="note",
            **({"formerly": Former("stay.note")} if formerly else {}),
        )  # fmt: skip
        guest: Mapped[Visitor] = relationship()

    configure_mappers()
    Now.Visitor, Now.Stay = Visitor, Stay
    return Now


NOW, AFTERWARDS, WRONG = (
    version(formerly=True), version(formerly=False), version(formerly=True, was="host")
)  # fmt: skip
ROWS = [("Ada", "ada@example.com", date(1815, 12, 10)), ("Bob", None, None)]


def stay_in(shop, *names):
    """What the former version stores."""
    Before.metadata.create_all(shop.engine)
    with shop.sessions() as session, shop.service():
        for name in names:
            mail, born = (f"{name}@example.com", "1815-12-10") if name != "bob" else (None, None)
            guest = Guest(name=name.title(), mail=mail, born=born)
            session.add(Stay(guest=guest, note=f"{name} was here"))
        session.commit()


def rows(shop, now):
    with shop.sessions() as session, shop.service():
        found = session.scalars(select(now.Visitor).order_by(now.Visitor.id)).all()
        return [(each.name, each.email, each.born) for each in found]


def remarks(shop, now):
    with shop.sessions() as session, shop.service():
        return sorted(session.scalars(select(now.Stay.remark)))


def find(shop, now, email):
    with shop.sessions() as session, shop.service():
        query = select(now.Visitor).where(now.Visitor.email == email)
        return [each.name for each in session.scalars(query)]


def reseal(shop, now, **options):
    shop.vault.models = (now,)
    with shop.officer():
        return shop.vault.keys.reseal(**options)


def left(report):
    return {proof.what: (proof.left, proof.of) for proof in report.proofs}


def test_either_form_opens_until_all_of_it_is_resealed(any_shop):
    """Read, found, held apart and written, in the ORM and by columns; afterwards as declared."""
    shop = any_shop
    stay_in(shop, "ada", "bob")
    assert rows(shop, NOW) == ROWS
    assert remarks(shop, NOW) == ["ada was here", "bob was here"]
    with shop.sessions() as session, shop.service() as access:
        found = session.scalars(select(NOW.Visitor).order_by(NOW.Visitor.id)).all()
        fields = NOW.Visitor.name, NOW.Visitor.email, NOW.Visitor.born
        assert access.reveal(found, *fields) == ROWS
        assert session.execute(select(*fields).order_by(NOW.Visitor.id)).all() == ROWS
    with shop.sessions() as session, shop.service():
        session.add(NOW.Visitor(name="Cyd", email="cyd@example.com", born=date(2000, 2, 29)))
        session.commit()
    with shop.sessions() as session, shop.service(), pytest.raises(UniqueViolation):
        session.add(NOW.Visitor(name="Eve", email="ADA@example.com"))
        session.commit()
    assert [find(shop, NOW, f"{name}@example.com") for name in ("ada", "cyd")] == [["Ada"], ["Cyd"]]
    assert left(reseal(shop, NOW, dry_run=True))[FORMER] == (6, 9)
    report = reseal(shop, NOW)
    assert report.ok, report
    assert left(report)[FORMER] == (0, 9)
    for now in (NOW, AFTERWARDS):
        assert rows(shop, now) == [*ROWS, ("Cyd", "cyd@example.com", date(2000, 2, 29))]
        assert remarks(shop, now) == ["ada was here", "bob was here"]
        assert find(shop, now, "ada@example.com") == ["Ada"]
    before = shop.sql("SELECT * FROM guest ORDER BY id")
    assert reseal(shop, AFTERWARDS).ok
    assert shop.sql("SELECT * FROM guest ORDER BY id") == before
    with pytest.raises(IntegrityError), shop.sessions() as session, shop.service():
        _ = session.get(Guest, 1).name  # the former version reads none of it any more


def test_a_closed_value_that_is_put_back_is_sealed_as_declared(shop):
    """Without being opened by anybody: in its own place, and in no other."""
    stay_in(shop, "ada", "bob")
    with shop.sessions() as session, shop.service():
        ada = session.get(NOW.Visitor, 1)
        flag_modified(ada, "name")
        flag_modified(ada, "born")
        session.commit()
    assert rows(shop, NOW) == ROWS
    with shop.sessions() as session, shop.service():
        ada = session.get(AFTERWARDS.Visitor, 1)
        assert (ada.name, ada.born) == ("Ada", date(1815, 12, 10))
    assert left(reseal(shop, NOW, dry_run=True))[FORMER] == (4, 6)
    with shop.sessions() as session, shop.service():
        ada, bob = session.get(NOW.Visitor, 1), session.get(NOW.Visitor, 2)
        bob.name = vars(ada)["name"]
        with pytest.raises(ConfigurationError, match="not its own"):
            session.commit()


def test_a_former_value_elsewhere_opens_nowhere(shop):
    """Another person's, another field's."""
    stay_in(shop, "ada", "eve")
    shop.sql("UPDATE guest SET name = (SELECT name FROM guest WHERE id = 2) WHERE id = 1")
    shop.sql("UPDATE guest SET mail = born WHERE id = 2")
    with shop.sessions() as session, shop.service():
        with pytest.raises(IntegrityError):
            _ = session.get(NOW.Visitor, 1).name
        with pytest.raises(IntegrityError):
            _ = session.get(NOW.Visitor, 2).email
    report = reseal(shop, NOW)
    assert not report.ok
    assert report.damaged == 3  # the name; the address, which is opened for its term too


def test_a_wrong_former_name_opens_nothing_and_changes_nothing(any_shop):
    """Neither reading nor resealing; the report says where to look."""
    shop = any_shop
    stay_in(shop, "ada")
    before = shop.sql("SELECT name, mail, born FROM guest")
    with pytest.raises(IntegrityError):
        rows(shop, WRONG)
    report = reseal(shop, WRONG)
    assert not report.ok
    assert report.damaged
    assert "visitor.name is declared to have been host.name: is formerly= right?" in report.steps
    assert shop.sql("SELECT name, mail, born FROM guest") == before
    assert reseal(shop, NOW).ok


def test_what_can_not_be_converted_is_told_without_its_value(shop):
    """And stays as it is."""
    stay_in(shop, "bob")
    with shop.sessions() as session, shop.service():
        session.get(Guest, 1).born = "tenth of December"
        session.commit()
    cant = pytest.raises(ConfigurationError, match="stored str can't be made date")
    with shop.sessions() as session, shop.service(), cant as told:
        _ = session.get(NOW.Visitor, 1).born
    assert "December" not in str(told.value)
    report = reseal(shop, NOW)
    assert not report.ok
    assert left(report)[FORMER] == (0, 3)
    with shop.sessions() as session, shop.service():
        assert session.get(Guest, 1).born == "tenth of December"


def test_whole_columns_are_refused_meanwhile(shop):
    """Arrow's decoders know one type, and open in one place."""
    arrow = pytest.importorskip("vaultlayer_adapters.arrow")
    for attribute in (NOW.Visitor.name, NOW.Visitor.born):
        with shop.service() as access, pytest.raises(ConfigurationError, match="former form"):
            arrow.open_sealed(access, attribute, [], subjects=[])


def test_a_former_version_that_was_prepared_reads_the_next_ones_values(shop):
    """So that both run side by side: it declares the names and types to come."""

    class Prepared(DeclarativeBase):
        pass

    class Guest(PersonalData, Prepared):
        __tablename__ = "guest"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str] = personal("identity.name", formerly=Former("visitor.name"))
        mail: Mapped[str | None] = personal(
            "contact.email", search=Equality("email"), formerly=Former("visitor.email")
        )
        born: Mapped[str | None] = personal(
            "identity.birth_date", formerly=Former("visitor.born", date, date.isoformat)
        )

    stay_in(shop, "ada")
    with shop.sessions() as session, shop.service():
        session.add(NOW.Visitor(name="Cyd", email="cyd@example.com", born=date(2000, 2, 29)))
        session.commit()
    with shop.sessions() as session, shop.service():
        found = session.scalars(select(Guest).order_by(Guest.id)).all()
        assert [(each.name, each.born) for each in found] == [
            ("Ada", "1815-12-10"), ("Cyd", "2000-02-29")
        ]  # fmt: skip
        query = select(Guest).where(Guest.mail == "cyd@example.com")
        assert session.scalars(query).one().name == "Cyd"
        found[0].name = "Ada L."
        session.commit()
    assert [name for name, _, _ in rows(shop, NOW)] == ["Ada L.", "Cyd"]


def test_rotating_takes_both_forms_along(shop):
    """A new generation of keys in the middle of it."""
    stay_in(shop, "ada", "bob")
    shop.vault.models = (NOW,)
    with shop.officer():
        assert shop.vault.keys.rotate("subject", wait=0).ok
        assert shop.vault.keys.rotate("index", wait=0).ok
    assert rows(shop, AFTERWARDS) == ROWS
    assert find(shop, AFTERWARDS, "ada@example.com") == ["Ada"]


def test_padding_is_what_is_declared(shop):
    """Without formerly=: an envelope says itself whether it is padded."""
    stay_in(shop, "ada")
    assert left(reseal(shop, Before))[FORMER] == (0, 4)
    shop.vault.models = (NOW,)
    report = reseal(shop, NOW)
    assert report.ok
    ((name,),) = shop.sql("SELECT name FROM guest")
    assert bytes(name)[2] == 0
    with shop.sessions() as session, shop.service():
        assert session.get(NOW.Visitor, 1).name == "Ada"


def test_terms_of_former_values_are_not_searched(shop):
    """Refused while they may be there: by a former type, and of words under a former name."""

    class Old(DeclarativeBase):
        pass

    class Pet(PersonalData, Old):
        __tablename__ = "pet"
        id: Mapped[int] = mapped_column(primary_key=True)
        chip: Mapped[str] = personal("identity.document", search=Equality())
        words: Mapped[str] = personal("content.text", search=Words())

    def next_one(**former):
        class New(DeclarativeBase):
            pass

        class Pet(PersonalData, New):
            __tablename__ = "pet"
            id: Mapped[int] = mapped_column(primary_key=True)
            chip: Mapped[int] = personal(
                "identity.document", search=Equality(), formerly=former.get("chip")
            )
            story: Mapped[str] = personal(
                "content.text", name="words", search=Words(), formerly=former.get("story")
            )

        configure_mappers()
        New.Pet = Pet
        return New

    Old.metadata.create_all(shop.engine)
    with shop.sessions() as session, shop.service():
        session.add(Pet(chip="47", words="a brave dog"))
        session.commit()
    now = next_one(chip=Former(python_type=str, into=int), story=Former("pet.words"))

    def search(now, condition):
        with shop.sessions() as session, shop.service():
            return len(session.scalars(select(now.Pet).where(condition)).all())

    for condition in (now.Pet.chip == 47, now.Pet.story.contains("brave")):
        with pytest.raises(UnsupportedQuery, match="former form"):
            search(now, condition)
    with shop.sessions() as session, shop.service():
        session.add(now.Pet(chip=48, story="a brave cat"))
        session.commit()
    assert reseal(shop, now).ok
    then = next_one()
    assert search(then, then.Pet.chip == 47) == search(then, then.Pet.chip == 48) == 1
    assert search(then, then.Pet.story.contains("brave")) == 2


@pytest.mark.parametrize(
    ("former", "told"),
    [
        (lambda: Former(), "says what the field's name or type was"),
        (lambda: Former("mail"), "says what the field's name or type was"),
        (lambda: Former(python_type=str), "what makes its values present ones"),
        (lambda: Former(into=int), "what makes its values present ones"),
        (lambda: Former(python_type=str, into=str), "can't be told apart"),
        (lambda: Former("toy.name"), "the name of itself"),
        (lambda: Former("toy.other"), "the name of another field"),
        (lambda: Former("owner.name"), "the name of another field"),
    ],
)
@pytest.mark.parametrize("first", ["toy", "owner"])
def test_declarations_that_tell_nothing_apart_are_refused(former, told, first):
    class Base(DeclarativeBase):
        pass

    def toy():
        class Toy(PersonalData, Base):
            __tablename__ = "toy"
            id: Mapped[int] = mapped_column(primary_key=True)
            name: Mapped[str] = personal("identity.name", formerly=former())
            other: Mapped[str] = personal("identity.name")

    def owner():
        class Owner(PersonalData, Base):
            __tablename__ = "owner"
            id: Mapped[int] = mapped_column(primary_key=True)
            name: Mapped[str] = personal("identity.name")

    with pytest.raises(ConfigurationError, match=told) as refused:
        for made in (toy, owner) if first == "toy" else (owner, toy):
            made()
            configure_mappers()
    assert refused.value.hint
    Base.registry.dispose()


def test_a_field_is_moved_or_renamed_not_both():
    with pytest.raises(ConfigurationError, match="at once"):
        personal(
            "contact.email", migrating_from="mail", until="2999-01-01", formerly=Former("a.b")
        )


@pytest.mark.parametrize(("database", "rounds"), [("sqlite", 6), ("postgres", 3), ("mariadb", 3)])
def test_killed_at_any_statement_and_run_again(request, make_shop, database, rounds):
    """kill -9 in a child, at random statements; every value opens in between, and in the end."""
    shop = make_shop(request.getfixturevalue(f"{database}_engine"))
    names = [f"n{n}" for n in range(30)]
    stay_in(shop, *names)
    expected = rows(shop, NOW)
    rng, killed = random.Random(), 0
    for _ in range(rounds):
        shop.engine.dispose()
        child = os.fork()
        if not child:
            with suppress(BaseException):
                doomed(shop, after=int(2 ** rng.uniform(2, 6)))
            os._exit(1)
        _, status = os.waitpid(child, 0)
        killed += os.waitstatus_to_exitcode(status) == -signal.SIGKILL
        shop.restart()
        assert rows(shop, NOW) == expected
        assert find(shop, NOW, "n7@example.com") == ["N7"]
    assert killed
    assert reseal(shop, NOW).ok
    assert rows(shop, AFTERWARDS) == expected
    assert find(shop, AFTERWARDS, "n7@example.com") == ["N7"]


def doomed(shop, after):
    shop.engine.dispose(close=False)
    shop.engine = create_engine(shop.engine.url)
    event.listen(shop.engine, "connect", shop.hasty)
    shop.vault = shop.open()
    left = iter(range(after, -1, -1))

    def step(*_):
        if not next(left, 1):
            os.kill(os.getpid(), signal.SIGKILL)

    for moment in ("before_cursor_execute", "after_cursor_execute", "commit"):
        event.listen(shop.engine, moment, step)
    with suppress(VaultLayerError):
        reseal(shop, NOW)
