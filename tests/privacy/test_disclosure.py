"""Disclosure: decided, sealed for the recipient, in the ledger before anything leaves."""

from __future__ import annotations

import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey
from sqlalchemy import delete, select, text, update
from sqlalchemy.exc import OperationalError

from vaultlayer import (
    AccessDenied,
    AuditUnavailable,
    ConfigurationError,
    IntegrityError,
    KeyErased,
    Principal,
)
from vaultlayer.ledgers import disclosed, disclosure
from vaultlayer.privacy.package import new_key, open_package
from vaultlayer.privacy.processors import Processors
from vaultlayer.testing import assert_no_plaintext

OLGA = Principal("olga", ["privacy_officer"])
SHOP = Principal("shop", ["service"])
PRIVATE, PUBLIC = new_key()
POST = """
[post_office]
words = "The postal service that delivers our letters"
agreement = "DPA 2026-04"
signed = 2020-02-01
expires = {expires}
purposes = ["legal_obligation"]
categories = ["identity.name", "contact.address"]
regions = ["eu"]
safeguards = "Deleted after 30 days"
contact = "privacy@post.example"
public_key = '''{key}'''
"""
RULES = [
    f"p, privacy_officer, {category}, disclose, legal_obligation, allow"
    for category in ("identity", "contact.address")
]


def prepare(shop, key=PUBLIC, expires=date(2099, 12, 31)):
    (shop.folder / "processors.toml").write_text(POST.format(key=key, expires=expires))
    for rule in RULES:
        shop.rule(rule)


def disclose(shop, people, fields=None, *, who=OLGA, purpose="legal_obligation", **how):
    fields = fields or [shop.Buyer.name, shop.Order.address]
    given = {"recipient": "post_office", "reason": "letters of May", **how}
    with shop.Session() as session, shop.access(who, purpose) as access:
        return access.disclose(people, fields, session=session, **given)


def opened(package, private=PRIVATE):
    return json.loads(open_package(package.data, private))


def denied(shop, *arguments, **how):
    with pytest.raises(AccessDenied) as refusal:
        disclose(shop, *arguments, **how)
    return refusal.value.reason


def test_what_is_disclosed_reaches_its_recipient_and_the_ledger(any_shop):
    """The fields asked for and no others; the ledger has the digest of what was in the package."""
    shop, people = any_shop, any_shop.populate(3)
    prepare(shop)
    package = disclose(shop, people[:2])
    told = opened(package)
    assert [one["subject"] for one in told["people"]] == [str(each) for each in people[:2]]
    assert told["people"][1]["buyer"] == [{"name": "Ada 1"}]
    assert told["people"][1]["buyer_order"] == [{"address": "1 Elm St, London SW1Y 4JH"}]
    assert_no_plaintext(package.data, ["Ada 1", "1 Elm St"][1:])
    [one] = shop.vault.disclosures.all()
    assert one == shop.vault.disclosures.get(package.disclosure_id)
    assert (one.kind, one.recipient, one.people) == ("processor", "post_office", 2)
    assert (one.reference, one.basis) == ("DPA 2026-04", "legal_obligation")
    assert (one.reason, one.disclosed_by) == ("letters of May", "olga")
    assert one.fields == ("buyer.name", "buyer_order.address")
    assert one.content == hashlib.sha256(open_package(package.data, PRIVATE)).hexdigest()
    assert abs(one.disclosed - datetime.now(UTC)) < timedelta(minutes=1)
    assert shop.vault.disclosures.of(people[0]) == [one]
    assert shop.vault.disclosures.of(people[2]) == []
    [event] = shop.events("disclosure")
    assert (event["change"], event["content"], event["people"]) == ("given", one.content, 2)
    notes = shop.events("disclose")
    assert {(each["entity"], each["decision"], len(each["refs"])) for each in notes} == {
        ("buyer", "allow", 2), ("buyer_order", "allow", 2)
    }  # fmt: skip
    assert shop.vault.audit.verify().findings == []


