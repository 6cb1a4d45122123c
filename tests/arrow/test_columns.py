"""Arrow, Polars and pandas columns: sealed here they open in the ORM, and the other way round."""

from __future__ import annotations

import traceback
import uuid
from datetime import date

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultlayer import AccessDenied, IntegrityError, NoAccess, Vault
from vaultlayer.errors import ConfigurationError, KeyErased, PlaintextFound, UnsupportedQuery
from vaultlayer.testing import audit_events

pa = pytest.importorskip("pyarrow")
arrow = pytest.importorskip("vaultlayer_adapters.arrow")
PEOPLE = 3
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def stored(world, cls, *names):
    return {name: pa.array(column) for name, column in world.rows(cls, *names).items()}


def test_what_the_orm_sealed_opens(world, people) -> None:
    """Every type and form: text, null, date, padded, and a child bound to its row."""
    m = world.m
    buyer = stored(world, m.Buyer, "subject_id", "name", "email", "born", "letter")
    parcel = stored(world, m.Parcel, "id", "address")
    with world.access() as access:
        for field in ("name", "email", "born", "letter"):
            attribute = getattr(m.Buyer, field)
            opened = arrow.open_sealed(
                access, attribute, buyer[field], subjects=buyer["subject_id"]
            )
            assert opened.to_pylist() == [each[field] for each in people], field
        addresses = arrow.open_sealed(
            access, m.Parcel.address, parcel["address"],
            subjects=buyer["subject_id"], rows=parcel["id"],
        )  # fmt: skip
    assert addresses.to_pylist() == [f"1 {each['name']} St" for each in people]


def test_what_arrow_sealed_opens_in_the_orm(world, session) -> None:
    """Envelopes and terms of Arrow put in place: the ORM reads them and finds by them."""
    m, buyer = world.m, stored(world, world.m.Buyer, "subject_id", "id")
    parcels = stored(world, m.Parcel, "id")
    emails = pa.array(["a@new.example", None, "c@new.example"])
    letters, borns = pa.array(["x" * 20, None, ""]), pa.array([date(2000, 1, 1), None, None])
    with world.access() as access:
        whose = {"subjects": buyer["subject_id"]}
        made = {
            "email": arrow.seal(access, m.Buyer.email, emails, **whose),
            "email_bidx": arrow.blind_index(access, m.Buyer.email, emails),
            "letter": arrow.seal(access, m.Buyer.letter, letters, **whose),
            "born": arrow.seal(access, m.Buyer.born, borns, **whose),
        }
        address = arrow.seal(
            access, m.Parcel.address, pa.array(["one", "two", "three"]), rows=parcels["id"], **whose
        )
    with world.engine.begin() as connection:
        for name, column in made.items():
            for number, value in zip(buyer["id"].to_pylist(), column.to_pylist(), strict=True):
                update = sa.text(f"UPDATE buyer SET {name} = :v WHERE id = :i")
                connection.execute(update, {"v": value, "i": number})
        for number, value in zip(parcels["id"].to_pylist(), address.to_pylist(), strict=True):
            connection.execute(
                sa.text("UPDATE parcel SET address = :v WHERE id = :i"), {"v": value, "i": number}
            )
    with world.access():
        found = session.scalars(sa.select(m.Buyer).where(m.Buyer.email == "C@NEW.example")).one()
        assert (found.email, found.letter, found.born) == ("c@new.example", "", None)
        rows = session.scalars(sa.select(m.Buyer).order_by(m.Buyer.id)).all()
        assert [row.email for row in rows] == emails.to_pylist()
        assert [row.letter for row in rows] == letters.to_pylist()
        assert [row.born for row in rows] == borns.to_pylist()
        boxes = session.scalars(sa.select(m.Parcel).order_by(m.Parcel.id)).all()
        assert [box.address for box in boxes] == ["one", "two", "three"]


