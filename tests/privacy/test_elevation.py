"""Roles taken on for a while: emergencies under review, grants with an end."""

from __future__ import annotations

import logging
import time
from uuid import uuid4

import pytest
from sqlalchemy import select, text, update

from vaultlayer import AccessDenied, ConfigurationError, NoAccess, Principal
from vaultlayer.ledgers import elevation

SAM = Principal("sam", ["support"])
INTERN = Principal("ina", ["intern"])
OFFICER = Principal("olga", ["privacy_officer"])
SHOP = Principal("shop", ["service"])
WHY = "the line is down and the lead away"


@pytest.fixture
def breaking(shop):
    """A supporter's emergency access, in which telephone numbers are open."""
    shop.populate(1, phone="+44 20 7946 0000")
    return lambda **options: shop.reading(SAM, "customer_service", emergency=WHY, **options)


@pytest.fixture
def officer(shop):
    """The privacy officer may administer all that customer service is about."""
    return lambda: shop.access(OFFICER, "legal_obligation")


def test_an_emergency_opens_more_and_says_so_first(shop, breaking, caplog):
    """Told in the log before the first reading, loudly, with the justification in all of it."""
    with shop.reading(SAM, "customer_service") as (_, [buyer]):
        assert buyer.phone == "***"
    caplog.set_level(logging.WARNING, "vaultlayer")
    with breaking(reason="ticket 1") as (_, [buyer]):
        assert buyer.phone == "+44 20 7946 0000"
    assert "emergency access was opened for customer_service as support_lead" in caplog.text
    assert "sam" not in caplog.text
    [event] = shop.events("elevation")
    assert (event["kind"], event["change"]) == ("emergency", "opened")
    assert event["took"] == ["support_lead"]
    assert event["reason"] == f"ticket 1; {WHY}"
    opened = [each for each in shop.events("read") if each["decision"] == "allow"]
    assert [each["reason"] for each in opened] == [event["reason"]]
    assert opened[0]["actor"]["roles"] == ["support", "support_lead"]
    assert opened[0]["seq"] > event["seq"]


@pytest.mark.parametrize("why", ["x", " " * 40, "help!", None, 7])
def test_an_emergency_takes_a_justification(shop, breaking, why):
    """Twelve characters at least; nothing is opened or listed without."""
    if why is None:
        with shop.reading(SAM, "customer_service", emergency="") as (_, [buyer]):
            assert buyer.phone == "***"
    else:
        with pytest.raises((ConfigurationError, TypeError)):
            shop.access(SAM, "customer_service", emergency=why)
    assert shop.vault.elevations.open() == []


def test_who_no_line_allows_has_no_emergency(shop):
    """Refused with its code, and recorded; a role that inherits the right has it."""
    shop.populate(1)
    with pytest.raises(AccessDenied) as refused:
        shop.access(INTERN, "customer_service", emergency=WHY)
    assert refused.value.reason == "emergency_not_allowed"
    [event] = shop.events("elevation")
    assert (event["change"], event["reason_code"]) == ("refused", "emergency_not_allowed")
    shop.rule("g, helper, support")
    with shop.reading(Principal("hal", ["helper"]), "customer_service", emergency=WHY) as (a, _):
        assert a.roles == {"helper", "support_lead"}


def test_an_emergency_ends_after_its_minutes(shop, breaking, monkeypatch):
    """What was open closes, with a reason of its own."""
    with breaking() as (access, [buyer]):
        assert buyer.phone == "+44 20 7946 0000"
        assert access.deadline <= access._ends <= time.monotonic() + 1800
        monkeypatch.setattr(access, "_ends", time.monotonic())
        access.look_again()  # as it does by itself when the deadline has come
        assert shop.outcome(buyer, "phone") == "emergency_over"
        assert shop.outcome(buyer, "name") == "emergency_over"