def test_without_a_valid_agreement_nothing_is_sent(shop):
    """Unknown, of another purpose, not yet signed, expired; each refusal is in the log."""
    [person] = shop.populate(1)
    prepare(shop)
    assert denied(shop, [person], recipient="somebody") == "recipient_unknown"
    file = shop.folder / "processors.toml"
    good = file.read_text()
    for old, new, reason in (
        ('purposes = ["legal_obligation"]', 'purposes = ["archiving"]', "agreement_purpose"),
        ("signed = 2020-02-01", "signed = 2099-02-01", "agreement_not_valid"),
        ("expires = 2099-12-31", "expires = 2020-12-31", "agreement_not_valid"),
    ):
        file.write_text(good.replace(old, new))
        shop.vault.reload_policy()
        assert denied(shop, [person]) == reason
    assert shop.vault.disclosures.all() == []
    codes = {each["reason_code"] for each in shop.events("disclose")}
    assert codes == {"recipient_unknown", "agreement_purpose", "agreement_not_valid"}
    assert all(each["decision"] == "deny" for each in shop.events("disclose"))


def test_an_agreement_ends_to_the_second(shop):
    """At the last second of its last day it counts; one second later it doesn't."""
    [person] = shop.populate(1)
    prepare(shop, expires=date(2027, 5, 31))
    now = [datetime(2027, 5, 31, 23, 59, 59, tzinfo=UTC)]
    shop.vault.processors = Processors(shop.vault, lambda: now[0])
    assert opened(disclose(shop, [person]))["recipient"] == "post_office"
    assert [one.name for one in shop.vault.processors.expiring()] == ["post_office"]
    now[0] += timedelta(seconds=1)
    assert denied(shop, [person]) == "agreement_not_valid"
    assert [one.name for one in shop.vault.processors.expired()] == ["post_office"]
    assert shop.vault.processors.expiring() == []


def test_fields_outside_the_agreement_are_refused_and_not_dropped(shop):
    """One field too many: nothing of it is opened, and the error names the field."""
    [person] = shop.populate(1)
    prepare(shop)
    shop.rule("p, privacy_officer, contact, disclose, legal_obligation, allow")
    fields = [shop.Buyer.name, shop.Buyer.email, shop.Buyer.phone]
    with pytest.raises(AccessDenied) as refusal:
        disclose(shop, [person], fields)
    assert refusal.value.reason == "agreement_category"
    assert "buyer.email, buyer.phone" in str(refusal.value)
    assert {each["decision"] for each in shop.events("disclose")} == {"deny"}
    assert shop.vault.disclosures.all() == []


def test_the_rules_and_the_people_are_asked_too(shop):
    """No rule for disclose; a restricted person; masked fields go out masked."""
    people = shop.populate(2)
    (shop.folder / "processors.toml").write_text(POST.format(key=PUBLIC, expires="2099-12-31"))
    shop.vault.reload_policy()
    assert denied(shop, people) == "role"
    shop.rule("p, privacy_officer, identity.name, disclose, legal_obligation, mask")
    told = opened(disclose(shop, people, [shop.Buyer.name]))
    assert [one["buyer"] for one in told["people"]] == [[{"name": "***"}]] * 2
    shop.rule("p, marketer, identity.name, disclose, direct_marketing, allow")
    mona = Principal("mona", ["marketer"])
    how = {"who": mona, "purpose": "direct_marketing", "kind": "consent", "recipient": "An ad firm",
           "public_key": PUBLIC}  # fmt: skip
    shop.say("grant", people[0])
    assert denied(shop, people, [shop.Buyer.name], **how) == "consent_missing"
    assert opened(disclose(shop, people[:1], [shop.Buyer.name], **how))["basis"] == "consent"
    shop.say("object", people[0])
    assert denied(shop, people[:1], [shop.Buyer.name], **how) == "objected"
    refused = [each for each in shop.events("disclose") if each["decision"] == "deny"]
    assert {each["reason_code"] for each in refused} == {"role", "consent_missing", "objected"}


def test_consent_is_no_ground_for_a_purpose_that_needs_none(shop):
    """Nobody was asked for it."""
    prepare(shop)
    people = shop.populate(1)
    how = {"kind": "consent", "recipient": "A friend", "public_key": PUBLIC}
    assert denied(shop, people, **how) == "consent_not_asked"


