"""Requests: steps, deadlines, refusals with a reason; and notices that were acknowledged."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from sqlalchemy import text

from vaultlayer import AccessDenied, ConfigurationError, Principal
from vaultlayer.privacy.request import months_later

OFFICER = Principal("olga", ["privacy_officer"])
SAM = Principal("sam", ["support"])
SHOP = Principal("shop", ["service"])
RECEIVED = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


@pytest.fixture
def officer(shop):
    with shop.access(OFFICER, "legal_obligation", reason="request"):
        yield shop.vault.requests


def test_a_request_from_its_filing_to_its_end(any_shop):
    shop, (person,) = any_shop, any_shop.populate(1)
    requests = shop.vault.requests
    with shop.access(SHOP, "provide_service"):
        opened = requests.open(person, "access", channel="web", received=RECEIVED)
    assert (opened.state, opened.kind, opened.subject_id) == ("received", "access", person)
    assert opened.due == datetime(2026, 2, 28, 9, 30, tzinfo=UTC)
    assert opened.policy == shop.vault.snapshot.digest
    with shop.access(OFFICER, "legal_obligation"):
        with pytest.raises(ConfigurationError, match="identified before"):
            requests.complete(opened.request_id)
        requests.identify(opened.request_id, proof="passport seen")
        late = requests.extend(opened.request_id, text="Many papers to look through.", months=1)
        assert late.due == datetime(2026, 3, 28, 9, 30, tzinfo=UTC)
        partly = requests.refuse(
            opened.request_id,
            code="others_rights",
            text="It tells of others.",
            items=["buyer.card"],
        )
        assert partly.state == "identified"
        assert partly.withheld == {"buyer.card": ("others_rights", "It tells of others.")}
        done = requests.complete(opened.request_id, proof="report 1")
        with pytest.raises(ConfigurationError, match="completed can't be refused"):
            requests.refuse(opened.request_id, code="unfounded", text="No.")
    assert done.state == "completed"
    assert requests.of(person) == [done] == requests.all()
    assert requests.all(open_only=True) == []
    steps = [row["step"] for row in requests.history(person)]
    assert steps == ["open", "identify", "extend", "withhold", "complete"]
    told = shop.events("request")
    assert [each["change"] for each in told] == steps
    assert {len(each["refs"]) for each in told} == {1}
    assert str(person) not in str(told)
    assert shop.vault.audit.verify().findings == []
    with shop.engine.begin() as connection:
        connection.execute(text("UPDATE vaultlayer_request SET due = due + 1 WHERE number = 3"))
    found = shop.vault.audit.verify().findings
    assert {each.shard for each in found} == {"vaultlayer_request"}


def test_a_refusal_has_a_code_and_a_text(officer, shop):
    (person,) = shop.populate(1)
    opened = officer.open(person, "erasure")
    for code, words in (("", "No."), ("because", "No."), ("legal_claims", " ")):
        with pytest.raises(ConfigurationError, match="a refusal has"):
            officer.refuse(opened.request_id, code=code, text=words)
    refused = officer.refuse(
        opened.request_id, code="law_requires", text="We must keep bills for ten years."
    )
    assert (refused.state, refused.code) == ("refused", "law_requires")
    assert refused.text == "We must keep bills for ten years."
    assert refused.policy_version == shop.vault.snapshot.bundle.version.number


def test_overdue_are_those_still_open_after_their_day(officer, shop):
    people = shop.populate(3)
    opened = [officer.open(person, "access", received=RECEIVED) for person in people]
    officer.refuse(opened[1].request_id, code="excessive", text="The tenth this week.")
    assert officer.overdue(datetime(2026, 2, 28, 9, 30, tzinfo=UTC)) == []
    late = officer.overdue(datetime(2026, 2, 28, 9, 31, tzinfo=UTC))
    assert {each.subject_id for each in late} == {people[0], people[2]}
    officer.extend(opened[0].request_id, text="More time.")
    late = officer.overdue(datetime(2026, 3, 1, tzinfo=UTC))
    assert [each.subject_id for each in late] == [people[2]]


def test_a_request_about_nobody_is_taken_like_any_other(officer, shop):
    """Same steps, same shape, the same statements sent, so that its time tells nothing either;
    only the log's record has no pseudonym to name."""
    (person,) = shop.populate(1)
    told, sent = [], []
    shop.vault.keys.forget()
    for subject in (person, uuid4()):
        shop.sent.clear()
        opened = officer.open(subject, "access")
        officer.identify(opened.request_id, proof="passport seen")
        officer.refuse(opened.request_id, code="others_rights", text="No.", items=["buyer.card"])
        officer.complete(opened.request_id)
        each = officer.get(opened.request_id)
        sent.append(list(shop.sent))
        told.append((each.kind, each.state, each.code, each.text, each.withheld, each.policy))
    assert told[0] == told[1]
    assert sent[0] == sent[1]
    assert len(sent[0]) > 8


def test_it_takes_somebody_who_may(shop):
    (person,) = shop.populate(1)
    requests = shop.vault.requests
    with shop.access(SAM, "customer_service"), pytest.raises(AccessDenied):
        requests.open(person, "access")
    with shop.access(SHOP, "provide_service"):
        opened = requests.open(person, "access")
        with pytest.raises(AccessDenied):
            requests.refuse(opened.request_id, code="unfounded", text="No.")
    with shop.access(OFFICER, "legal_obligation"):
        for wrong in ("everything", ""):
            with pytest.raises(ConfigurationError, match="kind of request"):
                requests.open(person, wrong)
        with pytest.raises(ConfigurationError, match="no request"):
            requests.identify(uuid4(), proof="passport seen")
        with pytest.raises(ConfigurationError, match="no request"):
            requests.get(uuid4())


@pytest.mark.parametrize(
    ("day", "months", "then"),
    [((2026, 1, 31), 1, (2026, 2, 28)), ((2027, 12, 31), 2, (2028, 2, 29)),
     ((2026, 11, 30), 1, (2026, 12, 30)), ((2026, 12, 1), 1, (2027, 1, 1)),
     ((2026, 5, 5), 0, (2026, 5, 5))],
)  # fmt: skip
def test_a_month_later_is_the_same_day_or_the_months_last(day, months, then):
    assert months_later(datetime(*day), months) == datetime(*then)


def test_each_persons_acknowledged_version_is_known(shop):
    people = shop.populate(3)
    notices = shop.vault.notices
    current = shop.vault.snapshot.bundle.version.number
    assert notices.version_of(people[0]) is None
    with shop.access(SHOP, "provide_service"):
        for person in people[:2]:
            notices.acknowledge(person, channel="web")
        notices.acknowledge(people[0], channel="app")
        with pytest.raises(ConfigurationError, match="never published"):
            notices.acknowledge(people[0], version=current + 7)
    with shop.access(SAM, "customer_service"), pytest.raises(AccessDenied):
        notices.acknowledge(people[2])
    assert [notices.version_of(person) for person in people] == [current, current, None]
    assert notices.count() == {current: 2}
    assert [row["channel"] for row in notices.history(people[0])] == ["web", "app"]
    assert len(shop.events("notice")) == 3
    assert shop.vault.audit.verify().findings == []
    with shop.engine.begin() as connection:
        connection.execute(text("UPDATE vaultlayer_notice_seen SET version = version + 1"))
    assert len(shop.vault.audit.verify().findings) == 6
