"""Who may be addressed: only those, at that moment, however many there are."""

from __future__ import annotations

import sys
import tracemalloc
from uuid import uuid4

import pytest
from sqlalchemy import select, text

from vaultlayer import ConfigurationError, NoAccess, Principal, UnsupportedQuery, privacy
from vaultlayer.privacy import addressing

MONA = Principal("mona", ["marketer"])
SHOP = Principal("shop", ["service"])
OFFICER = Principal("olga", ["privacy_officer"])
MARKETING = "direct_marketing"


def addressed(shop, statement=None, **options):
    with shop.access(MONA, MARKETING):
        found = privacy.recipients(
            select(shop.Buyer) if statement is None else statement, purpose=MARKETING, **options
        )
        return [buyer.name for buyer in found]


def test_only_people_who_may_be_addressed(any_shop):
    """Granted, and since then neither withdrawn, objected, restricted nor erased."""
    shop, people = any_shop, any_shop.populate(6)
    assert addressed(shop) == []
    for person in people:
        shop.say("grant", person)
    assert addressed(shop) == [f"Ada {n}" for n in range(6)]
    shop.say("withdraw", people[0])
    shop.say("object", people[1])
    with shop.access(OFFICER, "legal_obligation"):
        shop.vault.models = (shop.Buyer,)
        shop.vault.subjects.restrict(people[2])
        shop.vault.subjects.erase(people[3], reason="article 17")
    assert addressed(shop) == ["Ada 4", "Ada 5"]
    assert addressed(shop, select(shop.Buyer).where(shop.Buyer.id > 5)) == ["Ada 5"]
    with shop.Session() as session:
        assert addressed(shop, session=session) == ["Ada 4", "Ada 5"]


def test_who_withdraws_while_the_list_is_walked_through_is_left_out(shop):
    people = shop.populate(5)
    for person in people:
        shop.say("grant", person)
    with shop.access(MONA, MARKETING):
        names = []
        for buyer in privacy.recipients(select(shop.Buyer), purpose=MARKETING):
            names.append(buyer.name)
            if len(names) == 2:
                shop.say("withdraw", people[2])
                shop.say("object", people[4])
    assert names == ["Ada 0", "Ada 1", "Ada 3"]


def test_another_process_withdrawal_is_seen_within_a_second(shop, monkeypatch):
    """Without a watcher too: nothing is believed for longer."""
    people = shop.populate(3)
    for person in people:
        shop.say("grant", person)
    monkeypatch.setattr(addressing, "FRESH", 0.0)
    with shop.access(MONA, MARKETING):
        found = privacy.recipients(select(shop.Buyer), purpose=MARKETING)
        assert next(found).name == "Ada 0"
        with shop.engine.begin() as connection:
            subjects = "SELECT subject_id FROM buyer WHERE id = 2"
            connection.execute(
                text(
                    "UPDATE vaultlayer_standing SET state = 'withdrawn' "
                    f"WHERE hex(subject) = (SELECT upper(replace(({subjects}), '-', '')))"
                )
            )
        assert [buyer.id for buyer in found] == [3]


def test_pages_leave_nobody_out(shop, monkeypatch):
    people = shop.populate(7)
    for person in people:
        shop.say("grant", person)
    for size in (1, 2, 7, 8):
        monkeypatch.setattr(addressing, "PAGE", size)
        assert addressed(shop) == [f"Ada {n}" for n in range(7)]


def test_what_would_not_be_right_is_refused(shop):
    shop.populate(1)
    with pytest.raises(NoAccess):
        privacy.recipients(select(shop.Buyer), purpose=MARKETING)
    with shop.access(MONA, MARKETING):
        with pytest.raises(ConfigurationError, match="not for the purpose"):
            privacy.recipients(select(shop.Buyer), purpose="survey")
        for statement in (
            select(shop.Buyer.id),
            select(shop.Buyer).limit(3),
            select(shop.Buyer).order_by(shop.Buyer.id),
            select(shop.Buyer, shop.Order),
        ):
            with pytest.raises(UnsupportedQuery):
                privacy.recipients(statement, purpose=MARKETING)


def test_a_region_counts(shop):
    shop.edit("purposes.toml", 'consent = true\ncategories = ["identity.name", "contact.email"]\n'
              'regions = ["*"]\nretention = "2 years"',
              'consent = true\ncategories = ["identity.name", "contact.email"]\n'
              'regions = ["eu"]\nretention = "2 years"')  # fmt: skip
    here, there = shop.populate(1, country="eu") + shop.populate(1, country="us")
    for person in (here, there):
        shop.say("grant", person)
    assert addressed(shop) == ["Ada 0"]


def test_memory_stays_flat(shop):
    """The short form: four times as many people take about as much; the collector has its own
    times."""
    peaks = [_peak(shop, count) for count in (1_200, 4_800)]
    assert peaks[1] < peaks[0] * 2


@pytest.mark.soak
def test_memory_stays_flat_over_a_million(shop, capsys):
    peaks = [_peak(shop, count) for count in (10_000, 1_000_000)]
    with capsys.disabled():
        sys.stdout.write(f"\nrecipients: peak bytes {peaks} of 10,000 and 1,000,000 people\n")
    assert peaks[1] < peaks[0] * 1.2


def _peak(shop, count):
    """The most that Python allocates while all of ``count`` people are walked through."""
    with shop.engine.begin() as connection:
        for table in ("buyer", "vaultlayer_standing"):
            connection.execute(text(f"DELETE FROM {table}"))
        for start in range(0, count, 10_000):
            ids = [uuid4() for _ in range(start, min(start + 10_000, count))]
            connection.execute(
                text(
                    "INSERT INTO buyer (country, name, email, email_bidx, subject_id) "
                    "VALUES ('eu', x'00', x'00', :b, :s)"
                ),
                [{"s": each.hex, "b": each.bytes} for each in ids],
            )
            connection.execute(
                text(
                    "INSERT INTO vaultlayer_standing VALUES "
                    "(:s, 'direct_marketing', 1, '', 'grant', 'granted', '', '', '', 0, '', '')"
                ),
                [{"s": each.bytes} for each in ids],
            )
    shop.sent.clear()
    shop.vault.standing.forget()
    with shop.access(MONA, MARKETING):
        tracemalloc.start()
        try:
            found = 0
            for _ in privacy.recipients(select(shop.Buyer), purpose=MARKETING):
                found += 1
                shop.sent.clear()
            assert found == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
