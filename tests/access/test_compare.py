"""What changes between two bundles is said in sentences; what reduces people's rights is known."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from vaultlayer.access.bundle import read_bundle
from vaultlayer.access.compare import compare, reduces_rights
from vaultlayer.access.snapshot import Snapshot

if TYPE_CHECKING:
    from pathlib import Path

CARD = "\n[post]\nwords = 'P'\nagreement = 'A'\nsigned = 2026-02-01\nexpires = 2028-01-31\n"
CARD += "purposes = ['provide_service']\ncategories = ['identity.name']\nregions = ['eu']\n"
CARD += "safeguards = 'S'\ncontact = 'c'\n"


def changed(folder: Path, name: str, old: str, new: str, times: int = 1) -> None:
    file = folder / name
    text = file.read_text()
    assert old in text or not old
    file.write_text(text.replace(old, new, times) if old else text + new)


def changes(starter: Path, folder: Path) -> list[tuple[str, bool]]:
    found = compare(Snapshot(read_bundle(starter)), Snapshot(read_bundle(folder)))
    assert reduces_rights(found) == any(change.reduces for change in found)
    return [(change.sentence, change.reduces) for change in found]


REDUCING = [
    ("roles.csv", "", "p, marketer, contact.email, search, direct_marketing, allow\n", None),
    ("roles.csv", "", "p, marketer, contact.email, read, direct_marketing, allow\n", None),
    ("roles.csv", "p, marketer, contact.email, read, direct_marketing, mask",
     "p, marketer, contact.email, read, direct_marketing, allow",
     "marketer may now read contact.email for direct_marketing in full; before: masked."),
    ("roles.csv", "", "p, auditor, contact.email, read, security, mask\n",
     "auditor may now read contact.email for security, masked."),
    ("roles.csv", "", "p, auditor, device, export, security, allow, tenant=acme\n",
     "auditor of tenant acme may now export device for security, in full."),
    ("roles.csv", "p, support, identity.document, read, customer_service, deny", "",
     "support is no longer forbidden to read identity.document for customer_service, where "
     "another role allows it."),
    ("roles.csv", "", "g, marketer, support\n", None),
    ("roles.csv", "", "p, marketer, customer.email, read, direct_marketing, allow\n",
     "marketer may now read customer.email for direct_marketing in full; before: masked."),
    ("purposes.toml", 'retention = "2 years"', 'retention = "3 years"',
     "Data is kept for customer_service for 3 years instead of 2 years."),
    ("purposes.toml", '"usage.log", "device.configuration"]',
     '"usage", "device.configuration", "location"]',
     "customer_service newly reaches location and usage."),
    ("purposes.toml", "", "[profiling]\nwords = 'To guess'\nbasis = 'legitimate_interests'\n"
     "consent = false\ncategories = ['usage.log']\nregions = ['*']\nretention = '1 year'\n",
     "A new purpose, profiling: “To guess” It reaches usage.log."),
    ("purposes.toml", 'words = "To ask what you think of the service"', 'words = "To ask"', None),
    ("purposes.toml", 'basis = "legitimate_interests"', 'basis = "legal_obligation"', None),
    ("purposes.toml", 'basis = "consent"\nconsent = true', 'basis = "contract"\nconsent = false',
     "product_improvement no longer needs a person's consent."),
    ("purposes.toml", "retention = \"2 years\"", "retention = \"2 years\"\nacross_regions = true",
     "customer_service now goes on across regions."),
    ("categories.toml", "", "[contact.fax]\nwords = 'Your fax'\nsensitive = false\n",
     "A new kind of data, contact.fax: “Your fax”."),
    ("categories.toml", "sensitive = true", "sensitive = false",
     "identity.document is no longer taken for sensitive."),
    ("processors.toml", "", CARD,
     "A new recipient, post (P), gets identity.name for provide_service."),
    ("version.toml", "notice_days = 30", "notice_days = 1",
     "Later changes are announced 1 days before instead of 30."),
]  # fmt: skip


@pytest.mark.parametrize(("name", "old", "new", "sentence"), REDUCING)
def test_what_reduces_rights_is_known_and_its_reverse_does_not(
    starter: Path, folder: Path, name: str, old: str, new: str, sentence: str | None
) -> None:
    """Each alone; taken back, nothing reduces, but for words, which nobody here can judge."""
    if sentence is None and "contact.email, read" in new:
        changed(folder, name, "p, marketer, contact.email, read, direct_marketing, mask\n", "")
    changed(folder, name, old, new)
    told = changes(starter, folder)
    assert told[0][1] is True
    if sentence is not None:
        assert (sentence, True) in told
    back = compare(Snapshot(read_bundle(folder)), Snapshot(read_bundle(starter)))
    judged = [c.sentence for c in back if c.reduces and "words" not in c.sentence]
    assert [sentence for sentence in judged if "no longer forbidden" not in sentence] == []


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("roles.csv", "p, support_lead, contact.phone, read, customer_service, allow\n", ""),
        ("roles.csv", "", "p, support, contact.email, search, provide_service, deny\n"),
        ("roles.csv", "", "p, marketer, contact.email, erase, direct_marketing, allow\n"),
        ("purposes.toml", 'retention = "3 years"', 'retention = "30 days"'),
        ("purposes.toml", 'regions = ["*"]', 'regions = ["eu"]'),
        ("notice.md", "", "\nWe moved.\n"),
        ("tests.toml", "", "\n"),
        ("roles.csv", "", "# a remark\n"),
    ],
)
def test_what_leaves_people_no_less_reduces_nothing(
    starter: Path, folder: Path, name: str, old: str, new: str
) -> None:
    """Fewer rights for staff, shorter times, a place less, remarks."""
    changed(folder, name, old, new)
    assert not any(reduces for _, reduces in changes(starter, folder))


def test_equal_bundles_have_no_changes(starter: Path, folder: Path) -> None:
    """However the lines stand."""
    lines = (folder / "roles.csv").read_text().splitlines()
    (folder / "roles.csv").write_text("\n".join(reversed(lines)))
    assert changes(starter, folder) == []


def test_categories_are_taken_together(starter: Path, folder: Path) -> None:
    """One sentence for a branch, not one a leaf."""
    changed(folder, "roles.csv", "", "p, auditor, device, read, security, allow\n")
    assert changes(starter, folder) == [
        ("auditor may now read device for security, in full.", True)
    ]


def test_thousands_of_rules_are_compared_in_a_moment(starter: Path, folder: Path) -> None:
    """Only what differs is asked."""
    rules = "".join(
        f"p, role{n}, contact.email, {action}, provide_service, allow\n"
        for n in range(2000)
        for action in ("read", "search", "export", "write")
    )
    changed(folder, "roles.csv", "", rules)
    before = Snapshot(read_bundle(folder))
    changed(folder, "roles.csv", "role1000, contact.email, read", "role1000, contact, read")
    after = Snapshot(read_bundle(folder))
    began = time.process_time()
    found = compare(before, after)
    assert time.process_time() - began < 6
    assert [change.sentence for change in found] == [
        "role1000 may now read contact for provide_service, in full."
    ]