@pytest.mark.parametrize("kind", ["polars", "pandas", "chunked", "dictionary", "view"])
def test_every_kind_of_column_is_taken(world, kind) -> None:
    """Whatever speaks the Arrow C data interface, without importing its library."""
    m, ids = world.m, [str(uuid.uuid4()) for _ in range(PEOPLE)]
    texts = ["Ada", None, "Grace"]
    if kind in ("polars", "pandas"):
        library = pytest.importorskip(kind)
        column, subjects = library.Series(texts), library.Series(ids)
    else:
        subjects = pa.chunked_array([ids[:1], ids[1:]])
        column = {
            "chunked": pa.chunked_array([texts[:2], texts[2:]]),
            "dictionary": pa.array(texts).dictionary_encode(),
            "view": pa.array(texts, pa.string_view()),
        }.get(kind)
    with world.access() as access:
        sealed = arrow.seal(access, m.Buyer.name, column, subjects=subjects)
        back = arrow.open_sealed(access, m.Buyer.name, sealed, subjects=subjects)
        assert back.to_pylist() == texts
        assert all(b"Ada" not in each for each in sealed.to_pylist() if each)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.none() | TEXTS, max_size=40), st.data())
def test_any_text_comes_back(policies_vault, m, texts, data) -> None:
    """Sliced, of many people, empty: what goes in comes out, in order."""
    people = [str(uuid.uuid4()) for _ in range(3)]
    whose = [data.draw(st.sampled_from(people)) for _ in texts]
    cut = data.draw(st.integers(0, len(texts)))
    column, subjects = pa.array(texts, pa.string())[cut:], pa.array(whose, pa.string())[cut:]
    with policies_vault.access(service(), purpose="provide_service") as access:
        sealed = arrow.seal(access, m.Buyer.email, column, subjects=subjects)
        opened = arrow.open_sealed(access, m.Buyer.email, sealed, subjects=subjects)
    assert opened.to_pylist() == texts[cut:]


def service():
    from vaultlayer import Principal

    return Principal("shop", roles=["service"])


@pytest.fixture(scope="module")
def policies_vault(policies, tmp_path_factory):
    engine = sa.create_engine(f"sqlite:///{tmp_path_factory.mktemp('columns')}/keys.db")
    with Vault.ephemeral(policies=policies) as vault:
        vault.attach(engine)
        vault.create_tables(engine)
        yield vault
    engine.dispose()


def test_one_decision_and_one_record(world) -> None:
    """The log tells of a column once, with everybody in it and no value."""
    m, buyer = world.m, stored(world, world.m.Buyer, "subject_id", "name")
    with world.access() as access:
        arrow.open_sealed(access, m.Buyer.name, buyer["name"], subjects=buyer["subject_id"])
    events = [each for each in audit_events(world.vault) if each.get("event") == "read"]
    assert len(events) == 1
    (event,) = events
    assert (event["entity"], event["fields"], event["decision"]) == ("buyer", ["name"], "allow")
    assert len(set(event["refs"])) == PEOPLE
    assert "geheim" not in str(events)


def test_masked_readings_stay_masked(world) -> None:
    """Support sees the last digits, and can't seal them over the number."""
    m, buyer = world.m, stored(world, world.m.Buyer, "subject_id", "phone")
    with world.access("support", "customer_service") as access:
        shown = arrow.open_sealed(
            access, m.Buyer.phone, buyer["phone"], subjects=buyer["subject_id"]
        )
    assert isinstance(shown.type, pa.ExtensionType)
    texts = shown.to_pylist()
    assert texts[2] is None and texts[0].endswith("0001") and "7946" not in texts[0]
    with world.access() as access, pytest.raises(ConfigurationError, match="masked"):
        arrow.seal(access, m.Buyer.phone, shown, subjects=buyer["subject_id"])