def test_a_compelled_disclosure_has_its_order_and_may_be_withheld(any_shop):
    """Who it is about isn't told, until a review says so; the privacy team sees all of it."""
    shop = any_shop
    [person] = shop.populate(1)
    prepare(shop)
    how = {"kind": "judicial", "recipient": "District Court", "public_key": PUBLIC}
    with pytest.raises(ConfigurationError, match="order"):
        disclose(shop, [person], **how)
    how["reference"] = "4 C 17/26"
    with pytest.raises(ConfigurationError, match="day of review"):
        disclose(shop, [person], **how, withhold="an order of silence")
    day = date(2027, 1, 31)
    disclose(shop, [person], **how, withhold="an order of silence", review=day)
    disclosures = shop.vault.disclosures
    assert disclosures.of(person) == []
    [one] = disclosures.withheld_of(person)
    assert (one.withheld, one.review, one.reference) == ("an order of silence", day, "4 C 17/26")
    assert (one.kind, one.basis) == ("judicial", "legal_obligation")
    assert disclosures.all() == [one]
    with shop.access(OLGA, "legal_obligation"):
        later = disclosures.review(one.disclosure_id, withhold="still", until=date(2028, 1, 1))
        assert (later.withheld, later.disclosed) == ("still", one.disclosed)
        assert disclosures.of(person) == []
        disclosures.review(one.disclosure_id)
    [told] = disclosures.of(person)
    assert (told.withheld, told.review, told.disclosed_by) == ("", None, "olga")
    assert [each["withheld"] for each in shop.events("disclosure")] == [True, True, False]
    assert shop.vault.audit.verify().findings == []


def test_only_what_the_law_compels_can_be_withheld(shop):
    """Neither at once nor afterwards."""
    [person] = shop.populate(1)
    prepare(shop)
    with pytest.raises(ConfigurationError, match="compels"):
        disclose(shop, [person], withhold="not nice", review=date(2027, 1, 1))
    package = disclose(shop, [person])
    with (
        shop.access(OLGA, "legal_obligation"),
        pytest.raises(ConfigurationError, match="compels"),
    ):
        shop.vault.disclosures.review(
            package.disclosure_id, withhold="not nice", until=date(2027, 1, 1)
        )


@pytest.mark.parametrize(
    "key",
    [OKPKey.generate_key("X25519"), ECKey.generate_key("P-256"), RSAKey.generate_key(2048)],
    ids=["X25519", "P-256", "RSA"],
)
def test_a_partner_gets_jwe(shop, key):
    """For a JWK of each kind; only its private key opens it."""
    [person] = shop.populate(1)
    prepare(shop, json.dumps(key.as_dict(private=False)))
    package = disclose(shop, [person])
    assert package.form == "jwe"
    assert opened(package, _private(key))["people"][0]["buyer"] == [{"name": "Ada 0"}]
    other = type(key).generate_key(2048 if key.key_type == "RSA" else key.curve_name)
    for data, private in (
        (package.data, _private(other)),
        (package.data[:-2] + bytes([package.data[-2] ^ 1, package.data[-1]]), _private(key)),
    ):
        with pytest.raises(IntegrityError):
            open_package(data, private)


def _private(key):
    return json.dumps(key.as_dict(private=True)).encode()


def test_a_tampered_package_or_another_recipients_does_not_open(shop):
    """Each member of it changed, left out or added; the key of somebody else."""
    [person] = shop.populate(1)
    prepare(shop)
    package = disclose(shop, [person])
    told = json.loads(package.data)
    broken = [package.data[:-20], b"{}", b"[]", b"{", json.dumps({**told, "new": "x"}).encode()]
    for name, value in told.items():
        flipped = ("B" if value[5] != "B" else "C").join((value[:5], value[6:]))
        broken.append(json.dumps({**told, name: flipped}).encode())
        broken.append(json.dumps({n: v for n, v in told.items() if n != name}).encode())
        broken.append(json.dumps({**told, name: 7}).encode())
    for data in broken:
        with pytest.raises(IntegrityError):
            open_package(data, PRIVATE)
    with pytest.raises(IntegrityError):
        open_package(package.data, new_key()[0])
    assert opened(package)["disclosure"] == str(package.disclosure_id)