def test_an_emergency_waits_for_a_second_person(shop, breaking, officer):
    """Not for the one who had it, nor for one who may not; once."""
    with breaking():
        pass
    [waiting] = shop.vault.elevations.open()
    assert (waiting["sub"], waiting["roles"], waiting["why"]) == ("sam", "support_lead", WHY)
    emergency = waiting["elevation_id"]
    review = shop.vault.elevations.review
    with pytest.raises(NoAccess):
        review(emergency, "fine")
    with shop.access(INTERN, "customer_service"), pytest.raises(AccessDenied):
        review(emergency, "fine")
    own = Principal("sam", ["support", "privacy_officer"])
    with shop.access(own, "legal_obligation"), pytest.raises(AccessDenied) as refused:
        review(emergency, "fine")
    assert refused.value.reason == "review_own"
    with officer():
        with pytest.raises(ConfigurationError, match="verdict"):
            review(emergency, " ")
        review(emergency, "the line was down indeed")
        with pytest.raises(ConfigurationError, match="no open emergency"):
            review(emergency, "again")
        with pytest.raises(ConfigurationError, match="no open emergency"):
            review(uuid4().hex, "unknown")
        with pytest.raises(ConfigurationError, match="no id"):
            review("4711", "unknown")
    assert shop.vault.elevations.open() == []
    [done] = shop.vault.elevations.open(reviewed=True)
    assert (done["closed_by"], done["verdict"]) == ("olga", "the line was down indeed")
    changes = [event["change"] for event in shop.events("elevation")]
    assert changes == ["opened", "refused", "reviewed"]


def give(shop, **options):
    with shop.access(SHOP, "provide_service", reason="Bea is ill"):
        return shop.vault.elevations.give(
            **{"sub": "mona", "role": "auditor", "purpose": "security", "seconds": 60, **options}
        )


MONA = Principal("mona", ["marketer"])


def test_a_grant_is_for_one_principal_one_purpose_and_a_time(shop):
    """Anybody else, anything else, and later: refused."""
    shop.populate(1)
    grant = give(shop)
    for _ in range(2):
        with shop.reading(MONA, "security", grant=grant) as (_, [buyer]):
            assert buyer.name == "***"
    for principal, purpose, given in [
        (SAM, "security", grant),
        (Principal("mona", ["marketer"], iss="elsewhere"), "security", grant),
        (Principal("mona", ["marketer"], tenant="north"), "security", grant),
        (MONA, "direct_marketing", grant),
        (MONA, "security", uuid4().hex),
    ]:
        with pytest.raises(AccessDenied) as refused:
            shop.access(principal, purpose, grant=given)
        assert refused.value.reason == "grant_unknown"
    with shop.engine.begin() as connection:
        connection.execute(update(elevation).values(ends=int(time.time())))
    with pytest.raises(AccessDenied) as refused:
        shop.access(MONA, "security", grant=grant)
    assert refused.value.reason == "grant_over"


def test_a_grant_for_once_is_used_once(shop):
    """The use is counted in the database, so that no second process has another."""
    shop.populate(1)
    grant = give(shop, once=True)
    with shop.reading(MONA, "security", grant=grant) as (_, [buyer]):
        assert buyer.name == "***"
    with pytest.raises(AccessDenied) as refused:
        shop.access(MONA, "security", grant=grant)
    assert refused.value.reason == "grant_over"
    events = [(event["change"], event.get("reason_code")) for event in shop.events("elevation")]
    assert events == [("given", None), ("used", None), ("refused", "grant_over")]
    assert shop.events("elevation")[0]["reason"] == "Bea is ill"


def test_a_revoked_grant_is_over(shop):
    """At once for new accesses."""
    grant = give(shop)
    with shop.access(SHOP, "provide_service"):
        shop.vault.elevations.revoke(grant, "Bea is back")
    with pytest.raises(AccessDenied) as refused:
        shop.access(MONA, "security", grant=grant)
    assert refused.value.reason == "grant_over"


def test_nobody_gives_to_themselves_or_what_they_may_not(shop):
    """A second person gives, who may administer what the purpose is about."""
    with pytest.raises(AccessDenied) as refused:
        give(shop, sub="shop")
    assert refused.value.reason == "grant_own"
    with shop.access(SAM, "customer_service"), pytest.raises(AccessDenied) as refused:
        shop.vault.elevations.give("mona", "auditor", purpose="security", seconds=60)
    assert refused.value.reason == "role"
    for wrong in ({"role": "auditr"}, {"seconds": 0}, {"seconds": 10**9}, {"purpose": "none"}):
        with pytest.raises(ConfigurationError):
            give(shop, **wrong)
    with shop.engine.connect() as connection:
        assert connection.execute(select(elevation)).all() == []


def test_without_the_record_there_is_no_emergency(shop, breaking):
    """The table is gone: nothing is opened."""
    with shop.engine.begin() as connection:
        connection.execute(text("DROP TABLE vaultlayer_elevation"))
    with pytest.raises(Exception, match="vaultlayer_elevation"), breaking():
        pass