def test_attacks_fail(world) -> None:
    """A value moved to another person, row, field or table, changed, or never sealed."""
    m, buyer = world.m, stored(world, world.m.Buyer, "subject_id", "name", "phone")
    parcel = stored(world, m.Parcel, "id", "address")
    whose = buyer["subject_id"]
    turned = pa.array([*whose.to_pylist()[1:], whose.to_pylist()[0]])
    damaged = pa.array([bytes([*each[:-1], each[-1] ^ 1]) for each in buyer["name"].to_pylist()])
    other_flag = pa.array([each[:2] + b"\1" + each[3:] for each in buyer["name"].to_pylist()])
    unknown = pa.array([b"\xf8" + each[1:] for each in buyer["name"].to_pylist()])
    ids = parcel["id"].to_pylist()
    with world.access() as access:
        for attribute, column, place in (
            (m.Buyer.name, buyer["name"], {"subjects": turned}),
            (m.Buyer.email, buyer["name"], {"subjects": whose}),
            (m.Buyer.name, damaged, {"subjects": whose}),
            (m.Buyer.name, other_flag, {"subjects": whose}),
            (m.Parcel.address, parcel["address"], {"subjects": whose}),
            (m.Parcel.address, parcel["address"], {"subjects": whose, "rows": pa.array(ids[::-1])}),
            (m.Parcel.address, buyer["name"], {"subjects": whose, "rows": parcel["id"]}),
        ):
            with pytest.raises(IntegrityError) as refused:
                arrow.open_sealed(access, attribute, column, **place)
            assert "geheim" not in "".join(traceback.format_exception(refused.value))
        for column in (unknown, pa.array(["geheim"] * PEOPLE)):
            with pytest.raises(PlaintextFound):
                arrow.open_sealed(access, m.Buyer.name, column, subjects=whose)


def test_refused(world) -> None:
    """Nothing is opened or sealed where the rules say no, one person objects, or it is over."""
    m, buyer = world.m, stored(world, world.m.Buyer, "subject_id", "name", "email")
    whose = buyer["subject_id"]
    with world.access("nobody") as access:
        with pytest.raises(AccessDenied):
            arrow.open_sealed(access, m.Buyer.name, buyer["name"], subjects=whose)
        with pytest.raises(AccessDenied):
            arrow.seal(access, m.Buyer.name, pa.array(["x"] * PEOPLE), subjects=whose)
        with pytest.raises(AccessDenied):
            arrow.blind_index(access, m.Buyer.email, pa.array(["x"]))
    with pytest.raises(NoAccess):
        arrow.open_sealed(access, m.Buyer.name, buyer["name"], subjects=whose)
    with world.access("marketer", "direct_marketing") as access, pytest.raises(AccessDenied) as no:
        arrow.open_sealed(access, m.Buyer.name, buyer["name"], subjects=whose)
    assert no.value.reason == "consent_missing"


def test_an_erased_person_is_refused(world) -> None:
    m, buyer = world.m, stored(world, world.m.Buyer, "subject_id", "name")
    whose = buyer["subject_id"]
    world.vault.databases.attached(world.engine)
    world.vault.models = (m.Base,)
    with world.access("privacy_officer", "legal_obligation"):
        world.vault.subjects.erase(uuid.UUID(whose.to_pylist()[0]), reason="asked to")
    with world.access() as access:
        with pytest.raises(KeyErased):
            arrow.open_sealed(access, m.Buyer.name, buyer["name"], subjects=whose)
        with pytest.raises(KeyErased):
            arrow.seal(access, m.Buyer.name, pa.array(["again"] * PEOPLE), subjects=whose)


@pytest.mark.parametrize(
    ("column", "place", "error"),
    [
        (["a"], {"subjects": ["not-a-uuid-geheim"]}, ConfigurationError),
        (["a"], {"subjects": [None]}, ConfigurationError),
        (["a", "b"], {"subjects": [str(uuid.UUID(int=1))]}, ConfigurationError),
        (["a"], {}, ConfigurationError),
        ([1], {"subjects": [str(uuid.UUID(int=1))]}, ConfigurationError),
    ],
)
def test_misuse_is_told(world, column, place, error) -> None:
    """What doesn't fit is refused before anything is sealed, and no value is in the message."""
    place = {name: pa.array(values, pa.string()) for name, values in place.items()}
    with world.access() as access, pytest.raises(error) as refused:
        arrow.seal(access, world.m.Buyer.name, pa.array(column), **place)
    assert "geheim" not in str(refused.value)


def test_only_personal_attributes_and_arrow_columns(world) -> None:
    with world.access() as access:
        with pytest.raises(UnsupportedQuery):
            arrow.seal(access, world.m.Buyer.id, pa.array([1]))
        with pytest.raises(ConfigurationError, match="Arrow C data interface"):
            arrow.seal(access, world.m.Buyer.name, ["geheim"])
        with pytest.raises(ConfigurationError, match="no index"):
            arrow.blind_index(access, world.m.Buyer.name, pa.array(["x"]))
