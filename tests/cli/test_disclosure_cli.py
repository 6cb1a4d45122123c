"""`vaultlayer processor` and `vaultlayer disclosure`."""

from __future__ import annotations

import json
import shutil
import stat
from datetime import UTC, datetime, timedelta

import pytest

from vaultlayer.privacy.package import seal_for

PROCESSOR = """
[post_office]
words = "The postal service"
agreement = "DPA 7"
signed = 2020-01-01
expires = {day}
purposes = ["provide_service"]
categories = ["contact.address"]
regions = ["eu"]
safeguards = "Deleted after 30 days"
contact = "privacy@post.example"
"""


@pytest.fixture
def policies(policies, tmp_path):
    """A copy that may be changed."""
    return shutil.copytree(policies, tmp_path / "own")


@pytest.fixture
def own_shop(shop, policies):
    """The folder of the shop's policies."""
    return policies


def declare(shop_policies, days):
    day = datetime.now(UTC).date() + timedelta(days=days)
    (shop_policies / "processors.toml").write_text(PROCESSOR.format(day=day))


def test_processors_are_listed_shown_and_checked(vaultlayer, own_shop):
    """In 80 columns and as JSON; what has run out or soon will exits with 1."""
    declare(own_shop, 400)
    listed = vaultlayer("processor", "list")
    assert (listed.returncode, "in force" in listed.stdout) == (0, True)
    shown = vaultlayer("processor", "show", "post_office")
    assert all(word in shown.stdout for word in ("DPA 7", "contact.address", "Deleted after"))
    assert max(map(len, (listed.stdout + shown.stdout).splitlines())) <= 80
    assert vaultlayer("processor", "check").returncode == 0
    assert vaultlayer("processor", "check", "--days", "500").returncode == 1
    declare(own_shop, 5)
    soon = vaultlayer("processor", "check", "--json")
    assert soon.returncode == 1
    assert [one["name"] for one in json.loads(soon.stdout)["expiring"]] == ["post_office"]
    declare(own_shop, -1)
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


def test_the_ledger_is_listed(vaultlayer, own_shop):
    """Empty here; it says so."""
    listed = vaultlayer("disclosure", "list")
    assert (listed.returncode, "0 disclosure(s)." in listed.stdout) == (0, True)
    assert json.loads(vaultlayer("disclosure", "list", "--json").stdout) == {"disclosures": []}