def test_a_package_opens_by_the_recipe_of_the_docs_alone(shop):
    """With cryptography and json, and nothing of this library."""
    from base64 import urlsafe_b64decode

    from cryptography.hazmat.primitives import hpke, serialization

    [person] = shop.populate(1)
    prepare(shop)
    package = json.loads(disclose(shop, [person]).data)
    sealed = urlsafe_b64decode(package.pop("sealed") + "===")
    info = json.dumps(package, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    suite = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
    key = serialization.load_pem_private_key(PRIVATE, None)
    told = json.loads(suite.decrypt(sealed, key, info=info))
    assert told["people"][0]["buyer"] == [{"name": "Ada 0"}]


def test_changes_to_the_ledger_by_sql_are_found(any_shop):
    """A row changed, removed, added; the people beside it too."""
    shop, people = any_shop, any_shop.populate(3)
    prepare(shop)
    first, second = disclose(shop, people[:2]), disclose(shop, people[2:])

    def findings(*statements):
        with shop.engine.begin() as connection:
            for statement in statements:
                connection.execute(statement)
        return [found.what for found in shop.vault.audit.verify().findings]

    assert findings() == []
    mine = disclosure.c.disclosure_id == first.disclosure_id.bytes
    [changed, gone] = findings(update(disclosure).where(mine).values(reason="nothing much"))
    assert "was changed or added" in changed
    assert "changed or removed" in gone
    assert findings(update(disclosure).where(mine).values(reason="letters of May")) == []
    of_first = disclosed.c.disclosure_id == first.disclosure_id.bytes
    one = (of_first, disclosed.c.subject == people[0].bytes)
    [missing] = findings(delete(disclosed).where(*one))
    assert "its people" in missing
    row = {"disclosure_id": first.disclosure_id.bytes, "subject": people[2].bytes}
    [exchanged] = findings(disclosed.insert().values(row))
    assert "its people" in exchanged
    row["subject"] = people[0].bytes
    back = (delete(disclosed).where(of_first, disclosed.c.subject == people[2].bytes),)
    assert findings(*back, disclosed.insert().values(row)) == []
    [removed] = findings(
        delete(disclosure).where(disclosure.c.disclosure_id == second.disclosure_id.bytes),
        delete(disclosed).where(disclosed.c.disclosure_id == second.disclosure_id.bytes),
    )
    assert "changed or removed" in removed


def test_nothing_leaves_unrecorded(shop, monkeypatch):
    """Where the ledger or the log can't be written there is no package, and no row."""
    [person] = shop.populate(1)
    prepare(shop)
    with monkeypatch.context() as patch:
        patch.setattr(shop.vault.log, "write", _full)
        with pytest.raises(AuditUnavailable):
            disclose(shop, [person])
    assert shop.vault.disclosures.all() == []
    with shop.engine.begin() as connection:
        assert connection.scalar(select(disclosed.c.subject)) is None
        connection.execute(text("DROP TABLE vaultlayer_disclosed"))
    with pytest.raises(Exception, match="vaultlayer_disclosed"):
        disclose(shop, [person])
    assert shop.vault.disclosures.all() == []


def _full(*_, **__):
    raise AuditUnavailable("the disk is full")


def test_what_is_asked_for_wrongly_is_refused_before_anything_is_opened(shop):
    """Each with its remedy; no event of a disclosure."""
    [person] = shop.populate(1)
    prepare(shop)
    internal = {"kind": "internal", "recipient": "Accounts", "public_key": PUBLIC}
    for how in (
        {"kind": "gift"}, {"reason": " "}, {"recipient": ""}, {"basis": "because", **internal},
        {"public_key": PUBLIC}, {"reference": "x"}, {**internal, "public_key": ""},
        {**internal, "public_key": "x25519:short"}, {**internal, "reason": "x" * 300},
    ):  # fmt: skip
        with pytest.raises(ConfigurationError):
            disclose(shop, [person], **how)
    for people, fields in (
        ([], [shop.Buyer.name]), ([person], [shop.Buyer.id]), (["x"], [shop.Buyer.name]),
    ):  # fmt: skip
        with pytest.raises(ConfigurationError):
            disclose(shop, people, fields)
    with pytest.raises(KeyErased, match="never here"):
        disclose(shop, [person, uuid4()])
    assert opened(disclose(shop, [person], **internal))["kind"] == "internal"
    assert len(shop.events("disclosure")) == 1


def test_an_erased_person_is_not_disclosed_and_stays_in_the_ledger(any_shop):
    """What was given before is on record; afterwards nothing more is."""
    shop, people = any_shop, any_shop.populate(2)
    prepare(shop)
    disclose(shop, people)
    with shop.access(OLGA, "legal_obligation"):
        shop.vault.subjects.erase(people[0], reason="asked")
    with pytest.raises(KeyErased):
        disclose(shop, people)
    assert len(shop.vault.disclosures.of(people[0])) == 1
    assert opened(disclose(shop, people[1:]))["people"][0]["subject"] == str(people[1])
    assert shop.vault.audit.verify().findings == []


def give(shop, person):
    return disclose(shop, [person], [shop.Buyer.name])


def read(shop, person):
    return shop.names(OLGA, "legal_obligation")[0]


def register(shop, person):
    with shop.Session() as session, shop.access(SHOP, "provide_service"):
        session.add(shop.Order(buyer_id=1, address="New Lane 1"))
        session.commit()


def come_again(shop, person):
    with shop.Session() as session, shop.access(SHOP, "provide_service"):
        session.add(shop.Buyer(name="Ada", email="ada0@example.com"))
        session.commit()


def test_erasing_while_others_read_disclose_and_register(any_shop):
    """Whatever is given is in the ledger; after the erasure's end nobody is given or shown
    anything of the person, and nothing is added; who comes again is somebody new."""
    shop, people = any_shop, any_shop.populate(2)
    prepare(shop)
    person, begun, erased, done = people[0], threading.Event(), threading.Event(), []

    def again_and_again(deed):
        for _ in range(8):
            late = erased.is_set()
            with suppress(KeyErased, OperationalError):  # SQLite's one lock, a deadlock
                done.append((deed, deed(shop, person), late))
            if deed is give:
                begun.set()

    def erase():
        begun.wait(20)
        while not erased.is_set():
            with suppress(OperationalError), shop.access(OLGA, "legal_obligation"):
                shop.vault.subjects.erase(person, reason="asked")
                erased.set()

    with ThreadPoolExecutor(6) as pool:
        jobs = [pool.submit(again_and_again, d) for d in (give, give, read, register, come_again)]
        jobs.append(pool.submit(erase))
    for job in jobs:
        job.result()
    assert {deed for deed, _, late in done if late} <= {come_again}
    assert {value for deed, value, _ in done if deed is read} <= {"Ada 0"}
    given = {one.disclosure_id for one in shop.vault.disclosures.of(person)}
    assert {package.disclosure_id for deed, package, _ in done if deed is give} == given
    for deed in (give, read, register):
        with pytest.raises(KeyErased):
            deed(shop, person)
    come_again(shop, person)
    assert shop.vault.audit.verify().findings == []


def test_a_persons_report_has_what_was_disclosed_of_them(shop, tmp_path):
    """And not what the law forbids to tell: the officer hears of that, and no file does."""
    people = shop.populate(2)
    prepare(shop)
    disclose(shop, people[:1])
    shop.vault.models = (shop.Buyer,)
    hidden = disclose(
        shop, people[:1], recipient="court", kind="judicial", reference="order 7",
        withhold="the inquiry would be warned", review=date(2099, 1, 1), public_key=PUBLIC,
    )  # fmt: skip
    for number, person in enumerate(people):
        with shop.access(OLGA, "legal_obligation"):
            made = shop.vault.subjects.report(person, tmp_path / str(number))
        text = (tmp_path / str(number) / "report.json").read_text()
        told = json.loads(text)["disclosures"]
        assert [each["recipient"] for each in told] == ["post_office"][: 1 - number]
        assert ("order 7" in text, str(hidden.disclosure_id) in text) == (False, False)
        assert [each["review"] for each in made["untold"]] == ["2099-01-01"][: 1 - number]
