"""`vaultlayer processor` and `vaultlayer disclosure`."""

from __future__ import annotations

import json
import shutil
import stat
from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from vaultlayer import Principal, Vault
from vaultlayer.privacy.package import new_key, seal_for


@pytest.fixture
def policies(policies, tmp_path):
    """A copy that may be changed, and lets an officer disclose."""
    own = shutil.copytree(policies, tmp_path / "own")
    with (own / "roles.csv").open("a") as rules:
        rules.write("p, privacy_officer, identity.name, disclose, legal_obligation, allow\n")
    return own


@pytest.fixture
def declare(shop, policies, agreement):
    """Have an agreement end so many days from now."""

    def write(days):
        day = datetime.now(UTC).date() + timedelta(days=days)
        (policies / "processors.toml").write_text(agreement(expires=day))

    return write


def test_processors_are_listed_shown_and_checked(vaultlayer, declare):
    """In 80 columns and as JSON; what has run out or soon will exits with 1."""
    declare(400)
    listed = vaultlayer("processor", "list")
    assert (listed.returncode, "in force" in listed.stdout) == (0, True)
    shown = vaultlayer("processor", "show", "post_office")
    assert all(word in shown.stdout for word in ("DPA 7", "contact.address", "Deleted after"))
    assert max(map(len, (listed.stdout + shown.stdout).splitlines())) <= 80
    assert vaultlayer("processor", "check").returncode == 0
    assert vaultlayer("processor", "check", "--days", "500").returncode == 1
    declare(5)
    soon = vaultlayer("processor", "check", "--json")
    assert soon.returncode == 1
    assert [one["name"] for one in json.loads(soon.stdout)["expiring"]] == ["post_office"]
    declare(-1)
    late = vaultlayer("processor", "check")
    assert (late.returncode, "has run out" in late.stdout) == (1, True)
    assert "expired" in vaultlayer("processor", "list").stdout
    unknown = vaultlayer("processor", "show", "nobody")
    assert (unknown.returncode, "post_office" in unknown.stderr) == (2, True)


def test_a_recipient_makes_a_key_and_opens_packages_with_it(vaultlayer, tmp_path):
    """Without settings; the private key is the owner's alone; nothing is overwritten."""
    assert vaultlayer("disclosure", "key", "mine.pem", "--dry-run").returncode == 0
    made = vaultlayer("disclosure", "key", "mine.pem", "--json")
    public = json.loads(made.stdout)["public_key"]
    assert stat.S_IMODE((tmp_path / "mine.pem").stat().st_mode) == 0o600
    assert "PRIVATE" not in made.stdout
    again = vaultlayer("disclosure", "key", "mine.pem")
    assert (again.returncode, "new file" in again.stderr) == (2, True)
    package = seal_for(public, {"recipient": "me"}, b'{"people": "Ada"}')
    (tmp_path / "package").write_bytes(package)
    opened = vaultlayer("disclosure", "open", "package", "--key", "mine.pem")
    assert (opened.returncode, json.loads(opened.stdout)) == (0, {"people": "Ada"})
    assert vaultlayer(
        "disclosure", "open", "package", "--key", "mine.pem", "--out", "content.json"
    ).returncode == 0  # fmt: skip
    assert json.loads((tmp_path / "content.json").read_text()) == {"people": "Ada"}
    (tmp_path / "package").write_bytes(package.replace(b'"me"', b'"us"'))
    changed = vaultlayer("disclosure", "open", "package", "--key", "mine.pem")
    assert (changed.returncode, "doesn't open" in changed.stderr) == (1, True)
    vaultlayer("disclosure", "key", "other.pem")
    (tmp_path / "package").write_bytes(package)
    foreign = vaultlayer("disclosure", "open", "package", "--key", "other.pem")
    assert foreign.returncode == 1
    assert vaultlayer("disclosure", "open", "none", "--key", "mine.pem").returncode == 2


def test_the_ledger_is_listed(vaultlayer, shop):
    """Empty here; it says so."""
    listed = vaultlayer("disclosure", "list")
    assert (listed.returncode, "0 disclosure(s)." in listed.stdout) == (0, True)
    assert json.loads(vaultlayer("disclosure", "list", "--json").stdout) == {"disclosures": []}


def test_a_withheld_disclosure_is_reviewed(vaultlayer, shop):
    """Looked at first; withheld for longer with a reason and a day; told in the end."""
    engine, olga = create_engine("sqlite:///app.db"), Principal("olga", ["privacy_officer"])
    with Vault.open() as vault, Session(engine) as session:
        vault.attach(session)
        with vault.access(olga, purpose="legal_obligation") as access:
            number = access.disclose(
                [UUID(shop.subjects[0])], [shop.Customer.name], session=session, kind="judicial",
                recipient="court", reference="order 7", reason="order", public_key=new_key()[1],
                withhold="an order of silence", review=date(2026, 1, 1),
            ).disclosure_id  # fmt: skip
    engine.dispose()

    def told():
        listed = vaultlayer("disclosure", "list", "--subject", shop.subjects[0], "--json")
        return len(json.loads(listed.stdout)["disclosures"])

    review = ("disclosure", "review", number)
    assert "withheld" in vaultlayer("disclosure", "list").stdout
    looked = vaultlayer(*review, "--dry-run")
    assert (looked.returncode, "Would do: " in looked.stdout, told()) == (0, True, 0)
    longer = ("--withhold", "an appeal", "--until", "2099-01-01")
    later = json.loads(vaultlayer(*review, *longer, "--json").stdout)
    assert (later["withheld"], later["review"], told()) == ("an appeal", "2099-01-01", 0)
    assert vaultlayer(*review, "--withhold", "no day").returncode == 2
    assert vaultlayer("disclosure", "review", uuid4()).returncode == 2
    done = vaultlayer(*review, "--as", "olga")
    assert (done.returncode, "told to its people" in done.stdout, told()) == (0, True, 1)
    assert max(map(len, done.stdout.splitlines())) <= 80
