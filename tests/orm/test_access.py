"""Who acts: without an access, by another's, after its end, pinned, in turn and in threads."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import create_engine, insert, select, update

from vaultlayer import Masked, Principal
from vaultlayer.errors import AccessDenied, ConfigurationError, NoAccess, VaultLayerError

ADA = "Ada Geheim"


@pytest.fixture
def attempts(m):
    """Every kind of touching; each takes a session and a loaded customer."""
    return {
        "read": lambda s, ada: ada.name,
        "read a deferred field": lambda s, ada: ada.letter,
        "select a column": lambda s, ada: s.execute(select(m.Customer.name)).all(),
        "query a column": lambda s, ada: s.query(m.Customer.name).all(),
        "search": lambda s, ada: s.scalars(
            select(m.Customer.id).where(m.Customer.email == "ada@geheim.example")
        ).all(),
        "search in Core": lambda s, ada: s.connection().execute(
            select(m.Customer.__table__.c.id).where(m.Customer.__table__.c.phone == "1")
        ),
        "write": lambda s, ada: (setattr(ada, "name", "Eve Geheim"), s.flush()),
        "write NULL": lambda s, ada: (setattr(ada, "nickname", None), s.flush()),
        "add": lambda s, ada: (s.add(m.Customer(name="Eve Geheim")), s.flush()),
        "bulk save": lambda s, ada: s.bulk_save_objects([m.Customer(name="Eve Geheim")]),
        "insert": lambda s, ada: s.execute(insert(m.Customer), [{"name": "Eve Geheim"}]),
        "insert inherited": lambda s, ada: s.execute(
            insert(m.Employee), [{"name": "Eve Geheim", "badge": "geheim"}]
        ),
        "insert in Core": lambda s, ada: s.connection().execute(
            insert(m.Customer.__table__).values(name="Eve Geheim")
        ),
        "update": lambda s, ada: s.execute(update(m.Customer), [{"id": 1, "name": "Eve Geheim"}]),
        "update to NULL": lambda s, ada: s.execute(update(m.Customer).values(nickname=None)),
    }


NAMES = [
    "read",
    "read a deferred field",
    "select a column",
    "query a column",
    "search",
    "search in Core",
    "write",
    "write NULL",
    "add",
    "bulk save",
    "insert",
    "insert inherited",
    "insert in Core",
    "update",
    "update to NULL",
]


@pytest.mark.parametrize("name", NAMES)
def test_without_an_access_nothing_is_touched(world, m, attempts, name):
    """Each attempt ends in NoAccess with nothing written."""
    with world.Session() as session:
        ada = session.get(m.Customer, 1)
        world.sent.clear()
        with pytest.raises(NoAccess):
            attempts[name](session, ada)
        assert not [sent for sent, _ in world.sent if not sent.startswith("SELECT")]


@pytest.mark.parametrize("name", NAMES)
def test_after_its_end_an_access_serves_nothing(world, m, attempts, name):
    """Neither through the context nor through a session it was pinned to."""
    with world.Session() as session:
        with world.access(session=session):
            ada = session.get(m.Customer, 1)
            assert ada.name == ADA
        with world.access() as access:
            assert ada.name == ADA
        with pytest.raises(NoAccess):
            attempts[name](session, ada)
        session.rollback()
        with pytest.raises(NoAccess):
            access.reveal(ada, m.Customer.name)


@pytest.mark.parametrize("name", NAMES)
def test_who_has_no_rule_is_refused_and_recorded(world, m, attempts, name):
    """A role that no rule names gets AccessDenied; the log has each refusal."""
    with world.acting("nobody") as session:
        ada = session.get(m.Customer, 1)
        world.sent.clear()
        with pytest.raises(AccessDenied) as refused:
            attempts[name](session, ada)
        assert not [sent for sent, _ in world.sent if not sent.startswith("SELECT")]
        session.rollback()
    assert refused.value.reason == "role"
    (event,) = [each for each in world.events() if each.get("decision") == "deny"]
    assert event["event"] in name or event["event"] in ("read", "write")
    assert event["entity"] in ("customer", "person")


def test_masked_readings_come_masked_everywhere(world, m):
    """An attribute, a column and a batch show a mask; a search by a masked field may be allowed."""
    with world.acting("support") as session:
        ada = session.get(m.Customer, 1)
        column = session.scalars(select(m.Customer.phone).where(m.Customer.id == 1)).one()
        found = select(m.Customer.id).where(m.Customer.phone == "+442079460000")
        assert session.scalars(found).one() == 1
        assert ada.phone == column == "***0000"
        assert isinstance(ada.phone, Masked)
        assert isinstance(column, Masked)
        assert ada.born == "1815"
        assert ada.name == ADA


def test_a_masked_value_is_not_assigned_back(world, m):
    """It would destroy the real one: by attribute, constructor, INSERT and merge."""
    with world.acting("support_lead") as session:
        ada = session.get(m.Customer, 1)
        masked = ada.born
        assert isinstance(masked, Masked)
        for attempt in (
            lambda: setattr(ada, "name", masked),
            lambda: m.Customer(name=masked),
            lambda: session.execute(insert(m.Customer).values(email=masked)),
            lambda: session.execute(update(m.Customer), [{"id": 1, "email": masked}]),
        ):
            with pytest.raises(ConfigurationError) as refused:
                attempt()
            assert "complete new value" in refused.value.hint


def test_a_search_with_a_masked_value_is_refused(world, m):
    """It would find nothing, whatever is there."""
    with world.acting("support"), pytest.raises(VaultLayerError):
        select(m.Customer).where(m.Customer.email == Masked("***mple"))


def test_one_session_two_principals_in_turn(world, m):
    """Loaded, expired or cached: the second sees only what the second may."""
    with world.Session() as session:
        with world.access():
            ada = session.get(m.Customer, 1)
            assert (ada.name, ada.phone) == (ADA, "+44 20 7946 0000")
            ada.nickname = "geheim pending"
        with world.access("support"):
            assert ada.phone == "***0000"
            with pytest.raises(AccessDenied):
                assert ada.letter
        with world.access("nobody"):
            for key in ("name", "phone", "nickname"):
                with pytest.raises(AccessDenied):
                    getattr(ada, key)
        with world.access():
            assert (ada.phone, ada.nickname) == ("+44 20 7946 0000", "geheim pending")


def test_a_pinned_access_serves_its_session_only(world, m):
    """It outranks the context in its session, and is unknown in every other."""
    with world.Session() as pinned, world.Session() as other, world.access("support"):
        with world.access(session=pinned):
            ada, same = pinned.get(m.Customer, 1), other.get(m.Customer, 1)
            assert ada.phone == "+44 20 7946 0000"
            assert same.phone == "***0000"
            assert pinned.scalars(select(m.Customer.phone)).first() == "+44 20 7946 0000"
            ada.nickname = "geheim"
            pinned.commit()
            same.nickname = "geheim"
            with pytest.raises(AccessDenied):
                other.flush()
            other.rollback()
        assert ada.phone == "***0000"


def test_a_pinned_access_searches_and_inserts(world, m):
    """Also what reaches the database as a statement is the pinned access's."""
    with world.Session() as session, world.access(session=session):
        found = select(m.Customer.name).where(m.Customer.email == "ada@geheim.example")
        assert session.scalars(found).one() == ADA
        session.execute(insert(m.Customer).values(name="Eve Geheim"))
        with pytest.raises(NoAccess), world.engine.begin() as connection:
            connection.execute(insert(m.Customer.__table__).values(name="Eve Geheim"))
        session.commit()


