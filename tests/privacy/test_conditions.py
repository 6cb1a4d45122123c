"""The other conditions of a decision: region, tenant, sign-in, restriction, masks, misspelling."""

from __future__ import annotations

import time
from typing import ClassVar

import pytest
from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, configure_mappers, mapped_column, sessionmaker

from vaultlayer import AccessDenied, Masked, PersonalData, PolicyError, Principal, personal

SAM = Principal("sam", ["support"])
SHOP = Principal("shop", ["service"])
OFFICER = Principal("olga", ["privacy_officer"])


def signed_in(ago: float = 0, amr: tuple[str, ...] = ("pwd", "mfa")) -> Principal:
    claims = {"auth_time": time.time() - ago}
    return Principal("shop", ["service"], amr=amr, claims=claims)


# Region


def test_a_purpose_reaches_only_people_of_its_regions(shop):
    """The person's region is where their key is; a batch with a stranger in it is refused."""
    shop.populate(2, country="eu")
    shop.populate(1, country="us")
    assert shop.names(SAM, "customer_service") == ["Ada 0", "Ada 1", "Ada 0"]
    text = (shop.folder / "purposes.toml").read_text()
    at = text.index("[customer_service]")
    (shop.folder / "purposes.toml").write_text(
        text[:at] + text[at:].replace('["*"]', '["eu", "uk"]', 1)
    )
    shop.vault.reload_policy()
    assert shop.names(SAM, "customer_service") == ["Ada 0", "Ada 1", "region"]
    assert shop.names(SHOP, "provide_service") == ["Ada 0", "Ada 1", "Ada 0"]
    with shop.reading(SAM, "customer_service") as (access, buyers):
        assert access.reveal(buyers[:2], shop.Buyer.name) == ["Ada 0", "Ada 1"]
        with pytest.raises(AccessDenied) as refused:
            access.reveal(buyers, shop.Buyer.name)
        assert refused.value.reason == "region"
        assert access.deny_reason(shop.Buyer.name, buyers[2]) == "region"


def test_a_principal_of_a_region_opens_its_own_people(shop):
    """Unless the purpose says across_regions; one without a region is bound to none."""
    shop.populate(1, country="eu")
    shop.populate(1, country="us")
    here = Principal("sam", ["support"], region="eu")
    assert shop.names(here, "customer_service") == ["Ada 0", "region"]
    assert shop.names(SAM, "customer_service") == ["Ada 0", "Ada 0"]
    shop.edit(
        "purposes.toml",
        '[customer_service]\nwords',
        '[customer_service]\nacross_regions = true\nwords',
    )  # fmt: skip
    assert shop.names(here, "customer_service") == ["Ada 0", "Ada 0"]


def test_rules_for_a_region_or_tenant_are_for_its_principals(shop):
    """A deny for one region leaves the others as they were."""
    shop.populate(1, country="eu")
    shop.rule("p, support, identity.name, read, customer_service, deny, region=uk")
    shop.rule("p, support, contact.email, read, customer_service, deny, tenant=north")
    for place, outcome in [({}, ("Ada 0", "ada0@example.com")),
                           ({"region": "eu"}, ("Ada 0", "ada0@example.com")),
                           ({"region": "uk"}, ("rule_deny", "region")),
                           ({"tenant": "north"}, ("Ada 0", "rule_deny"))]:  # fmt: skip
        principal = Principal("sam", ["support"], **place)
        with shop.reading(principal, "customer_service") as (_, [buyer]):
            assert (shop.outcome(buyer), shop.outcome(buyer, "email")) == outcome


# Restriction


def test_restricted_data_serves_the_purposes_that_go_on_and_no_other(shop):
    """Neither read nor written; the law's own purposes go on; until the restriction is lifted."""
    first, _ = shop.populate(2)
    with shop.access(OFFICER, "legal_obligation"):
        shop.vault.subjects.restrict(first, channel="letter")
    assert shop.names(SAM, "customer_service") == ["restricted", "Ada 1"]
    assert shop.names(OFFICER, "legal_obligation") == ["Ada 0", "Ada 1"]
    with shop.reading(SHOP, "provide_service") as (_, buyers):
        buyers[0].name = "Eve"
        with pytest.raises(AccessDenied) as refused:
            shop.Session.object_session(buyers[0]).flush()
        assert refused.value.reason == "restricted"
    with pytest.raises(AccessDenied), shop.access(SHOP, "provide_service"):
        shop.vault.subjects.lift_restriction(first)
    with shop.access(OFFICER, "legal_obligation"):
        shop.vault.subjects.lift_restriction(first)
    assert shop.names(SAM, "customer_service") == ["Ada 0", "Ada 1"]
    assert [each["change"] for each in shop.events("restriction")] == ["restrict", "lift"]
    assert shop.vault.audit.verify().findings == []


# Sign-in


STEP_UP = 'step_up = { amr = ["mfa", "hwk"], age = "10 minutes" }'


