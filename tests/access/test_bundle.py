"""A bundle is read whole, or refused with file, line and remedy."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import pytest

from vaultlayer.access.bundle import DIGESTED, FILES, MOST_BYTES, REQUIRED, read_bundle
from vaultlayer.errors import PolicyError

if TYPE_CHECKING:
    from pathlib import Path


def refusal(parse: object, *arguments: object) -> str:
    with pytest.raises(PolicyError) as caught:
        parse(*arguments)  # type: ignore[operator]
    assert caught.value.hint
    return caught.value.message


def test_the_starter_bundle_says_what_the_readme_says(starter: Path) -> None:
    """Purposes, categories and roles of the starter, by name."""
    bundle = read_bundle(starter)
    assert set(bundle.purposes) == {
        "provide_service", "customer_service", "identity_verification", "security", "archiving",
        "product_improvement", "direct_marketing", "survey", "legal_obligation",
    }  # fmt: skip
    assert {name for name in bundle.purposes if bundle.purposes[name].consent} == {
        "product_improvement", "direct_marketing", "survey",
    }  # fmt: skip
    leaves = set(bundle.categories) - {c.parent for c in bundle.categories.values()}
    assert leaves == {
        "identity.name", "identity.birth_date", "identity.document", "contact.email",
        "contact.phone", "contact.address", "location", "usage.log", "device.ip",
        "device.configuration", "content.text", "content.picture", "financial.card",
    }  # fmt: skip
    roles = {rule.role for rule in bundle.rules} | {link.child for link in bundle.links}
    assert roles == {
        "service", "support", "support_lead", "marketer", "auditor", "privacy_officer", "migrator",
    }  # fmt: skip
    assert bundle.lineage("contact.email") == ("contact.email", "contact")


def test_every_declared_category_tells_words(starter: Path) -> None:
    """What people are told is never empty."""
    bundle = read_bundle(starter)
    assert all(category.words for category in bundle.categories.values())
    assert all(purpose.words for purpose in bundle.purposes.values())


def test_the_digest_covers_each_deciding_file_and_nothing_else(folder: Path) -> None:
    """One more byte in a file changes it; tests.toml and strangers don't."""
    seen = {read_bundle(folder).digest}
    (folder / "tests.toml").unlink()
    (folder / "notes.txt").write_text("x")
    assert {read_bundle(folder).digest} == seen
    for name in DIGESTED:
        with (folder / name).open("a") as file:
            file.write("\n")
        seen.add(read_bundle(folder).digest)
    assert len(seen) == 1 + len(DIGESTED)
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in seen)


def test_the_digest_is_what_its_docstring_says(starter: Path) -> None:
    """Anyone can recompute it: lengths and bytes of name and content, files by name."""
    digest = hashlib.sha256()
    for name in (
        "categories.toml", "model.conf", "notice.md", "processors.toml", "purposes.toml",
        "roles.csv", "version.toml",
    ):  # fmt: skip
        for part in (name.encode(), (starter / name).read_bytes()):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    assert read_bundle(starter).digest == digest.hexdigest()


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_file_is_refused_by_name(folder: Path, name: str) -> None:
    """Half a bundle is none."""
    (folder / name).unlink()
    assert refusal(read_bundle, folder).startswith(f"{name} can't be read")


@pytest.mark.parametrize("name", FILES)
def test_a_byte_order_mark_is_fine_and_another_encoding_is_not(folder: Path, name: str) -> None:
    """Spreadsheets write the mark; other encodings are refused with the line."""
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(b"\xef\xbb\xbf" + content)
    read_bundle(folder)
    (folder / name).write_bytes(b"# line one\n# \xe9\n" + content)
    assert refusal(read_bundle, folder) == f"{name}:2: not UTF-8"
    (folder / name).write_bytes(content.decode().encode("utf-16"))
    assert name in refusal(read_bundle, folder)


def test_what_decides_nothing_may_be_missing(folder: Path) -> None:
    """No tests, processors or notice: a bundle without them."""
    for name in set(FILES) - set(REQUIRED):
        (folder / name).unlink()
    bundle = read_bundle(folder)
    assert (bundle.tests, dict(bundle.processors), bundle.notice) == ((), {}, "")
    assert bundle.version.number == 1


@pytest.mark.parametrize("name", FILES)
def test_a_half_written_or_damaged_file_is_refused(folder: Path, name: str) -> None:
    """Cut off in the middle of a line, filled up with NUL bytes as after a power cut, or huge."""
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2] + b"\0" * 512)
    line = content[: len(content) // 2].count(b"\n") + 1
    assert refusal(read_bundle, folder) == f"{name}:{line}: a NUL byte"
    (folder / name).write_bytes(b"#" * (MOST_BYTES + 1))
    assert refusal(read_bundle, folder) == f"{name} is too big"
    if name not in ("notice.md", "processors.toml"):  # they have no end to miss
        end = content.rstrip().rindex(b"\n") + 4
        (folder / name).write_bytes(content[:end])
        assert refusal(read_bundle, folder).startswith(name)


def test_a_rule_for_a_region_where_its_purpose_is_not_used_is_refused(folder: Path) -> None:
    """A misspelt region in a deny would deny nothing."""
    purposes = folder / "purposes.toml"
    text = purposes.read_text()
    at = text.index("[direct_marketing]")
    purposes.write_text(text[:at] + text[at:].replace('["*"]', '["eu", "uk"]', 1))
    rules = folder / "roles.csv"
    good = rules.read_text()
    line = "p, marketer, contact.email, search, direct_marketing, deny, region="
    rules.write_text(f"{good}{line}uk\n")
    assert read_bundle(folder).rules[-1].region == "uk"
    rules.write_text(f"{good}{line}ukk\n")
    said = refusal(read_bundle, folder)
    assert said.startswith(f"roles.csv:{good.count(chr(10)) + 1}: direct_marketing is not used in")


@pytest.mark.parametrize(
    "edit",
    [
        ("&& !some(where (p.eft == deny))", ""),
        ("r.purpose == p.purpose && ", ""),
        ("g(r.sub, p.sub) && ", ""),
        ("[matchers]\n", "[matchers]\nm2 = true\n"),
        ("g2(r.obj, p.obj)", "g2(r.obj, p.obj) || true"),
        ("m = ", "m = true || "),
        ("p = sub, obj, act, purpose, tenant, region, eft", "p = sub, obj, act, purpose"),
        ('(p.tenant == "*" || r.tenant == p.tenant) && ', ""),
    ],
)
def test_another_model_is_refused(folder: Path, edit: tuple[str, str]) -> None:
    """The model is shown to reviewers; a changed one would decide something else."""
    model = folder / "model.conf"
    text = model.read_text()
    assert edit[0] in text
    model.write_text(text.replace(*edit))
    assert "model.conf is not the model" in refusal(read_bundle, folder)


def test_remarks_and_spaces_in_the_model_are_fine(folder: Path) -> None:
    """Only its meaning is pinned."""
    model = folder / "model.conf"
    model.write_text(
        "# ours\r\n" + model.read_text().replace(" = ", "   =   ").replace("\n", "\r\n")
    )
    read_bundle(folder)