def test_tenants_do_not_touch_each_other(world, m):
    """Another tenant's rows are neither written, read, selected nor found, and that is recorded."""
    with world.Session() as session, world.access(tenant="north"):
        session.add(m.Member(club="north", name="Ada Geheim"))
        session.commit()
        session.add(m.Member(club="south", name="Ada Geheim"))
        with pytest.raises(AccessDenied) as write:
            session.flush()
    with world.Session() as session, world.access(tenant="south"):
        member = session.scalars(select(m.Member)).one()
        with pytest.raises(AccessDenied) as read:
            member.name  # noqa: B018
        with pytest.raises(AccessDenied):
            session.scalars(select(m.Member.name)).all()
        found = session.scalars(select(m.Member).where(m.Member.name == "Ada Geheim")).all()
    assert found == []
    assert (write.value.reason, read.value.reason) == ("tenant", "tenant")
    refused = [each for each in world.events() if each.get("reason_code") == "tenant"]
    assert {each["event"] for each in refused} == {"write", "read"}


def test_a_sealed_value_of_another_field_is_not_taken(world, m):
    """Even of the same person: it is bound to the field it was sealed for."""
    with world.acting() as session:
        ada = session.get(m.Customer, 1)
        ada.name = ada.__dict__["nickname"]
        with pytest.raises(ConfigurationError, match="not its own"):
            session.flush()