@pytest.fixture
def guarded(shop):
    """Payment cards ask for a second factor, at most ten minutes old."""
    with shop.Session() as session, shop.access(SHOP, "provide_service"):
        session.add(shop.Buyer(name="Ada", email="ada@example.com", card="4111111111111111"))
        session.commit()
    text = (shop.folder / "categories.toml").read_text()
    at = text.index("[financial]")
    part = text[at:].replace("sensitive = true", f"sensitive = true\n{STEP_UP}", 1)
    (shop.folder / "categories.toml").write_text(text[:at] + part)
    shop.vault.reload_policy()
    return shop


def test_a_category_that_asks_for_a_fresh_sign_in_opens_to_one(guarded):
    """The parent's condition holds for its children; other categories ask for nothing."""
    for principal, outcome in [
        (signed_in(), "4111111111111111"),
        (signed_in(ago=601), "step_up"),
        (signed_in(amr=("pwd",)), "step_up"),
        (SHOP, "step_up"),
    ]:
        with guarded.reading(principal, "provide_service") as (access, [buyer]):
            assert guarded.outcome(buyer, "card") == outcome
            assert guarded.outcome(buyer) == "Ada"
            assert access.can(guarded.Buyer.card) == (outcome != "step_up")
    denied = [each for each in guarded.events("read") if each["decision"] == "deny"]
    assert {each["reason_code"] for each in denied} == {"step_up"}


def test_a_sign_in_that_grows_old_closes_the_category_in_an_open_access(guarded):
    """And nothing else."""
    with guarded.reading(signed_in(ago=599.0), "provide_service") as (_, [buyer]):
        assert guarded.outcome(buyer, "card") == "4111111111111111"
        time.sleep(1.1)
        assert guarded.outcome(buyer, "card") == "step_up"
        assert guarded.outcome(buyer) == "Ada"


def test_writing_and_columns_ask_for_it_too(guarded):
    """Every action, every way."""
    with guarded.reading(SHOP, "provide_service") as (access, [buyer]):
        session = guarded.Session.object_session(buyer)
        for attempt in (
            lambda: session.scalars(select(guarded.Buyer.card)).all(),
            lambda: access.reveal([buyer], guarded.Buyer.card),
            lambda: (setattr(buyer, "card", "1"), session.flush()),
        ):
            with pytest.raises(AccessDenied) as refused:
                attempt()
            assert refused.value.reason == "step_up"


# Masks


def test_a_rule_names_the_mask(shop):
    """It outranks the field's own; without one the field's own is shown."""
    shop.populate(1)
    shop.rule("p, guest, contact, read, customer_service, mask:initials")
    shop.rule("p, visitor, contact, read, customer_service, mask")
    shop.rule("p, walker, contact, read, customer_service, mask:city")
    with shop.reading(Principal("g", ["guest"]), "customer_service") as (_, [buyer]):
        assert buyer.email == "A."
    with shop.reading(Principal("v", ["visitor"]), "customer_service") as (_, [buyer]):
        assert buyer.email == "a***@e***.com"
        assert isinstance(buyer.email, Masked)
    with shop.reading(Principal("w", ["walker"]), "customer_service") as (_, [buyer]):
        assert buyer.orders[0].address == "London"
    masked = [each for each in shop.events("read") if each["decision"] == "mask"]
    assert len(masked) == 3


def test_a_pseudonym_is_the_same_within_a_purpose_and_another_beyond(shop):
    """So that people can be counted and joined, and not be followed from purpose to purpose."""
    shop.populate(2)
    shop.rule("p, counter, contact, read, customer_service, mask:hash")
    shop.rule("p, counter, contact, read, security, mask:hash")
    counter = Principal("c", ["counter"])

    def seen(purpose):
        with shop.reading(counter, purpose) as (access, buyers):
            revealed = access.reveal(buyers, shop.Buyer.email)
            assert [buyer.email for buyer in buyers] == revealed
            return revealed

    one, again, other = seen("customer_service"), seen("customer_service"), seen("security")
    assert one == again
    assert len({*one, *other}) == 4
    assert all(shown.startswith("#") and len(shown) == 21 for shown in one)


# Misspelling


class _Base(DeclarativeBase):
    pass


class Parcel(PersonalData, _Base):
    __tablename__ = "parcel_of_conditions"
    __subject__: ClassVar[str | None] = None
    id: Mapped[int] = mapped_column(primary_key=True)
    label: Mapped[str] = personal("contact.address")


def test_a_rule_about_a_field_that_its_table_lacks_is_refused(shop):
    """When it is loaded, when the vault is attached, and at the latest when the table is read."""
    line = "p, support, parcel_of_conditions.lable, read, customer_service, deny"
    configure_mappers()
    with pytest.raises(PolicyError, match="no model has the field parcel_of_conditions"):
        shop.rule(line)
    before = shop.vault.snapshot
    check, shop.vault.policies._check = shop.vault.policies._check, lambda _: ()
    shop.vault.reload_policy()  # as if the model had been mapped after the policies were read
    assert shop.vault.snapshot is not before
    with pytest.raises(PolicyError, match="no model has the field"):
        shop.vault.attach(sessionmaker(shop.engine))
    _Base.metadata.create_all(shop.engine)
    with (
        shop.Session() as session,
        shop.access(SHOP, "provide_service"),
        pytest.raises(AccessDenied) as refused,
    ):
        session.add(Parcel(label="x"))
        session.flush()
    assert refused.value.reason == "field_undeclared"
    shop.vault.policies._check = check