def test_a_row_bound_value_is_stored_again_after_a_rollback(world, m):
    """The object's own sealed value is taken back under its own primary key, and no other."""
    with world.acting() as session:
        setting = m.Setting(name="colour", value="geheim red")
        session.add(setting)
        session.flush()
        session.rollback()
        session.add(setting)
        session.commit()
        assert setting.value == "geheim red"
        moved = m.Setting(name="shade", value="geheim")
        session.add(moved)
        session.flush()
        session.rollback()
        moved.name = "tint"
        session.add(moved)
        with pytest.raises(ConfigurationError, match="not its own"):
            session.flush()


def test_an_access_is_used_once(world, m):
    """Neither while it is open nor after its end can it be entered again."""
    access = world.access()
    with access, pytest.raises(ConfigurationError, match="used once"), access:
        pass
    with pytest.raises(ConfigurationError, match="used once"), access:
        pass


def test_a_thread_has_no_access_of_its_own(world, m):
    """A context variable does not reach a new thread; a pinned access does."""
    outcomes = []
    with world.Session() as session:
        ada = session.get(m.Customer, 1)

        def read() -> None:
            try:
                outcomes.append(ada.name)
            except NoAccess:
                outcomes.append("NoAccess")

        with world.access():
            assert ada.name == ADA
            _in_thread(read)
        with world.access(session=session):
            _in_thread(read)
    assert outcomes == ["NoAccess", ADA]


def test_threads_act_for_their_own_principal(tmp_path, vault, m):
    """Many threads at once, each with a session and an access of its own, see their own rights."""
    from sqlalchemy.orm import sessionmaker

    engine = create_engine(f"sqlite:///{tmp_path}/threads.db", connect_args={"timeout": 30})
    factory = sessionmaker(engine)
    vault.attach(factory)
    vault.create_tables(engine)
    m.metadata.create_all(engine)
    service = Principal("app", roles=["service"])
    with factory() as session, vault.access(service, purpose="provide_service"):
        session.add_all([m.Customer(name=ADA, phone="+44 20 7946 0000") for _ in range(20)])
        session.commit()
    seen: dict[str, set[str]] = {"service": set(), "support": set()}

    def work(role: str, purpose: str) -> None:
        principal = Principal(role, roles=[role])
        for _ in range(5):
            with factory() as session, vault.access(principal, purpose=purpose):
                seen[role].update(each.phone for each in session.scalars(select(m.Customer)))
                seen[role].update(session.scalars(select(m.Customer.phone)))

    threads = [
        threading.Thread(target=work, args=each)
        for each in [("service", "provide_service"), ("support", "customer_service")] * 4
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine.dispose()
    assert seen == {"service": {"+44 20 7946 0000"}, "support": {"***0000"}}


def _in_thread(work) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@pytest.fixture
def short_journal(monkeypatch):
    """A journal that goes on in another file after eight notes; ask for it before ``world``."""
    monkeypatch.setattr("vaultlayer.audit.segment.SLOTS", 8)


def test_reading_goes_on_when_the_journal_moves_on(short_journal, world, m):
    """A note that finds its file full is made in the next one; none is missing from the log."""
    before = world.decided()
    with world.acting() as session:
        ada = session.get(m.Customer, 1)
        assert [ada.name for _ in range(30)] == [ADA] * 30
    assert world.decided() == before + 30
